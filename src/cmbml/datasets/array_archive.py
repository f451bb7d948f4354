"""Dataset of arrays with names."""

import io
import json
import os
from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from kedro.io.core import Version
from kedro_datasets._typing import JSONPreview
from numpy.typing import NDArray

from cmbml.datasets.storage import AtomicFileDataset

Arrays = dict[str, NDArray[Any]]


class ArrayArchiveDataset(AtomicFileDataset[Mapping[str, NDArray[Any]], Arrays]):
    """Arrays by name, in NumPy's `.npz` archive without compression.

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

    def load(self) -> Arrays:
        """Return the arrays.

        Raises
        ------
        DatasetError
            If the file is missing, damaged, or holds Python objects.
        """
        return self._read(_decode)

    def save(self, data: Mapping[str, NDArray[Any]]) -> None:
        """Write the arrays.

        Raises
        ------
        DatasetError
            If the dataset is read-only, or an array holds Python objects.
        """
        self._write(partial(_encode, data))

    def preview(self) -> JSONPreview:
        """Return type and shape of every array, as Kedro-Viz shows it."""
        return JSONPreview(
            json.dumps({name: f"{a.dtype} {list(a.shape)}" for name, a in self.load().items()})
        )


def _decode(file: BinaryIO, path: str) -> Arrays:
    with np.load(file, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _encode(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays {{name: array}} are expected, not a {type(arrays).__name__}")
    wrong = [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]
    if wrong:
        raise ValueError(f"array {wrong[0]!r} holds Python objects, only numbers and texts can be saved")
    buffer = io.BytesIO()
    named: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    np.savez(buffer, allow_pickle=False, **named)
    return buffer.getvalue()
