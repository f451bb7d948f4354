"""A dataset that is read only if somebody needs it."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import fsspec
from kedro.io.core import AbstractDataset, DatasetError, get_protocol_and_path, parse_dataset_definition

from cmbml.datasets.storage import content_fingerprint


@dataclass(frozen=True)
class Deferred:
    """Something on disk: call it to load it.

    Parameters
    ----------
    dataset
        How it is read.
    path
        Where it lies.
    purpose
        What it is needed for, and how to get it: told where it is missing.
    """

    dataset: AbstractDataset[Any, Any]
    path: str
    purpose: str = ""

    @property
    def exists(self) -> bool:
        """Whether it is there."""
        return bool(self.dataset.exists())

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the content, or of names, sizes and times where there is much of it.

        Raises
        ------
        DatasetError
            If it is not there.
        """
        self._require()
        protocol, path = get_protocol_and_path(self.path)
        return content_fingerprint(fsspec.filesystem(protocol), path)

    def __call__(self) -> Any:
        """Load it.

        Raises
        ------
        DatasetError
            If it is not there, or cannot be read.
        """
        self._require()
        return self.dataset.load()

    def restricted(self, **options: Any) -> "Deferred":
        """Return the loader of a part, see `cmbml.partitions.restrict`; of all where there are no parts."""
        dataset: Any = self.dataset
        if not hasattr(dataset, "restricted"):
            return self
        return replace(self, dataset=dataset.restricted(**options))

    def _require(self) -> None:
        if not self.exists:
            raise DatasetError(f"{self.path}: not there. {self.purpose}".rstrip())


class DeferredDataset(AbstractDataset[Any, Deferred]):
    """Hands on a loader instead of what it loads.

    For inputs that only some configurations need, such as files of an
    observatory: the node gets a loader, calls it or not, and a file that is not
    there is an error only where it is needed. Saving is that of the dataset
    inside.

    Parameters
    ----------
    dataset
        Definition of the dataset inside, with a `filepath` or a `path`.
    purpose
        A sentence for the error where the file is missing: what it is needed
        for, and how to get it.
    metadata
        As in Kedro's own datasets.

    Raises
    ------
    DatasetError
        On construction, if the definition has no path.
    """

    def __init__(
        self,
        *,
        dataset: dict[str, Any],
        purpose: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        kind, options = parse_dataset_definition(dataset)
        self._path = str(options.get("filepath") or options.get("path") or "")
        if not self._path:
            raise DatasetError(f"deferred {kind.__name__}: its definition has neither filepath nor path")
        self._inner: AbstractDataset[Any, Any] = kind(**options)
        self._purpose = purpose
        self.metadata = metadata

    def load(self) -> Deferred:
        """Return the loader; nothing is read."""
        return Deferred(self._inner, self._path, self._purpose)

    def save(self, data: Any) -> None:
        """Save by the dataset inside."""
        self._inner.save(data)

    def _exists(self) -> bool:
        return bool(self._inner.exists())

    def _release(self) -> None:
        self._inner.release()

    def _describe(self) -> dict[str, Any]:
        return {**self._inner._describe(), "purpose": self._purpose}
