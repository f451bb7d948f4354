import numpy as np
import pytest
from kedro.io import DatasetError

from cmbml.datasets import ArrayArchiveDataset, TheorySpectraDataset
from cmbml.science.spectra import PowerSpectra, TheorySpectra


def test_arrays_of_objects_are_neither_saved_nor_read(tmp_path):
    dataset = ArrayArchiveDataset(filepath=tmp_path / "a.npz")
    with pytest.raises(
        DatasetError, match="array 'bad' holds Python objects, only numbers and texts can be saved"
    ):
        dataset.save({"bad": np.array([{}], dtype=object)})
    np.savez(tmp_path / "a.npz", bad=np.array([{}], dtype=object))
    with pytest.raises(DatasetError, match=r"a\.npz"):
        dataset.load()


def test_what_is_no_mapping_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"arrays \{name: array\} are expected, not a ndarray"):
        ArrayArchiveDataset(filepath=tmp_path / "a.npz").save(np.zeros(3))


def test_a_truncated_archive_is_named(tmp_path):
    dataset = ArrayArchiveDataset(filepath=tmp_path / "a.npz")
    dataset.save({"x": np.arange(1000)})
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"a\.npz"):
        dataset.load()


def test_theory_spectra_swapped_are_refused():
    lensed = PowerSpectra({"TT": np.ones(4)}, "cl", lensed=True)
    unlensed = PowerSpectra({"TT": np.ones(4)}, "cl", lensed=False)
    with pytest.raises(ValueError, match="one set must be unlensed and the other lensed"):
        TheorySpectra(lensed, unlensed)


def test_the_lensed_file_is_read_as_camb_text(tmp_path):
    spectra = {"TT": np.arange(5.0), "EE": np.arange(5.0) / 3}
    TheorySpectraDataset(filepath=tmp_path / "sim0000").save(
        TheorySpectra(PowerSpectra(spectra, "cl", lensed=False), PowerSpectra(spectra, "dl", lensed=True))
    )
    table = np.loadtxt(tmp_path / "sim0000" / "cmb_ps_fid.txt")
    np.testing.assert_array_equal(table[:, 0], np.arange(5))
    np.testing.assert_array_equal(table[:, 2], spectra["EE"])
