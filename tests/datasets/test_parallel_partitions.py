import inspect
import json
import os
import pickle
import signal
from pathlib import Path

import numpy as np
import pytest
from kedro.io import DataCatalog
from kedro.io.core import DatasetError

from cmbml.datasets.parallel_partitions import ParallelPartitionedDataset
from cmbml.partitions import lift, made_from

LEAF = {"type": "kedro_datasets.json.JSONDataset"}


def describe(number: int, scale: float) -> dict:
    return {"value": number * scale, "process": os.getpid()}


def describe_or_fail(number: int, scale: float) -> dict:
    if number == 1:
        raise ValueError("number 1 cannot be described")
    return {"value": number * scale}


def describe_or_die(number: int, scale: float) -> dict:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"value": number * scale}


def where_it_lies(number: int, table: np.ndarray) -> dict:
    return {"worker": os.getpid(), "file": str(getattr(table, "filename", "")), "sum": float(table.sum())}


def partitions(n: int = 4, scale: float = 2.0, function=describe, version: int = 1) -> dict:
    numbers = {f"sim{i:04d}": i for i in range(n)}
    return lift(function, version=version, partitioned={"number": numbers}, parameters={"scale": scale})


def dataset(folder: Path, **options) -> ParallelPartitionedDataset:
    options = {"n_jobs": 0, "filename_suffix": ".json", **options}
    return ParallelPartitionedDataset(path=str(folder / "sims"), dataset=LEAF, **options)


def contents(folder: Path) -> dict:
    return {path.stem: path.read_text() for path in sorted((folder / "sims").glob("*.json"))}


def test_what_is_saved_is_loaded(tmp_path):
    made = dataset(tmp_path)
    made.save(partitions())
    loaded = made.load()
    assert {name: loader()["value"] for name, loader in loaded.items()} == {
        f"sim{i:04d}": 2.0 * i for i in range(4)
    }


def test_a_loader_has_the_fingerprint_of_the_partition_that_made_it(tmp_path):
    made = dataset(tmp_path)
    made.save(partitions())
    assert {n: p.fingerprint for n, p in made.load().items()} == {
        n: p.fingerprint for n, p in partitions().items()
    }


def test_partitions_are_computed_in_worker_processes(tmp_path):
    made = dataset(tmp_path, n_jobs=2)
    made.save(partitions())
    assert os.getpid() not in {loader()["process"] for loader in made.load().values()}


def test_workers_share_one_copy_of_a_large_input(tmp_path):
    names = {f"sim{number:04d}": number for number in range(4)}
    table = np.ones(2**20)  # 8 MiB; joblib maps into memory what is above 1 MiB
    lifted = lift(where_it_lies, version=1, partitioned={"number": names}, shared={"table": table})
    made = dataset(tmp_path, n_jobs=2)
    made.save(lifted)
    records = [loader() for loader in made.load().values()]
    assert {record["sum"] for record in records} == {2.0**20}
    (file,) = {record["file"] for record in records}
    assert file  # the array was mapped, and from one file


def test_the_number_of_workers_does_not_change_the_result(tmp_path):
    for n_jobs in (0, 1, 2):
        dataset(tmp_path / str(n_jobs), n_jobs=n_jobs).save(partitions(function=describe_or_fail, n=1))
    assert contents(tmp_path / "0") == contents(tmp_path / "1") == contents(tmp_path / "2")


def test_what_is_there_is_not_computed_again(tmp_path):
    made = dataset(tmp_path)
    made.save(partitions())
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "sims").glob("*.json")}
    made.save(partitions())
    assert times == {path: path.stat().st_mtime_ns for path in (tmp_path / "sims").glob("*.json")}


def test_growing_a_split_disturbs_nothing(tmp_path):
    made = dataset(tmp_path)
    made.save(partitions(2))
    before = (tmp_path / "sims" / "sim0001.json").stat().st_mtime_ns
    made.save(partitions(4))
    assert (tmp_path / "sims" / "sim0001.json").stat().st_mtime_ns == before
    assert len(made.load()) == 4


