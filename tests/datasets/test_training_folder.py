"""A training in a folder: done once, gone on with when it was ended, never mixed with another."""

import json
import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from kedro.io import DataCatalog
from kedro.io.core import DatasetError

from cmbml.datasets import CheckpointDataset, TrainingFolderDataset
from cmbml.datasets.checkpoint import network_digest, stored_digest, write_checkpoint
from cmbml.learning.settings import TrainingSettings
from cmbml.learning.training import train
from cmbml.partitions import Known, Partition
from tests.learning.small_trainings import SPEC, Skies, checkpoint, same_weights, settings, small_training


class Ended(Exception):
    """Ends a training somewhere."""


class EndingSkies(Skies):
    def __getitem__(self, number: int):
        if self.epoch == 2:
            raise Ended("the disk is full")
        return super().__getitem__(number)


def run_training(skies: dict[str, Any], settings: TrainingSettings, directory: Path) -> str:
    """What a pipeline would train by; the first sky says how."""
    run_training.calls += 1
    kind = EndingSkies if skies["sim0000"]() == "ends" else Skies
    return train(SPEC, kind(7, jitter=0.1), Skies(2, seed=1), settings, directory, {"nside": 2})


run_training.calls = 0


def run(*, skies: int = 3, how: str = "goes", version: int = 1, **changes: Any) -> Partition:
    """A training of so many skies; how it goes does not show in their fingerprints."""
    loaders = {f"sim{n:04d}": Known(how, f"fingerprint {n}") for n in range(skies)}
    return Partition(
        id="unet",
        function=run_training,
        version=version,
        inputs={"skies": loaders},
        parameters={"settings": settings(**changes)},
    )


def calls(dataset: TrainingFolderDataset, item: Partition) -> int:
    """Save, and return how often anything was run for it."""
    before = run_training.calls
    dataset.save(item)
    return run_training.calls - before


def test_a_training_is_run_and_its_checkpoints_are_loaded_by_name(tmp_path):
    dataset = TrainingFolderDataset(path=tmp_path / "unet")
    assert not dataset.exists()
    dataset.save(run())
    assert dataset.exists()
    loaded = dataset.load()
    assert list(loaded) == ["best", "epoch_0000", "epoch_0002", "epoch_0004", "last"]
    assert loaded["epoch_0002"]()["epoch"] == 2
    assert same_weights(loaded["last"](), checkpoint(tmp_path / "unet"))


def test_a_training_that_is_complete_is_not_run_again(tmp_path):
    dataset = TrainingFolderDataset(path=tmp_path)
    dataset.save(run())
    assert calls(dataset, run()) == 0
    assert calls(TrainingFolderDataset(path=str(tmp_path)), run(num_workers=2, max_minutes=1.0)) == 0


def test_a_training_that_failed_keeps_its_checkpoints_and_is_gone_on_with(tmp_path):
    dataset = TrainingFolderDataset(path=tmp_path / "unet")
    with pytest.raises(DatasetError, match="the disk is full"):
        dataset.save(run(how="ends"))
    assert not dataset.exists()
    assert checkpoint(tmp_path / "unet")["epoch"] == 2
    with pytest.raises(DatasetError, match="unet: the training there is not complete; run the pipeline"):
        dataset.load()
    dataset.save(run())
    small_training(tmp_path / "whole")
    assert same_weights(dataset.load()["last"](), checkpoint(tmp_path / "whole"))


def test_a_training_out_of_time_is_no_success_and_is_gone_on_with(tmp_path):
    dataset = TrainingFolderDataset(path=tmp_path / "unet")
    for epoch in (1, 2, 3):
        with pytest.raises(
            DatasetError, match=rf"ended after epoch {epoch} \(max_minutes\); all is kept. Run it again"
        ):
            dataset.save(run(max_minutes=1e-9))
        assert not dataset.exists()
    dataset.save(run(max_minutes=1e-9))
    small_training(tmp_path / "whole")
    assert same_weights(dataset.load()["last"](), checkpoint(tmp_path / "whole"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 5}, "settings.epochs was 4, is now 5"),
        ({"skies": 4}, "skies.sim0003 was absent, is now fingerprint 3"),
        ({"version": 2}, "version was 1, is now 2"),
    ],
)
def test_another_training_is_refused_and_what_is_there_is_untouched(changes, message, tmp_path):
    dataset = TrainingFolderDataset(path=tmp_path)
    dataset.save(run())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(DatasetError, match=f"was made under another configuration: {message}"):
        dataset.save(run(**changes))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert calls(TrainingFolderDataset(path=tmp_path, on_mismatch="recompute"), run(**changes)) == 1


