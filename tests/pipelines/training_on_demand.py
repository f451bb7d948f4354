"""A training that is put off until somebody asks for its network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from cmbml.datasets import TrainingFolderDataset
from cmbml.partitions import fingerprint_of


class Promised:
    """Loader of a checkpoint that trains first, unless that has been done."""

    def __init__(self, run: Any, name: str, folder: Path) -> None:
        self._run, self._name, self._folder = run, name, folder
        recipe = run.recipe  # once: it goes through all that was learnt from
        self.inputs, self.fingerprint = recipe["inputs"], fingerprint_of([recipe, name])

    def __call__(self) -> dict[str, Any]:
        dataset = TrainingFolderDataset(path=self._folder)
        dataset.save(self._run)
        return dataset.load()[self._name]()


class TrainingOnDemandDataset(AbstractDataset):
    """A folder per training, in which it is done once, and not before a checkpoint is loaded.

    What a run makes of a training can so be told without training: `TrainingFolderDataset` trains at once.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._run = path, None

    def save(self, data: Any) -> None:
        self._run = data

    def load(self) -> Mapping[str, Promised]:
        folder = self._path / self._run.fingerprint / self._run.id
        return {name: Promised(self._run, name, folder) for name in ("best", "last")}

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path}
