"""Dataset of a Markov chain with a file per parameter, as the WMAP team publishes its chains."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from kedro.io.core import AbstractDataset, DatasetError, get_filepath_str, get_protocol_and_path
from numpy.typing import NDArray

from cmbml.datasets.storage import open_filesystem
from cmbml.science.chains import ChainRow

_EDGE = 4096
"""Bytes at either end of a file in which its first and last row are looked for."""


@dataclass(frozen=True)
class ChainFile:
    """The file of one parameter: rows `index value`, any number of other lines before them.

    Parameters
    ----------
    filesystem, path
        Where it lies.
    length
        Number of rows.
    start, width
        First byte of the rows, and bytes of each; width 0 where they differ.
    first
        Index of the first row.
    """

    filesystem: Any
    path: str
    length: int
    start: int
    width: int
    first: int

    def row(self, number: int) -> tuple[int, float]:
        """Return index and value of one row, counted from 0.

        It is looked for where it lies if all rows are equally wide; only if it is not there is the file
        scanned for line ends.

        Raises
        ------
        DatasetError
            If what lies there is not that row.
        """
        if self.width:
            begin = self.start + number * self.width
            found = self._at(begin, begin + self.width)
            if found is not None and found[0] == self.first + number:
                return found
        begin, end = _row_ends(self.filesystem, self.path, self.start)[number : number + 2]
        found = self._at(int(begin), int(end))
        if found is None:
            raise DatasetError(
                f"{self.path}: row {number} (from 0) is not an index and a value; the file is damaged: "
                "fetch it again"
            )
        return found

    def _at(self, begin: int, end: int) -> tuple[int, float] | None:
        """Return the row between two bytes, or None if it is not one."""
        text = self.filesystem.cat_file(self.path, start=begin, end=end)
        return _row(text) if text.endswith(b"\n") else None


@dataclass(frozen=True)
class ChainFiles:
    """A chain on disk; `row` reads one row of each file.

    Parameters
    ----------
    path
        The folder.
    files
        By parameter, its file.

    Raises
    ------
    DatasetError
        If the files do not have equally many rows.
    """

    path: str
    files: dict[str, ChainFile]

    def __post_init__(self) -> None:
        lengths = {name: file.length for name, file in self.files.items()}
        if len(set(lengths.values())) != 1:
            listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DatasetError(
                f"{self.path}: numbers of rows differ ({listed}); every parameter has one row per step, "
                "so that a file is cut short: fetch it again"
            )

    @property
    def length(self) -> int:
        """Number of steps."""
        return next(iter(self.files.values())).length

    def row(self, number: int) -> ChainRow:
        """Return one step, counted from 0.

        Raises
        ------
        DatasetError
            If there is no such step, a file is damaged there, or the files number it differently.
        """
        if not 0 <= number < self.length:
            raise DatasetError(f"{self.path}: no row {number}; there are {self.length}, counted from 0")
        rows = {name: file.row(number) for name, file in self.files.items()}
        indices = {index for index, _ in rows.values()}
        if len(indices) != 1:
            listed = ", ".join(f"{name} {index}" for name, (index, _) in rows.items())
            raise DatasetError(
                f"{self.path}: the files number row {number} (from 0) differently ({listed}): "
                "they are not of one chain"
            )
        return ChainRow(indices.pop(), {name: value for name, (_, value) in rows.items()})


class WmapChainsDataset(AbstractDataset[Any, ChainFiles]):
    """A Markov chain in a folder with a file per parameter, whose rows are `index value`.

    Loading reads no more than the ends of each file; a row is found by its place
    where all rows of a file have the same width, as in the published files, and
    otherwise by one scan for line ends. The number of rows is that of the files.
    Steps are equally likely: files of weights, by which chains are made to include
    further data, are not used. A chain is a raw input: saving is refused.

    Parameters
    ----------
    path
        The folder; what else lies in it does not matter.
    parameters
        Names of the files to read.
    credentials, fs_args, metadata
        As in Kedro's own datasets.

    Raises
    ------
    DatasetError
        On construction, if no parameter is named, or one twice.
    """

    def __init__(
        self,
        *,
        path: str,
        parameters: Sequence[str],
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._protocol, folder = get_protocol_and_path(path)
        self._path = get_filepath_str(PurePosixPath(folder), self._protocol)
        self._fs = open_filesystem(self._protocol, credentials, fs_args)
        self._parameters = deepcopy(list(parameters))
        self.metadata = metadata
        if not self._parameters or len(set(self._parameters)) != len(self._parameters):
            raise DatasetError(
                f"{self._path}: parameters {self._parameters}: name the files to read, each once"
            )

    def load(self) -> ChainFiles:
        """Return the chain, from which single rows can be read.

        Raises
        ------
        DatasetError
            If a file is missing, empty or cut short, or they differ in length.
        """
        missing = self._missing()
        if missing:
            raise DatasetError(
                f"{self._path}: no file {', '.join(missing)}; a chain has one file per parameter: "
                "fetch the folder again, or correct `parameters:` in the catalog entry"
            )
        files = {name: _open_chain_file(self._fs, f"{self._path}/{name}") for name in self._parameters}
        return ChainFiles(self._path, files)

    def save(self, data: Any) -> None:
        """Refuse: a chain is a raw input.

        Raises
        ------
        DatasetError
            Always.
        """
        raise DatasetError(f"{self._path}: raw input is read-only; nothing is saved to it")

    def _missing(self) -> list[str]:
        """Return the parameters that have no file."""
        return [name for name in self._parameters if not self._fs.isfile(f"{self._path}/{name}")]

    def _exists(self) -> bool:
        return not self._missing()

    def _release(self) -> None:
        self._fs.invalidate_cache(self._path)

    def _describe(self) -> dict[str, Any]:
        return {"path": self._path, "protocol": self._protocol, "parameters": self._parameters}


def _open_chain_file(filesystem: Any, path: str) -> ChainFile:
    """Find first and last row, and whether all rows have the same width."""
    size = int(filesystem.size(path))
    head = filesystem.cat_file(path, start=0, end=min(size, _EDGE))
    tail = filesystem.cat_file(path, start=max(0, size - _EDGE), end=size)
    start = _first_row(head, path)
    last = _row(tail.rstrip(b"\n").rsplit(b"\n", 1)[-1])
    if not tail.endswith(b"\n") or last is None:
        raise DatasetError(f"{path}: the last row is not whole: the file is cut short, fetch it again")
    line = head[start : head.index(b"\n", start) + 1]
    first, _ = _row(line) or (0, 0.0)
    length, rest = divmod(size - start, len(line))
    if rest == 0 and last[0] - first == length - 1:
        return ChainFile(filesystem, path, length, start, len(line), first)
    return ChainFile(filesystem, path, len(_row_ends(filesystem, path, start)) - 1, start, 0, first)


def _first_row(head: bytes, path: str) -> int:
    """Return where the first row begins."""
    start = 0
    for line in head.splitlines(keepends=True):
        if line.endswith(b"\n") and _row(line) is not None:
            return start
        start += len(line)
    raise DatasetError(
        f"{path}: no row `index value` in its first {len(head)} bytes; it is empty or no file of a chain"
    )


def _row(line: bytes) -> tuple[int, float] | None:
    """Return index and value, or None if the line is something else."""
    words = line.split()
    try:
        index, value = int(words[0]), float(words[1])
    except (ValueError, IndexError):
        return None
    return (index, value) if len(words) == 2 and np.isfinite(value) else None


@lru_cache(maxsize=32)
def _row_ends(filesystem: Any, path: str, start: int) -> NDArray[np.int64]:
    """Return where each row begins, and where the last one ends; empty lines are part of the row before."""
    content = np.frombuffer(filesystem.cat_file(path), np.uint8)
    ends = np.flatnonzero(content == ord("\n")) + 1
    begins = ends[:-1][content[ends[:-1]] != ord("\n")]
    return np.array([start, *begins[begins > start], len(content)])
