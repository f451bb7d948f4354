"""Folders of an observatory's files are found by channel, and their files read one by one."""

import pickle

import numpy as np
import pytest
from kedro.io.core import DatasetError

from cmbml.datasets import ChannelFoldersDataset, HealpixMapDataset
from cmbml.science.skymap import SkyMap

LEAF = {"type": "cmbml.datasets.HealpixMapDataset", "read_only": True}


@pytest.fixture
def folder(tmp_path):
    for channel, numbers in ((143, (1, 0)), (857, (0,))):
        for number in numbers:
            values = np.full((3, 12), channel + number, np.float32)
            path = tmp_path / str(channel) / f"noise_{channel:03}_mc_{number:05}.fits"
            HealpixMapDataset(filepath=path).save(SkyMap(values, "K_CMB"))
    (tmp_path / "143" / "checksums.json").write_text("{}")
    return tmp_path


def test_every_channel_has_its_files_by_name(folder):
    found = ChannelFoldersDataset(path=str(folder), dataset=LEAF).load()
    assert {channel: list(files) for channel, files in found.items()} == {
        "143": ["noise_143_mc_00000", "noise_143_mc_00001"],
        "857": ["noise_857_mc_00000"],
    }
    assert found["143"]["noise_143_mc_00001"]().values[0, 0] == 144
    assert ChannelFoldersDataset(path=str(folder), dataset=LEAF).exists()


def test_a_channel_may_have_its_own_options(folder):
    found = ChannelFoldersDataset(path=str(folder), dataset=LEAF, channels={857: {"fields": ["I"]}}).load()
    assert found["857"]["noise_857_mc_00000"]().values.shape == (1, 12)


def test_a_file_that_changes_has_another_fingerprint(folder):
    loader = ChannelFoldersDataset(path=str(folder), dataset=LEAF).load()["857"]["noise_857_mc_00000"]
    before = pickle.loads(pickle.dumps(loader)).fingerprint
    path = folder / "857" / "noise_857_mc_00000.fits"
    HealpixMapDataset(filepath=path).save(SkyMap(np.ones((3, 12), np.float32), "K_CMB"))
    again = ChannelFoldersDataset(path=str(folder), dataset=LEAF).load()["857"]["noise_857_mc_00000"]
    assert again.fingerprint != before


def test_a_folder_that_is_not_there_has_no_channels(tmp_path):
    dataset = ChannelFoldersDataset(path=str(tmp_path / "absent"), dataset=LEAF)
    assert dataset.load() == {} and not dataset.exists()


def test_a_file_that_vanished_is_an_error_with_its_remedy(folder):
    loader = ChannelFoldersDataset(path=str(folder), dataset=LEAF, purpose="Fetch it.").load()["857"]
    (folder / "857" / "noise_857_mc_00000.fits").unlink()
    with pytest.raises(DatasetError, match=r"noise_857_mc_00000\.fits: not there\. Fetch it\."):
        loader["noise_857_mc_00000"]()


def test_nothing_is_saved_to_raw_inputs(folder):
    with pytest.raises(DatasetError, match="raw input is read-only"):
        ChannelFoldersDataset(path=str(folder), dataset=LEAF).save({})