def test_a_training_of_another_recipe_is_removed_before_it_is_recomputed(tmp_path):
    TrainingFolderDataset(path=tmp_path).save(run(checkpoint_every=1))
    dataset = TrainingFolderDataset(path=tmp_path, on_mismatch="recompute")
    dataset.save(run(seed=8))
    assert list(dataset.load()) == ["best", "epoch_0000", "epoch_0002", "epoch_0004", "last"]
    assert dataset.load()["last"]()["settings"]["seed"] == 8


def test_checkpoints_from_elsewhere_are_not_taken_for_a_beginning(tmp_path):
    small_training(tmp_path)
    with pytest.raises(DatasetError, match="under another configuration: its recipe is not recorded"):
        TrainingFolderDataset(path=tmp_path).save(run())


def test_a_lost_or_cut_checkpoint_is_noticed(tmp_path):
    dataset = TrainingFolderDataset(path=tmp_path)
    dataset.save(run())
    path = tmp_path / "epoch_0002.pt"
    path.write_bytes(path.read_bytes()[:-1])
    assert not dataset.exists()
    for again in (dataset.load, lambda: dataset.save(run())):
        with pytest.raises(DatasetError, match="epoch_0002.pt: lost or cut since the training was completed"):
            again()
    path.unlink()
    with pytest.raises(DatasetError, match="epoch_0002.pt: lost or cut since the training was completed"):
        dataset.save(run())


def test_the_same_training_has_the_same_fingerprints_wherever_and_however_long(tmp_path):
    one, other = (TrainingFolderDataset(path=tmp_path / name) for name in ("one", "other"))
    one.save(run())
    other.save(run())
    marks = {name: stored.fingerprint for name, stored in one.load().items()}
    for path in (tmp_path / "other").glob("*.pt"):
        os.utime(path, ns=(1, 1))  # as copies have, whose network is read anew
    assert {name: stored.fingerprint for name, stored in other.load().items()} == marks


def test_a_folder_without_a_training_is_named(tmp_path):
    with pytest.raises(DatasetError, match="nothing: no training there; run the pipeline that trains"):
        TrainingFolderDataset(path=tmp_path / "nothing").load()


def test_a_state_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "training.json").write_text('{"format": 1, "rec')
    with pytest.raises(DatasetError, match="training.json: cannot be read .*; remove it and its folder"):
        TrainingFolderDataset(path=tmp_path).save(run())


def test_fingerprints_tell_recipes_names_and_contents_apart(tmp_path):
    one, other = (TrainingFolderDataset(path=tmp_path / name) for name in ("one", "other"))
    one.save(run())
    other.save(run(version=2))
    marks = {name: stored.fingerprint for name, stored in one.load().items()}
    assert len(set(marks.values())) == 5
    assert marks == {name: stored.fingerprint for name, stored in one.load().items()}
    assert not set(marks.values()) & {stored.fingerprint for stored in other.load().values()}
    assert one.load()["best"].inputs["skies"]["sim0002"] == "fingerprint 2"
    CheckpointDataset(filepath=tmp_path / "one" / "best.pt").save({"weights": torch.zeros(3)})
    state = (tmp_path / "one" / "training.json").read_text()
    size = (tmp_path / "one" / "best.pt").stat().st_size
    changed = json.loads(state)
    changed["files"]["best.pt"] = size
    (tmp_path / "one" / "training.json").write_text(json.dumps(changed))
    now = {name: stored.fingerprint for name, stored in one.load().items()}
    assert {name for name in marks if marks[name] != now[name]} == {"best"}


def test_a_run_that_writes_nothing_is_no_training(tmp_path):
    class Idle:
        recipe: ClassVar[dict[str, Any]] = {"inputs": {}}

        def __call__(self, *, directory: Path) -> None:
            pass

    with pytest.raises(DatasetError, match="the training wrote no last.pt"):
        TrainingFolderDataset(path=tmp_path).save(Idle())


def test_options_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="on_mismatch 'skip': must be 'error' or 'recompute'"):
        TrainingFolderDataset(path=tmp_path, on_mismatch="skip")
    with pytest.raises(DatasetError, match="raw input is read-only"):
        TrainingFolderDataset(path=tmp_path, read_only=True).save(run())


def test_a_catalog_makes_it_from_text_and_describes_it(tmp_path):
    entry = {
        "type": "cmbml.datasets.TrainingFolderDataset",
        "path": str(tmp_path / "unet"),
        "metadata": {"a": 1},
    }
    catalog = DataCatalog.from_config({"unet_training": entry})
    catalog.save("unet_training", run())
    assert next(iter(catalog.load("unet_training"))) == "best"
    assert catalog["unet_training"]._describe()["path"] == tmp_path / "unet"
    assert catalog["unet_training"].metadata == {"a": 1}


