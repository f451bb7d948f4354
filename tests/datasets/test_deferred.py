"""An input is read where it is needed, and missed only there."""

import pickle

import numpy as np
import pytest
from kedro.io.core import DatasetError

from cmbml.datasets import DeferredDataset, HealpixMapDataset, JsonRecordDataset
from cmbml.partitions import Loader, lift, load_part
from cmbml.science.skymap import SkyMap


def deferred(path, purpose="It is needed for this; get it there."):
    return DeferredDataset(
        dataset={"type": "cmbml.datasets.JsonRecordDataset", "filepath": str(path)}, purpose=purpose
    )


def answer(record: dict) -> int:
    return record["answer"]


def test_loading_reads_nothing(tmp_path):
    assert not deferred(tmp_path / "absent.json").load().exists


def test_a_missing_file_is_an_error_where_it_is_needed(tmp_path):
    loader = deferred(tmp_path / "absent.json").load()
    with pytest.raises(
        DatasetError, match=r"absent\.json: not there\. It is needed for this; get it there\."
    ):
        loader()
    with pytest.raises(DatasetError, match="not there"):
        _ = loader.fingerprint


def test_it_loads_what_the_dataset_inside_loads(tmp_path):
    deferred(tmp_path / "a.json").save({"answer": 42})
    loader = pickle.loads(pickle.dumps(deferred(tmp_path / "a.json").load()))
    assert isinstance(loader, Loader)
    assert loader()["answer"] == 42


def test_partitions_take_it_as_an_input_they_share(tmp_path):
    deferred(tmp_path / "a.json").save({"answer": 42})
    loader = deferred(tmp_path / "a.json").load()
    parts = lift(answer, version=1, partitioned={"record": {"sim0000": loader}})
    assert parts["sim0000"]() == 42
    assert parts["sim0000"].recipe["inputs"] == {"record": loader.fingerprint}


def test_the_fingerprint_is_that_of_the_content(tmp_path):
    prints = []
    for name, value in (("a", 1), ("b", 1), ("c", 2)):
        JsonRecordDataset(filepath=tmp_path / f"{name}.json").save({"answer": value})
        prints.append(deferred(tmp_path / f"{name}.json").load().fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_a_definition_without_a_path_is_refused():
    with pytest.raises(DatasetError, match="neither filepath nor path"):
        DeferredDataset(dataset={"type": "kedro.io.MemoryDataset"})


def test_it_says_where_its_file_is(tmp_path):
    assert "a.json" in str(deferred(tmp_path / "a.json"))


def test_a_part_of_it_is_read_under_the_same_fingerprint(tmp_path):
    path = str(tmp_path / "a.fits")
    HealpixMapDataset(filepath=path).save(SkyMap(np.ones((3, 12), np.float32), "uK_CMB"))
    definition = {"type": "cmbml.datasets.HealpixMapDataset", "filepath": path}
    loader = DeferredDataset(dataset=definition).load()
    assert load_part(loader, stokes="I").fields == ("I",) and loader().fields == ("I", "Q", "U")
    assert loader.restricted(stokes="I").fingerprint == loader.fingerprint


def test_what_has_no_parts_is_read_whole(tmp_path):
    deferred(tmp_path / "a.json").save({"answer": 42})
    assert load_part(deferred(tmp_path / "a.json").load(), stokes="I")["answer"] == 42
