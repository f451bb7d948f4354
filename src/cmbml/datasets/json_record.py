"""Dataset of a small record, such as drawn parameters."""

import json
import os
from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from kedro.io.core import Version
from kedro_datasets._typing import JSONPreview

from cmbml.datasets.storage import AtomicFileDataset


class JsonRecordDataset(AtomicFileDataset[Mapping[str, Any], dict[str, Any]]):
    """A record {name: value} in a JSON file; equal records give equal files.

    Names are sorted, floats give back the same float, numpy's numbers and arrays
    become numbers and lists, tuples become lists.

    Parameters
    ----------
    filepath
        The file.
    read_only, version, credentials, fs_args, metadata
        See `AtomicFileDataset`.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        read_only: bool = False,
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            filepath=filepath,
            read_only=read_only,
            version=version,
            credentials=credentials,
            fs_args=fs_args,
            metadata=metadata,
        )

    def load(self) -> dict[str, Any]:
        """Return the record.

        Raises
        ------
        DatasetError
            If the file is missing, is no JSON, or holds no record.
        """
        return self._read(_decode)

    def save(self, data: Mapping[str, Any]) -> None:
        """Write the record.

        Raises
        ------
        DatasetError
            If the dataset is read-only, `data` is no mapping, a name is no text, or
            a value has no place in JSON (NaN and infinities included).
        """
        self._write(partial(_encode, data))

    def preview(self) -> JSONPreview:
        """Return the record, as Kedro-Viz shows it."""
        return JSONPreview(json.dumps(self.load()))


def _decode(file: BinaryIO, path: str) -> dict[str, Any]:
    record = json.loads(file.read())
    if not isinstance(record, dict):
        raise ValueError(f"a record {{name: value}} is expected, the file holds a {type(record).__name__}")
    return record


def _encode(record: Mapping[str, Any]) -> bytes:
    if not isinstance(record, Mapping):
        raise TypeError(f"a record {{name: value}} is expected, not a {type(record).__name__}")
    text = json.dumps(_plain(record), indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return f"{text}\n".encode()


def _plain(value: Any) -> Any:
    """Return `value` in JSON's types; a name that is no text would come back as another."""
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise TypeError(f"name {wrong[0]!r} is a {type(wrong[0]).__name__}; names must be text")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