# ---- Checkpoints ------------------------------------------------------------------


def test_several_names_share_the_bytes_of_a_checkpoint_and_part_when_one_is_rewritten(tmp_path):
    write_checkpoint(tmp_path, {"epoch": 1}, ("best", "last"))
    assert (tmp_path / "best.pt").samefile(tmp_path / "last.pt")
    write_checkpoint(tmp_path, {"epoch": 2}, ("last",))
    assert [CheckpointDataset(filepath=tmp_path / f"{n}.pt").load()["epoch"] for n in ("best", "last")] == [
        1,
        2,
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "last.pt"]


def test_names_are_written_also_where_files_cannot_share_bytes(tmp_path, monkeypatch):
    def refuse(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("cmbml.datasets.checkpoint.os.link", refuse)
    write_checkpoint(tmp_path, {"epoch": 1}, ("best", "last"))
    assert not (tmp_path / "best.pt").samefile(tmp_path / "last.pt")
    assert (tmp_path / "best.pt").read_bytes() == (tmp_path / "last.pt").read_bytes()


def test_a_file_that_would_run_code_is_refused(tmp_path):
    torch.save({"network": SPEC.build()}, tmp_path / "best.pt")
    with pytest.raises(
        DatasetError, match="best.pt: cut short, or no checkpoint of plain values and tensors"
    ):
        CheckpointDataset(filepath=tmp_path / "best.pt").load()


def test_the_preview_tells_all_but_the_tensors(tmp_path):
    dataset = CheckpointDataset(filepath=tmp_path / "best.pt")
    dataset.save({"weights": {"a": torch.zeros(2, 3)}, "history": [{"epoch": 1, "loss": float("nan")}]})
    shown = json.loads(dataset.preview())
    assert shown == {"weights": {"a": "tensor [2, 3]"}, "history": [{"epoch": 1, "loss": "nan"}]}


def test_a_file_of_one_tensor_is_no_checkpoint(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "best.pt")
    with pytest.raises(DatasetError, match="a checkpoint {name: value} is expected, the file holds a Tensor"):
        CheckpointDataset(filepath=tmp_path / "best.pt").load()


def test_what_cannot_be_loaded_as_plain_values_is_not_saved(tmp_path):
    with pytest.raises(
        DatasetError, match=r"facts.beams.0: a set cannot be saved; make it numbers, text or a"
    ):
        CheckpointDataset(filepath=tmp_path / "best.pt").save({"facts": {"beams": [{1, 2}]}})


def test_what_is_no_mapping_is_not_saved(tmp_path):
    with pytest.raises(DatasetError, match="a checkpoint {name: value} is expected, not a list"):
        CheckpointDataset(filepath=tmp_path / "best.pt").save([1.0])


def test_tensors_keep_type_values_and_layout(tmp_path):
    planes = torch.arange(48.0).reshape(1, 2, 4, 6).to(memory_format=torch.channels_last)
    saved = {
        "weights": {"a": planes, "b": torch.tensor(3, dtype=torch.int64)},
        "history": [{"loss": float("nan")}],
    }
    CheckpointDataset(filepath=tmp_path / "best.pt").save(saved)
    loaded = CheckpointDataset(filepath=tmp_path / "best.pt").load()
    assert torch.equal(loaded["weights"]["a"], planes)
    assert loaded["weights"]["a"].stride() == planes.stride()
    assert loaded["weights"]["b"].dtype == torch.int64


def test_a_checkpoint_is_known_by_the_same_hash_in_its_file_as_in_memory(tmp_path):
    small_training(tmp_path)
    digests = {name: stored_digest(tmp_path / f"{name}.pt") for name in ("epoch_0002", "last")}
    assert digests == {name: network_digest(checkpoint(tmp_path, name)) for name in digests}
    assert digests["last"] != digests["epoch_0002"]


def test_a_checkpoint_that_is_cut_has_no_hash(tmp_path):
    small_training(tmp_path)
    path = tmp_path / "last.pt"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(
        DatasetError, match=r"last\.pt: cut short, or no checkpoint of plain values and tensors"
    ):
        stored_digest(path)


def test_files_that_are_the_same_are_read_once(tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        "cmbml.datasets.training_folder.stored_digest", lambda path: read.append(path.stat().st_ino) or "hash"
    )
    TrainingFolderDataset(path=tmp_path / "unet").save(run(checkpoint_every=1))
    files = [path.stat().st_ino for path in (tmp_path / "unet").glob("*.pt")]
    assert sorted(read) == sorted(set(files))
    assert len(read) < len(files)
