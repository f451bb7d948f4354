"""Dataset of a training: a folder of checkpoints that is gone on with until it is complete."""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from fsspec.implementations.local import LocalFileSystem
from kedro.io.core import AbstractDataset, DatasetError

from cmbml.datasets.checkpoint import (
    LAST,
    SUFFIX,
    CheckpointDataset,
    read_last_checkpoint,
    stored_digest,
)
from cmbml.datasets.parallel_partitions import StoredPartition
from cmbml.datasets.partition_recipes import LISTED, changes, fingerprint, recipe_of
from cmbml.datasets.storage import check_writable, write_files

LOGGER = logging.getLogger(__name__)
STATE = "training.json"
"""What a folder says of its training: its recipe, and when complete the sizes of its files."""

COMPLETE = ("epochs", "early_stopping")
"""What the last checkpoint of a complete training says of why it ended."""


class Run(Protocol):
    """A training that has not begun; `cmbml.partitions.Partition` is one."""

    @property
    def recipe(self) -> dict[str, Any]:
        """All that determines the result, in JSON's types."""

    def __call__(self, *, directory: Path) -> Any:
        """Train, or go on, and keep checkpoints in a folder."""


class TrainingFolderDataset(AbstractDataset[Run, dict[str, StoredPartition]]):
    """Checkpoints of one training, in a folder on a local disk.

    `save` takes a training that has not begun and runs it in the folder: not at all if it is complete there,
    from the last checkpoint on if it is not, from the beginning if there is none. A training of another
    recipe is not touched. If a training fails or is ended, its checkpoints stay, and the same run goes on
    from them.

    `load` returns {"best": loader, "last": loader, "epoch_0005": loader, ...}, each with the fingerprint of
    its checkpoint: of the recipe, the name, and what the network is and knows, which is its weights and
    facts, not how long they took.

    Parameters
    ----------
    path
        The folder.
    on_mismatch
        What to do with a training of another recipe: "error", or "recompute" to remove it and train anew.
    read_only
        Whether saving is refused, for networks from elsewhere.
    metadata
        For plugins of Kedro.

    Raises
    ------
    DatasetError
        On construction, if `on_mismatch` is something else.
    """

    def __init__(
        self,
        *,
        path: str | os.PathLike[str],
        on_mismatch: Literal["error", "recompute"] = "error",
        read_only: bool = False,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if on_mismatch not in ("error", "recompute"):
            raise DatasetError(f"on_mismatch {on_mismatch!r}: must be 'error' or 'recompute'")
        self._path = Path(path)
        self._on_mismatch = on_mismatch
        self._read_only = read_only
        self._filesystem = LocalFileSystem(auto_mkdir=True)
        self.metadata = metadata

    def load(self) -> dict[str, StoredPartition]:
        """Return {name: loader of the checkpoint}; no network is read yet.

        Raises
        ------
        DatasetError
            If there is no training, it is not complete, or a checkpoint was lost or cut since.
        """
        state = self._read_state()
        if state is None:
            raise DatasetError(f"{self._path}: no training there; run the pipeline that trains")
        self._check_whole(state)
        if not self._is_complete(state):
            raise DatasetError(
                f"{self._path}: the training there is not complete; run the pipeline that trains again, it "
                "goes on after the last epoch"
            )
        return {path.stem: self._stored(path, state) for path in self._checkpoints()}

    def save(self, data: Run) -> None:
        """Train until it is done, unless that has been done.

        Parameters
        ----------
        data
            Training that has not begun.

        Raises
        ------
        DatasetError
            If the dataset is read-only, the training has no recipe, the folder holds one of another recipe,
            a checkpoint of a complete one was lost or cut, or the training was ended before it was done.
        """
        check_writable(str(self._path), read_only=self._read_only)
        recipe = recipe_of(self._path.name, data)
        self._settle_mismatch(recipe)
        state = self._read_state()
        if state is not None and self._is_complete(state):
            LOGGER.info("%s: the training is complete already", self._path)
            return
        if state is not None:
            self._check_whole(state)
        self._write_state(recipe, None)
        data(directory=self._path)
        self._check_done()
        self._write_state(recipe, {path.name: path.stat().st_size for path in self._checkpoints()})

    def _exists(self) -> bool:
        state = self._read_state()
        return state is not None and self._is_complete(state)

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path, "on_mismatch": self._on_mismatch, "read_only": self._read_only}

    # ---- What lies there --------------------------------------------------

    def _checkpoints(self) -> list[Path]:
        return sorted(self._path.glob(f"*{SUFFIX}"))

    def _stored(self, path: Path, state: Mapping[str, Any]) -> StoredPartition:
        recipe, known = state["recipe"], state.get("digests", {}).get(path.name, {})
        unchanged = known.get("mtime_ns") == path.stat().st_mtime_ns
        digest = known["digest"] if unchanged else stored_digest(path)
        own = {**recipe, "checkpoint": path.stem, "content": digest}
        return StoredPartition(CheckpointDataset(filepath=path), fingerprint(own), recipe["inputs"])

    def _digests(self) -> dict[str, dict[str, Any]]:
        """Return what the network of each checkpoint is known by, as long as its file is not touched."""
        files = {path: path.stat() for path in self._checkpoints()}
        one_of = {stat.st_ino: path for path, stat in files.items()}  # names share files
        digests = {inode: stored_digest(path) for inode, path in one_of.items()}
        return {
            path.name: {"mtime_ns": stat.st_mtime_ns, "digest": digests[stat.st_ino]}
            for path, stat in files.items()
        }

    def _read_state(self) -> dict[str, Any] | None:
        path = self._path / STATE
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = json.loads(path.read_bytes())
        except ValueError as error:
            remedy = "remove it and its folder, and train anew"
            raise DatasetError(f"{path}: cannot be read ({error}); {remedy}") from error
        return state

    def _write_state(self, recipe: Mapping[str, Any], files: Mapping[str, int] | None) -> None:
        content = {"format": 1, "recipe": recipe, "files": files, "digests": self._digests() if files else {}}
        write_files(self._filesystem, [(str(self._path / STATE), json.dumps(content, indent=1).encode)])

    def _is_complete(self, state: Mapping[str, Any]) -> bool:
        files: Mapping[str, int] | None = state["files"]
        if files is None:
            return False
        found = {path.name: path.stat().st_size for path in self._checkpoints()}
        return all(found.get(name) == size for name, size in files.items())

    def _check_whole(self, state: Mapping[str, Any]) -> None:
        """Refuse a training that was complete, and of which a checkpoint was lost or cut since."""
        found = {path.name: path.stat().st_size for path in self._checkpoints()}
        broken = [name for name, size in (state["files"] or {}).items() if found.get(name) != size]
        if broken:
            raise DatasetError(
                f"{self._path / broken[0]}: lost or cut since the training was completed; restore the file, "
                "or remove the folder to train anew"
            )

    def _settle_mismatch(self, recipe: Mapping[str, Any]) -> None:
        """Compare with what lies there; raise, or clear the way to train anew."""
        state, checkpoints = self._read_state(), self._checkpoints()
        if (state is None and not checkpoints) or (state is not None and state["recipe"] == recipe):
            return
        if self._on_mismatch == "error":
            told = changes(state["recipe"], recipe) if state else ["its recipe is not recorded"]
            raise DatasetError(
                f"{self._path}: the training there was made under another configuration: "
                f"{'; '.join(told[:LISTED])}. It is untouched. To train anew, run again with --params "
                "on_mismatch=recompute; to keep it, restore the old values or give this run another folder "
                "for its results with --params results=<name>"
            )
        for path in [*checkpoints, self._path / STATE]:
            path.unlink(missing_ok=True)

    def _check_done(self) -> None:
        last = read_last_checkpoint(self._path)
        if last is None:
            raise DatasetError(f"{self._path}: the training wrote no {LAST}{SUFFIX}")
        stopped, epoch = last.get("stopped"), last.get("epoch")
        if stopped not in COMPLETE:
            raise DatasetError(
                f"{self._path}: the training was ended after epoch {epoch} ({stopped or 'killed'}); all is "
                "kept. Run it again, it goes on from there"
            )
