"""A list of the checksums of files, kept beside them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import fsspec
from kedro.io.core import DatasetError

from cmbml.datasets.storage import write_files


@dataclass(frozen=True)
class Entry:
    """What is known of a file that was verified.

    Parameters
    ----------
    sha256
        Its checksum.
    size
        Its size in bytes.
    touched
        When it was last written, in ns since 1970, as the disk has it; 0 for an
        archive that was unpacked and is gone.
    published
        The published checksum it agreed with; "" if there is none.
    members
        For an archive, the paths of its files in the list.
    """

    sha256: str
    size: int
    touched: int
    published: str = ""
    members: tuple[str, ...] = ()


class ChecksumLedger:
    """The list in `checksums.json` of a folder; paths are relative to it.

    Parameters
    ----------
    folder
        The folder; it need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "checksums.json"
        self._entries = self._read()

    def __getitem__(self, path: str) -> Entry | None:
        return self._entries.get(path)

    def add(self, entries: Mapping[str, Entry]) -> None:
        """Add or replace entries, and write the list; what another run has added meanwhile stays."""
        self._entries = {**self._read(), **entries}
        text = json.dumps(
            {path: asdict(entry) for path, entry in sorted(self._entries.items())}, indent=1
        ).encode()
        write_files(fsspec.filesystem("file", auto_mkdir=True), [(str(self._path), lambda: text)])

    def is_untouched(self, path: str) -> bool:
        """Return whether a file is there as it was when it was verified, by size and time."""
        entry, place = self[path], self._folder / path
        if entry is None or not place.is_file():
            return False
        now = place.stat()
        return (now.st_size, now.st_mtime_ns) == (entry.size, entry.touched)

    def entry_of(self, path: str, *, published: str = "", members: tuple[str, ...] = ()) -> Entry:
        """Return the entry of a file on disk; it is read to its end."""
        place = self._folder / path
        stat = place.stat()
        return Entry(digest(place, "sha256"), stat.st_size, stat.st_mtime_ns, published, members)

    def _read(self) -> dict[str, Entry]:
        if not self._path.exists():
            return {}
        try:
            raw = json.loads(self._path.read_text(encoding="utf-8"))
            return {path: Entry(**{**e, "members": tuple(e["members"])}) for path, e in raw.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DatasetError(
                f"{self._path}: no list of checksums, or a damaged one ({error}); remove it, and every "
                "file is read and listed again"
            ) from error


def digest(path: Path, kind: str) -> str:
    """Return the checksum of a file, of the kind "md5", "sha1" or "sha256", in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()
