"""Dataset of one array."""

import io
import json
import os
from functools import partial
from typing import Any, BinaryIO

import numpy as np
from fsspec.implementations.local import LocalFileSystem
from kedro.io.core import Version
from kedro_datasets._typing import JSONPreview
from numpy.typing import NDArray

from cmbml.datasets.storage import AtomicFileDataset

Array = NDArray[Any]


class ArrayDataset(AtomicFileDataset[Array, Array]):
    """One array in NumPy's `.npy` file.

    A file of this computer is mapped into memory: loading reads nothing but the
    header, what is indexed is read then, and processes share it. The array
    cannot be written to.

    Parameters
    ----------
    filepath
        The file.
    mmap
        Whether a local file is mapped into memory, or read whole.
    read_only, version, credentials, fs_args, metadata
        See `AtomicFileDataset`.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        mmap: bool = True,
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
        self._mmap = mmap

    def load(self) -> Array:
        """Return the array, not to be written to.

        Raises
        ------
        DatasetError
            If the file is missing, damaged, or holds Python objects.
        """
        return self._read(partial(_decode, mmap=self._mmap and isinstance(self._fs, LocalFileSystem)))

    def save(self, data: Array) -> None:
        """Write the array, in its own type.

        Raises
        ------
        DatasetError
            If the dataset is read-only, or this is no array of numbers.
        """
        self._write(partial(_encode, data))

    def preview(self) -> JSONPreview:
        """Return type and shape, as Kedro-Viz shows them."""
        array = self.load()
        return JSONPreview(json.dumps({"dtype": str(array.dtype), "shape": list(array.shape)}))

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "mmap": self._mmap}


def _decode(file: BinaryIO, path: str, *, mmap: bool) -> Array:
    array: Array = np.load(path if mmap else file, mmap_mode="r" if mmap else None, allow_pickle=False)
    array.flags.writeable = False
    return array


def _encode(array: Array) -> bytes:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"an array is expected, not a {type(array).__name__}")
    if array.dtype.hasobject:
        raise ValueError("an array of Python objects cannot be saved, only one of numbers or texts")
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()