def test_shrinking_a_split_loads_fewer_and_keeps_the_files(tmp_path):
    made = dataset(tmp_path)
    made.save(partitions(4))
    made.save(partitions(2))
    assert list(made.load()) == ["sim0000", "sim0001"]
    assert len(contents(tmp_path)) == 4


def test_every_partition_is_tried_and_one_error_lists_the_failures(tmp_path):
    made = dataset(tmp_path)
    with pytest.raises(
        DatasetError, match=r"1 of 4 partitions failed; the others are kept\. sim0001: ValueError: number 1"
    ):
        made.save(partitions(function=describe_or_fail))
    assert list(contents(tmp_path)) == ["sim0000", "sim0002", "sim0003"]
    assert not made.exists()


def test_an_incomplete_set_does_not_load(tmp_path):
    made = dataset(tmp_path)
    with pytest.raises(DatasetError):
        made.save(partitions(function=describe_or_fail))
    with pytest.raises(DatasetError, match=r"1 of 4 partitions are missing \(sim0001\); run the pipeline"):
        made.load()


def test_a_worker_that_dies_takes_nothing_with_it(tmp_path):
    made = dataset(tmp_path, n_jobs=2)
    with pytest.raises(DatasetError, match=r"1 of 6 partitions failed.*sim0001: its worker process died"):
        made.save(partitions(6, function=describe_or_die))
    assert list(contents(tmp_path)) == ["sim0000", "sim0002", "sim0003", "sim0004", "sim0005"]


def test_exists_means_complete(tmp_path):
    made = dataset(tmp_path)
    assert not made.exists()
    made.save(partitions())
    assert made.exists()
    (tmp_path / "sims" / "sim0002.json").unlink()
    assert not made.exists()


def test_a_lost_file_is_made_again_and_only_that(tmp_path):
    made = dataset(tmp_path)
    made.save(partitions())
    before = (tmp_path / "sims" / "sim0001.json").stat().st_mtime_ns
    (tmp_path / "sims" / "sim0002.json").unlink()
    made.save(partitions())
    assert made.exists()
    assert (tmp_path / "sims" / "sim0001.json").stat().st_mtime_ns == before


def test_a_cut_file_is_made_again_and_only_that(tmp_path):
    made = dataset(tmp_path)
    made.save(partitions())
    before = contents(tmp_path)
    (tmp_path / "sims" / "sim0002.json").write_text('{"va')
    assert not made.exists()
    with pytest.raises(DatasetError, match=r"1 of 4 partitions are missing \(sim0002\)"):
        made.load()
    made.save(partitions())
    assert contents(tmp_path) == before


def test_what_killed_runs_left_is_swept_away(tmp_path):
    (tmp_path / "sims").mkdir()
    (tmp_path / "sims" / "sim0001.json.0123abcd.part").write_text("{")
    made = dataset(tmp_path)
    made.save(partitions())
    assert list((tmp_path / "sims").glob("*.part")) == []


def test_a_failed_configuration_can_be_corrected(tmp_path):
    made = dataset(tmp_path)
    with pytest.raises(DatasetError, match="1 of 2 partitions failed"):
        made.save({"sim0001": partitions(function=describe_or_fail)["sim0001"], **partitions(1)})
    made.save(partitions(2))
    assert made.exists()


def test_loaders_tell_what_they_were_made_from(tmp_path):
    made = dataset(tmp_path)
    made.save(partitions())
    assert made_from(made.load()["sim0001"]) == made_from(partitions()["sim0001"])
    assert set(made_from(made.load()["sim0001"])) == {"number"}


def test_another_parameter_is_an_error_that_names_it(tmp_path):
    made = dataset(tmp_path)
    made.save(partitions())
    before = contents(tmp_path)
    with pytest.raises(
        DatasetError, match=r"another configuration: scale was 2\.0, is now 3\.0.*on_mismatch=recompute"
    ):
        made.save(partitions(scale=3.0))
    assert contents(tmp_path) == before
    assert made.exists()


