"""Dataset of one file per frequency channel, each read only if it is needed."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from kedro.io.core import AbstractDataset, DatasetError, parse_dataset_definition

from cmbml.datasets.deferred import Deferred


class ChannelFilesDataset(AbstractDataset[Any, dict[str, Deferred]]):
    """Files of an observatory, one per channel, under the names they were published with.

    `load` returns {channel: loader}; a file that is not there is an error where
    its loader is called. The files are raw inputs: saving is refused.

    Parameters
    ----------
    path
        Folder of the files.
    files
        By channel (nominal GHz), name of its file in the folder.
    dataset
        Definition of the dataset of one file, without its `filepath`.
    channels
        By channel, options that its dataset has instead of those of `dataset`.
    purpose
        A sentence for the error where a file is missing: how to get it.
    metadata
        As in Kedro's own datasets.

    Raises
    ------
    DatasetError
        On construction, if no file is named, or options are given for a channel
        without a file.
    """

    def __init__(
        self,
        *,
        path: str,
        files: Mapping[str | int, str],
        dataset: Mapping[str, Any],
        channels: Mapping[str | int, Mapping[str, Any]] | None = None,
        purpose: str = "",
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._path = str(path).rstrip("/")
        self._files = {str(channel): name for channel, name in files.items()}
        self._dataset = deepcopy(dict(dataset))
        self._channels = {str(channel): dict(options) for channel, options in (channels or {}).items()}
        self._purpose = purpose
        self.metadata = metadata
        without = sorted(set(self._channels) - set(self._files))
        if without or not self._files:
            raise DatasetError(
                f"{self._path}: options for channels {', '.join(without)}, which have no file; "
                "name their files under `files:`"
                if without
                else f"{self._path}: no file is named; give `files:` as channel: file name"
            )

    def load(self) -> dict[str, Deferred]:
        """Return {channel: loader}; nothing is read."""
        return {channel: self._loader(channel) for channel in self._files}

    def save(self, data: Any) -> None:
        """Refuse: these are raw inputs.

        Raises
        ------
        DatasetError
            Always.
        """
        raise DatasetError(f"{self._path}: raw input is read-only; nothing is saved to it")

    def _loader(self, channel: str) -> Deferred:
        filepath = f"{self._path}/{self._files[channel]}"
        definition = {**self._dataset, **self._channels.get(channel, {}), "filepath": filepath}
        kind, options = parse_dataset_definition(definition)
        return Deferred(kind(**options), filepath, self._purpose)

    def _exists(self) -> bool:
        return all(self._loader(channel).exists for channel in self._files)

    def _describe(self) -> dict[str, Any]:
        return {
            "path": self._path,
            "files": self._files,
            "channels": self._channels,
            "purpose": self._purpose,
            "read_only": True,
        }
