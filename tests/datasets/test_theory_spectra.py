"""The spectra of one cosmology in a folder, with and without unlensed ones."""

import numpy as np
import pytest
from kedro.io.core import DatasetError

from cmbml.datasets import TheorySpectraDataset
from cmbml.science.spectra import PowerSpectra, TheorySpectra

LENSED = PowerSpectra({"TT": np.arange(5.0), "BB": np.arange(5.0) / 3}, "dl", lensed=True)
UNLENSED = PowerSpectra({"TT": np.arange(6.0), "PP": np.arange(6.0) / 7}, "cl", lensed=False)


def test_spectra_of_which_only_lensed_ones_are_known_come_back_so(tmp_path):
    dataset = TheorySpectraDataset(filepath=tmp_path / "sim0000")
    dataset.save(TheorySpectra(None, LENSED))
    assert dataset.exists()
    assert [path.name for path in (tmp_path / "sim0000").iterdir()] == ["cmb_ps_fid.txt"]
    loaded = dataset.load()
    assert loaded.unlensed is None
    np.testing.assert_array_equal(loaded.lensed.values["BB"], LENSED.values["BB"])


def test_unlensed_spectra_of_before_do_not_stay(tmp_path):
    dataset = TheorySpectraDataset(filepath=tmp_path / "sim0000")
    dataset.save(TheorySpectra(UNLENSED, LENSED))
    assert dataset.load().unlensed is not None
    dataset.save(TheorySpectra(None, LENSED))
    assert dataset.load().unlensed is None
    dataset.save(TheorySpectra(UNLENSED, LENSED))
    np.testing.assert_array_equal(dataset.load().require_unlensed().values["PP"], UNLENSED.values["PP"])


def test_unlensed_spectra_alone_are_not_complete(tmp_path):
    dataset = TheorySpectraDataset(filepath=tmp_path / "sim0000")
    dataset.save(TheorySpectra(UNLENSED, LENSED))
    (tmp_path / "sim0000" / "cmb_ps_fid.txt").unlink()
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="cmb_ps_fid.txt: no such file"):
        dataset.load()
