"""Files that are there whole or not at all.

Every dataset of this folder reads and writes through here. A file is written
under a temporary name in its folder, which ends in `.part` and so never passes
for a result, and is then renamed: a run that is killed leaves the old file, or
none. What cannot be read is reported with the name of its file.
"""

import hashlib
import io
import os
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from copy import deepcopy
from pathlib import PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem
from kedro.io.core import (
    AbstractVersionedDataset,
    DatasetError,
    Version,
    get_filepath_str,
    get_protocol_and_path,
)

Input = TypeVar("Input")
Output = TypeVar("Output")
Decoded = TypeVar("Decoded")
Stated = TypeVar("Stated")

_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, OSError, EOFError)
"""What numpy, astropy and the operating system raise at a file that is not what it should be."""


class AtomicFileDataset(AbstractVersionedDataset[Input, Output]):
    """Base of the datasets that keep one object in one file.

    A class on top of it defines `load` by `_read` and `save` by `_write`.

    Parameters
    ----------
    filepath
        The file, with a protocol unless it is local.
    read_only
        Whether saving is refused, for raw inputs.
    version, credentials, fs_args, metadata
        As in Kedro's own datasets; `fs_args` go to fsspec's file system.
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
        protocol, path = get_protocol_and_path(filepath, version)
        self._protocol = protocol
        self._fs = open_filesystem(protocol, credentials, fs_args)
        self._read_only = read_only
        self.metadata = metadata
        super().__init__(
            filepath=PurePosixPath(path),
            version=version,
            exists_function=self._fs.exists,
            glob_function=self._fs.glob,
        )

    def _read(self, decode: Callable[[BinaryIO, str], Decoded]) -> Decoded:
        """Return what `decode` makes of the file and its name."""
        path = get_filepath_str(self._get_load_path(), self._protocol)
        return read_file(self._fs, path, decode)

    def _write(self, encode: Callable[[], bytes]) -> None:
        """Write the bytes that `encode` returns."""
        check_writable(str(self._filepath), read_only=self._read_only)
        path = get_filepath_str(self._get_save_path(), self._protocol)
        write_files(self._fs, [(path, encode)])
        self._invalidate_cache()

    def _describe(self) -> dict[str, Any]:
        return {
            "filepath": self._filepath,
            "protocol": self._protocol,
            "read_only": self._read_only,
            "version": self._version,
        }

    def _exists(self) -> bool:
        try:
            path = get_filepath_str(self._get_load_path(), self._protocol)
        except DatasetError:
            return False
        return bool(self._fs.isfile(path))

    def _release(self) -> None:
        super()._release()
        self._invalidate_cache()

    def _invalidate_cache(self) -> None:
        self._fs.invalidate_cache(get_filepath_str(self._filepath, self._protocol))


def open_filesystem(protocol: str, credentials: dict[str, Any] | None, fs_args: dict[str, Any] | None) -> Any:
    """Return fsspec's file system; the local one makes folders as needed."""
    arguments = {**deepcopy(credentials or {}), **deepcopy(fs_args or {})}
    if protocol == "file":
        arguments.setdefault("auto_mkdir", True)
    return fsspec.filesystem(protocol, **arguments)


def check_writable(path: str, *, read_only: bool) -> None:
    """Refuse to save to a raw input.

    Raises
    ------
    DatasetError
        If `read_only`.
    """
    if read_only:
        raise DatasetError(
            f"{path}: raw input is read-only (read_only: true); nothing is saved to it. "
            "Give results a catalog entry of their own"
        )


def read_file(filesystem: Any, path: str, decode: Callable[[BinaryIO, str], Output]) -> Output:
    """Return what `decode` makes of an open file and its name.

    Raises
    ------
    DatasetError
        If there is no such file, or `decode` cannot read it; names the file.
    """
    try:
        with _open(filesystem, path) as file:
            return decode(file, path)
    except FileNotFoundError as error:
        raise DatasetError(
            f"{path}: no such file; run the pipeline that makes it, or correct the path"
        ) from error
    except _UNREADABLE as error:
        raise DatasetError(f"{path}: {_text(error)}") from error


