"""Dataset of one folder of files per frequency channel, each file read only if it is needed."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import PurePosixPath
from typing import Any

import fsspec
from kedro.io.core import AbstractDataset, DatasetError, get_protocol_and_path, parse_dataset_definition

from cmbml.datasets.deferred import Deferred


class ChannelFoldersDataset(AbstractDataset[Any, dict[str, dict[str, Deferred]]]):
    """Files of an observatory in one folder per channel, such as noise simulations.

    `load` returns {channel: {file name without suffix: loader}}; nothing is read.
    The files are raw inputs: saving is refused.

    Parameters
    ----------
    path
        Folder of the folders, which are named by channel (nominal GHz). Where it
        is not there, no channel has files.
    dataset
        Definition of the dataset of one file, without its `filepath`.
    channels
        By channel, options that its dataset has instead of those of `dataset`.
    suffix
        End of the names of the files; others are passed over.
    purpose
        A sentence for the error where a file has vanished: how to get it.
    metadata
        As in Kedro's own datasets.
    """

    def __init__(
        self,
        *,
        path: str,
        dataset: Mapping[str, Any],
        channels: Mapping[str | int, Mapping[str, Any]] | None = None,
        suffix: str = ".fits",
        purpose: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        protocol, plain_path = get_protocol_and_path(str(path).rstrip("/"))
        self._path = str(path).rstrip("/")
        self._plain_path = plain_path
        self._filesystem = fsspec.filesystem(protocol)
        self._dataset = deepcopy(dict(dataset))
        self._channels = {str(channel): dict(options) for channel, options in (channels or {}).items()}
        self._suffix = suffix
        self._purpose = purpose
        self.metadata = metadata

    def load(self) -> dict[str, dict[str, Deferred]]:
        """Return {channel: {name: loader}}, channels and names in alphabetical order."""
        found: dict[str, dict[str, Deferred]] = {}
        for file in self._files():
            channel = PurePosixPath(file).parent.name
            name = PurePosixPath(file).name.removesuffix(self._suffix)
            found.setdefault(channel, {})[name] = self._loader(channel, f"{name}{self._suffix}")
        return found

    def save(self, data: Any) -> None:
        """Refuse: these are raw inputs.

        Raises
        ------
        DatasetError
            Always.
        """
        raise DatasetError(f"{self._path}: raw input is read-only; nothing is saved to it")

    def _files(self) -> list[str]:
        self._filesystem.invalidate_cache()
        return sorted(self._filesystem.glob(f"{self._plain_path}/*/*{self._suffix}"))

    def _loader(self, channel: str, file: str) -> Deferred:
        filepath = f"{self._path}/{channel}/{file}"
        definition = {**self._dataset, **self._channels.get(channel, {}), "filepath": filepath}
        kind, options = parse_dataset_definition(definition)
        return Deferred(kind(**options), filepath, self._purpose)

    def _exists(self) -> bool:
        return bool(self._files())

    def _describe(self) -> dict[str, Any]:
        return {
            "path": self._path,
            "suffix": self._suffix,
            "channels": self._channels,
            "purpose": self._purpose,
            "read_only": True,
        }