def test_another_version_or_input_is_an_error_that_names_it(tmp_path):
    made = dataset(tmp_path)
    made.save(partitions())
    with pytest.raises(DatasetError, match="version was 1, is now 2"):
        made.save(partitions(version=2))
    moved = {
        name: lift(describe, version=1, partitioned={"number": {name: 9}}, parameters={"scale": 2.0})[name]
        for name in partitions()
    }
    with pytest.raises(DatasetError, match="input number has changed"):
        made.save(moved)


def test_recompute_replaces_what_another_configuration_made(tmp_path):
    dataset(tmp_path).save(partitions())
    dataset(tmp_path, on_mismatch="recompute").save(partitions(scale=3.0))
    made = dataset(tmp_path)
    made.save(partitions(scale=3.0))
    assert [loader()["value"] for loader in made.load().values()] == [0.0, 3.0, 6.0, 9.0]


def test_an_interrupted_recomputation_goes_on_without_a_mix(tmp_path):
    dataset(tmp_path).save(partitions())
    with pytest.raises(DatasetError, match="1 of 4 partitions failed"):
        dataset(tmp_path, on_mismatch="recompute").save(partitions(scale=3.0, function=describe_or_fail))
    made = dataset(tmp_path)
    with pytest.raises(DatasetError, match="1 of 4 partitions are missing"):
        made.load()


def test_shrinking_under_another_configuration_leaves_no_mix_when_growing_again(tmp_path):
    dataset(tmp_path).save(partitions(4))
    dataset(tmp_path, on_mismatch="recompute").save(partitions(2, scale=3.0))
    with pytest.raises(
        DatasetError, match=r"2 partitions \(sim0002, sim0003\) were made under another configuration"
    ):
        dataset(tmp_path).save(partitions(4, scale=3.0))


def test_files_of_unknown_origin_are_not_overwritten(tmp_path):
    (tmp_path / "sims").mkdir()
    (tmp_path / "sims" / "sim0001.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"1 partitions \(sim0001\).*their recipe is not recorded"):
        dataset(tmp_path).save(partitions())


def test_a_folder_of_another_system_is_read_as_it_is(tmp_path):
    (tmp_path / "sims" / "sim0000").mkdir(parents=True)
    (tmp_path / "sims" / "sim0000" / "record.json").write_text('{"value": 5}')
    made = dataset(tmp_path, filename_suffix="/record.json")
    assert made.exists()
    loader = made.load()["sim0000"]
    assert loader() == {"value": 5}
    assert loader.fingerprint == made.load()["sim0000"].fingerprint


def test_a_foreign_file_that_changes_changes_its_fingerprint(tmp_path):
    (tmp_path / "sims").mkdir()
    (tmp_path / "sims" / "sim0000.json").write_text('{"value": 5}')
    before = dataset(tmp_path).load()["sim0000"].fingerprint
    (tmp_path / "sims" / "sim0000.json").write_text('{"value": 55}')
    assert dataset(tmp_path).load()["sim0000"].fingerprint != before


def test_an_empty_folder_is_an_error_unless_it_may_be_missing(tmp_path):
    with pytest.raises(DatasetError, match="no partitions there"):
        dataset(tmp_path).load()
    assert dataset(tmp_path, allow_missing=True).load() == {}


def test_partitions_of_an_earlier_run_stay_listed_if_they_are_to(tmp_path):
    first, second = partitions(4), partitions(4)
    for accumulate, expected in ((True, ["sim0000", "sim0001", "sim0002", "sim0003"]), (False, ["sim0003"])):
        dataset(tmp_path, accumulate=accumulate).save({name: first[name] for name in list(first)[:3]})
        dataset(tmp_path, accumulate=accumulate).save({"sim0003": second["sim0003"]})
        assert sorted(dataset(tmp_path).load()) == expected


def test_raw_input_is_not_saved_to(tmp_path):
    with pytest.raises(DatasetError, match="raw input is read-only"):
        dataset(tmp_path, read_only=True).save(partitions())


@pytest.mark.parametrize("name", ["../sim0000", "a/b", ".hidden", "sim 1", ""])
def test_an_id_that_leaves_the_folder_is_refused(tmp_path, name):
    item = partitions(1)["sim0000"]
    with pytest.raises(DatasetError, match="an id has only letters, digits, - and _"):
        dataset(tmp_path).save({name: item})


@pytest.mark.parametrize("item", [{"value": 1}, lambda: {"value": 1}])
def test_a_partition_without_a_recipe_is_refused(tmp_path, item):
    with pytest.raises(DatasetError, match="has no recipe.*cmbml.partitions.lift"):
        dataset(tmp_path).save({"sim0000": item})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_mismatch": "ignore"}, "on_mismatch 'ignore': must be 'error' or 'recompute'"),
        ({"n_jobs": -1}, "n_jobs -1 must be 0 or more"),
        ({"threads": 0}, "threads 0 at least 1"),
    ],
)
def test_impossible_options_are_refused(tmp_path, options, message):
    with pytest.raises(DatasetError, match=message):
        dataset(tmp_path, **options)