def write_files(filesystem: Any, contents: Iterable[tuple[str, Callable[[], bytes]]]) -> None:
    """Write files so that each is there whole or not at all, and none before all are written.

    Parameters
    ----------
    filesystem
        Of fsspec.
    contents
        Path, and a function that returns the bytes, of each file.

    Raises
    ------
    DatasetError
        If the bytes of a file cannot be made; names the file.
    """
    publish_files(filesystem, stage_files(filesystem, contents))


def stage_files(
    filesystem: Any, contents: Iterable[tuple[str, Callable[[], bytes]]]
) -> list[tuple[str, str]]:
    """Write files under temporary names, first half of `write_files`.

    Returns
    -------
    list
        Temporary and final path of each file.

    Raises
    ------
    DatasetError
        If the bytes of a file cannot be made; names the file.
    """
    staged: list[tuple[str, str]] = []
    try:
        for path, encode in contents:
            payload = _payload(path, encode)
            part = f"{path}.{uuid.uuid4().hex[:8]}.part"
            staged.append((part, path))
            with filesystem.open(part, "wb") as file:
                file.write(payload)
    except BaseException:  # also an interrupt must leave nothing behind
        _discard(filesystem, staged)
        raise
    return staged


def publish_files(filesystem: Any, staged: list[tuple[str, str]]) -> None:
    """Give staged files their final names, second half of `write_files`."""
    try:
        for part, path in staged:
            if isinstance(filesystem, LocalFileSystem):
                os.replace(part, path)  # atomic, and overwrites on every system
            else:
                filesystem.mv(part, path)
    except BaseException:
        _discard(filesystem, staged)
        raise


_LARGEST_HASHED = 64 * 2**20
"""Bytes up to which a fingerprint is that of the content; more would take seconds to read."""


def content_fingerprint(filesystem: Any, path: str) -> str:
    """Return a hash that tells whether a file, or what is in a folder, is still the same.

    Of the content up to 64 MiB in all, of names, sizes and times of change above;
    the place itself does not count.

    Parameters
    ----------
    filesystem
        Of fsspec.
    path
        File or folder.
    """
    files = filesystem.find(path, detail=True)
    small = sum(info.get("size") or 0 for info in files.values()) <= _LARGEST_HASHED
    digest = hashlib.sha256()
    for file, info in sorted(files.items()):
        time = str(info.get("mtime", info.get("LastModified", "")))
        content = hashlib.sha256(filesystem.cat_file(file)).hexdigest() if small else time
        digest.update(f"{file.removeprefix(path)}:{info.get('size')}:{content}\n".encode())
    return digest.hexdigest()[:32]


def settle(key: str, *, in_file: Stated | None, in_catalog: Stated | None) -> Stated:
    """Return a fact that the file or the catalog entry states.

    Parameters
    ----------
    key
        Name of the fact in the catalog.
    in_file, in_catalog
        What they say, in one spelling; None for nothing.

    Raises
    ------
    ValueError
        If neither states it, or they contradict each other.
    """
    if in_file is None and in_catalog is None:
        raise ValueError(f"the file does not say its {key}; state `{key}:` in the catalog entry")
    if in_file is not None and in_catalog is not None and in_file != in_catalog:
        raise ValueError(
            f"{key} is {in_file!r} in the file, but {in_catalog!r} in the catalog entry; correct the entry"
        )
    return cast(Stated, in_catalog if in_file is None else in_file)


def _open(filesystem: Any, path: str) -> BinaryIO:
    """Open a file; a remote one is fetched whole, a local one can be mapped into memory."""
    if isinstance(filesystem, LocalFileSystem):
        return open(path, "rb")
    return io.BytesIO(filesystem.cat_file(path))


def _payload(path: str, encode: Callable[[], bytes]) -> bytes:
    try:
        return encode()
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{path}: not saved: {_text(error)}") from error


def _discard(filesystem: Any, staged: list[tuple[str, str]]) -> None:
    for part, _ in staged:
        with suppress(OSError):  # not there yet, or renamed already
            filesystem.rm_file(part)


def _text(error: Exception) -> str:
    """Return the message of an error; a KeyError would put it in quotes."""
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
