"""The pipelines that look at the sky component by component, from the command line."""

import numpy as np
import pandas as pd
import pytest

from cmbml.datasets import ComponentsDataset, ObservationsDataset
from tests.kedro_runs import PLAIN_CMB, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Data of one run, and what it printed."""
    data = tmp_path_factory.mktemp("sky")
    pipelines = "--pipelines=simulation,sky_components,sky_statistics"
    return data, run(pipelines, data=data, train=1, valid=1, test=1, channels="353-545", **PLAIN_CMB)


def test_simulations_are_taken_apart_into_components_that_sum_to_them(made):
    simulated, _ = made
    primary = simulated / "03_primary"
    assert sorted(path.name for path in (primary / "components").iterdir()) == ["test", "train", "valid"]
    components = ComponentsDataset(filepath=primary / "components/test/sim0000").load()
    observed = ObservationsDataset(filepath=primary / "observations/test/sim0000").load()
    assert {"cmb", "dust", "cib", "radio", "noise"} <= set(components)
    for name, values in observed.maps.items():
        total = np.sum([part.maps[name] for part in components.values()], axis=0, dtype=np.float64)
        assert np.abs(total - values).max() < 2e-6 * np.abs(values).max()


def test_the_statistics_are_a_table(made):
    simulated, printed = made
    table = pd.read_csv(simulated / "08_reporting/sky_statistics.csv")
    assert len(table) == 6 * 4  # six components; I, Q, U at 353 GHz and I at 545
    assert (table["minimum"] <= table["median"]).all() and (table["median"] <= table["maximum"]).all()
    assert "sky statistics" in printed