def test_partitions_are_not_versioned_one_by_one(tmp_path):
    with pytest.raises(DatasetError, match="cannot be versioned one by one"):
        ParallelPartitionedDataset(path=str(tmp_path), dataset={**LEAF, "versioned": True})


def test_no_temporary_file_is_left(tmp_path):
    dataset(tmp_path).save(partitions())
    left = {path.name for path in (tmp_path / "sims" / ".partitions").iterdir()}
    assert all(name == "manifest.json" or name.endswith(".done") for name in left)
    assert len(left) == 5


def test_the_manifest_is_written_before_the_partitions(tmp_path):
    with pytest.raises(DatasetError):
        dataset(tmp_path).save(partitions(function=describe_or_fail))
    manifest = json.loads((tmp_path / "sims" / ".partitions" / "manifest.json").read_text())
    assert list(manifest["recipes"]) == [f"sim{i:04d}" for i in range(4)]


def test_it_works_in_memory_too():
    made = ParallelPartitionedDataset(
        path="memory://split/sims", dataset=LEAF, filename_suffix=".json", n_jobs=0
    )
    made.save(partitions())
    assert made.exists()
    assert made.load()["sim0003"]()["value"] == 6.0


def test_loaders_and_dataset_can_be_pickled(tmp_path):
    made = dataset(tmp_path)
    made.save(partitions())
    assert pickle.loads(pickle.dumps(made)).load().keys() == made.load().keys()
    loader = made.load()["sim0001"]
    assert pickle.loads(pickle.dumps(loader))() == loader()


def test_it_is_built_from_a_catalog(tmp_path):
    catalog = DataCatalog.from_config(
        {
            "{split}_records": {
                "type": "cmbml.datasets.ParallelPartitionedDataset",
                "path": str(tmp_path / "{split}"),
                "dataset": LEAF,
                "filename_suffix": ".json",
                "n_jobs": 0,
            }
        }
    )
    catalog.save("test_records", partitions(2))
    assert list(catalog.load("test_records")) == ["sim0000", "sim0001"]
    assert "sims" not in str(catalog["test_records"])


def test_construction_touches_no_file(tmp_path):
    dataset(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_preview_is_declared_as_an_image():
    annotation = inspect.signature(ParallelPartitionedDataset.preview).return_annotation
    assert getattr(annotation, "__name__", annotation) == "ImagePreview"


def test_no_more_partitions_are_kept_than_the_limit(tmp_path):
    made = dataset(tmp_path, limit=2)
    made.save(partitions())
    assert list(made.load()) == list(contents(tmp_path)) == ["sim0000", "sim0001"]
    before = contents(tmp_path)
    dataset(tmp_path).save(partitions())
    assert list(dataset(tmp_path).load()) == [f"sim{i:04d}" for i in range(4)]
    assert before.items() <= contents(tmp_path).items()


def test_a_limit_beyond_what_there_is_is_refused_before_any_work(tmp_path):
    with pytest.raises(DatasetError, match="5 partitions are asked for, but there are only 4"):
        dataset(tmp_path, limit=5).save(partitions())
    assert not (tmp_path / "sims").exists()
    with pytest.raises(DatasetError, match="limit 0: must be 'all' or a number"):
        dataset(tmp_path, limit=0)
