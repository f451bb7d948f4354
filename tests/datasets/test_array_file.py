import numpy as np
import pytest
from kedro.io import DatasetError

from cmbml.datasets import ArrayDataset, ParallelPartitionedDataset
from cmbml.partitions import lift

ARRAY = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_a_local_file_is_mapped_and_not_read(tmp_path):
    dataset = ArrayDataset(filepath=tmp_path / "a.npy")
    dataset.save(ARRAY)
    loaded = dataset.load()
    assert isinstance(loaded, np.memmap)
    assert str(loaded.filename) == str(tmp_path / "a.npy")


@pytest.mark.parametrize("mmap", [True, False])
def test_what_is_loaded_cannot_be_written_to(mmap, tmp_path):
    dataset = ArrayDataset(filepath=tmp_path / "a.npy", mmap=mmap)
    dataset.save(ARRAY)
    with pytest.raises(ValueError, match="read-only"):
        dataset.load()[0] = 5
    assert isinstance(dataset.load(), np.memmap) == mmap


def test_a_file_elsewhere_is_read_whole(tmp_path):
    dataset = ArrayDataset(filepath="memory://arrays/a.npy")
    dataset.save(ARRAY)
    assert not isinstance(dataset.load(), np.memmap)
    np.testing.assert_array_equal(dataset.load(), ARRAY)


@pytest.mark.parametrize("array", [ARRAY.T, ARRAY[:, ::2], np.array(3.5), np.array(["dust", "ame"])])
def test_arrays_of_any_shape_order_and_type_come_back(array, tmp_path):
    dataset = ArrayDataset(filepath=tmp_path / "a.npy")
    dataset.save(array)
    loaded = dataset.load()
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(loaded, array)


def test_a_mapped_array_outlives_its_replacement(tmp_path):
    dataset = ArrayDataset(filepath=tmp_path / "a.npy")
    dataset.save(ARRAY)
    old = dataset.load()
    dataset.save(ARRAY + old)
    np.testing.assert_array_equal(old, ARRAY)
    np.testing.assert_array_equal(dataset.load(), 2 * ARRAY)


def test_arrays_of_objects_are_neither_saved_nor_read(tmp_path):
    dataset = ArrayDataset(filepath=tmp_path / "a.npy")
    with pytest.raises(DatasetError, match="an array of Python objects cannot be saved"):
        dataset.save(np.array([{}], dtype=object))
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object))
    with pytest.raises(DatasetError, match=r"a\.npy"):
        dataset.load()


def test_the_preview_tells_type_and_shape(tmp_path):
    dataset = ArrayDataset(filepath=tmp_path / "a.npy")
    dataset.save(ARRAY)
    assert str(dataset.preview()) == '{"dtype": "float32", "shape": [2, 3, 4]}'


def double(values):
    return 2 * values


def test_it_is_a_leaf_of_parallel_partitions(tmp_path):
    parts = ParallelPartitionedDataset(
        path=str(tmp_path), dataset="cmbml.datasets.ArrayDataset", filename_suffix=".npy", n_jobs=0
    )
    parts.save(lift(double, version=1, partitioned={"values": {"sim0000": ARRAY, "sim0001": ARRAY + 1}}))
    loaded = {name: loader() for name, loader in parts.load().items()}
    np.testing.assert_array_equal(loaded["sim0001"], 2 * (ARRAY + 1))
    assert isinstance(loaded["sim0000"], np.memmap)
