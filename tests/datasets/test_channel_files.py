"""Files of an observatory are found by channel, and missed only where they are needed."""

import numpy as np
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io.core import DatasetError

from cmbml.datasets import ChannelFilesDataset, HealpixMapDataset
from cmbml.science.skymap import SkyMap
from tests.kedro_runs import ROOT

LEAF = {"type": "cmbml.datasets.HealpixMapDataset", "read_only": True}


def channel_files(folder, **options):
    return ChannelFilesDataset(
        path=str(folder), dataset=LEAF, **{"files": {143: "map_143.fits", 857: "map_857.fits"}, **options}
    )


@pytest.fixture
def folder(tmp_path):
    for channel in (143, 857):
        values = np.full((3, 12), channel, np.float32)
        HealpixMapDataset(filepath=tmp_path / f"map_{channel}.fits").save(SkyMap(values, "K_CMB"))
    return tmp_path


def test_every_channel_has_its_own_file(folder):
    loaders = channel_files(folder).load()
    assert {name: loader().values[0, 0] for name, loader in loaders.items()} == {"143": 143, "857": 857}


def test_a_channel_may_have_its_own_options(folder):
    loaders = channel_files(folder, channels={857: {"fields": ["I"]}}).load()
    assert [len(loader().values) for loader in loaders.values()] == [3, 1]


def test_a_missing_file_is_an_error_where_it_is_needed(folder):
    (folder / "map_857.fits").unlink()
    dataset = channel_files(folder, purpose="Fetch it.")
    loaders = dataset.load()
    assert loaders["143"]().values[0, 0] == 143
    with pytest.raises(DatasetError, match=r"map_857\.fits: not there\. Fetch it\."):
        loaders["857"]()
    assert not dataset.exists()


def test_nothing_is_saved_to_raw_inputs(folder):
    with pytest.raises(DatasetError, match="raw input is read-only"):
        channel_files(folder).save({})


def test_options_without_a_file_are_refused(folder):
    with pytest.raises(DatasetError, match="options for channels 100, which have no file"):
        channel_files(folder, channels={100: {}})
    with pytest.raises(DatasetError, match="no file is named"):
        channel_files(folder, files={})


def test_the_base_catalog_names_a_planck_map_of_every_channel():
    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT) as session:
        catalog = session.load_context().catalog
        instrument = catalog.load("instrument_table")
        for name in ("planck_maps", "planck_variances"):
            assert tuple(catalog.load(name)) == instrument.names
