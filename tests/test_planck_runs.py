"""Planck's sky in place of a simulation, from the command line, on small files in Planck's format."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from cmbml.datasets import HealpixMapDataset, InstrumentTableDataset
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_to_map, change_lmax, filter_alm
from tests.kedro_runs import ROOT, run
from tests.planck_files import cmb_alm, write_planck_files

pytestmark = pytest.mark.slow

ENVIRONMENT = "planck"


@pytest.fixture(scope="module")
def conf(tmp_path_factory) -> Path:
    """The project's configuration, with Planck's environment at a size for tests."""
    conf = tmp_path_factory.mktemp("small") / "conf"
    shutil.copytree(ROOT / "conf", conf)
    path = conf / ENVIRONMENT / "globals.yml"
    small = {"nside": 16, "lmax": 32, "target_fwhm_arcmin": 300.0, "apodisation_deg": 10.0}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | small))
    path = conf / ENVIRONMENT / "parameters.yml"
    groups = yaml.safe_load(path.read_text())
    groups["instrument"] = {"beam_scale": 8.0, "fwhm_floor_arcmin": 240.0}
    groups["pyilc"]["peaks"] = [6, 16, 33]
    groups["analysis"] = {"bin_width": 4, "figure_simulations": 1}
    path.write_text(yaml.safe_dump(groups))
    return conf


def assets(root: Path) -> Path:
    planck = InstrumentTableDataset(filepath=ROOT / "conf/base/instruments/planck.ecsv").load()
    text = (ROOT / "conf/base/catalog_planck.yml").read_text()
    names = {str(key): name for key, name in yaml.safe_load(text)["planck_maps"]["files"].items()}
    return write_planck_files(root, planck, names, holes=True, noise_uk=2.0)


def test_planck_is_cleaned_and_compared_with_its_nilc_map(conf, tmp_path):
    data = tmp_path / "data"
    words = ("--conf-source", str(conf), "--pipelines", "planck_sky,pyilc,analysis")
    with pytest.raises(
        RuntimeError, match=r"planck_maps: .*HFI_SkyMap_143.*not there. kedro run --pipeline="
    ):
        run(*words, data=data, env=ENVIRONMENT, assets_folder=tmp_path / "none")
    run(*words, data=data, env=ENVIRONMENT, assets_folder=assets(tmp_path / "assets"))
    truth = HealpixMapDataset(filepath=data / "03_primary/cmb/test/sim0000.fits").load()
    cleaned = HealpixMapDataset(filepath=data / "07_model_output/main/pyilc/test/sim0000.fits").load()
    # chance correlations cost the method part of the CMB of so small a map
    assert truth.stokes == "IQU"
    assert np.corrcoef(cleaned.values[0], truth.values[0])[0, 1] > 0.9
    assert 0.7 < np.std(cleaned.values[0]) / np.std(truth.values[0]) < 1.1
    alm = filter_alm(change_lmax(cmb_alm(), 32), beam_window(300 * ARCMIN, 32))
    for found, right in zip(truth.values, alm_to_map(alm, 16), strict=True):
        assert np.std(found - right) < 0.002 * np.std(right)
    table = pd.read_csv(data / "08_reporting/main/comparison.csv")
    assert "pyilc" in set(table["method"]) and set(table["n_simulations"]) == {1}
