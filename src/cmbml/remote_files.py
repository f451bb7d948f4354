"""Files that lie elsewhere, and what became of them: words that pipelines and datasets share."""

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

DIGITS = {"md5": 32, "sha1": 40, "sha256": 64}
"""Kinds of checksums, and how many hexadecimal digits each has."""

State = Literal["missing", "damaged", "unverified", "here", "fetched"]


@dataclass(frozen=True)
class RemoteFile:
    """A file that can be fetched.

    Parameters
    ----------
    path
        Where it goes, relative to the folder of all of them.
    url
        Where it is.
    group
        What it belongs to, for lists.
    size
        Its size in bytes; None if it is not known.
    is_exact
        Whether `size` is published, and not only about right.
    checksum
        Published checksum as "sha1:<digits>" (or md5, sha256); "" if there is none.
    unpack_to
        For a tar archive, the folder that its members go to, relative to the
        folder of all files; the archive itself is then not kept.
    strip
        Whether a folder that holds all members of the archive is left out.
    growth
        Bytes of the unpacked members per byte of the archive, about: 1 for what
        is not compressed.
    """

    path: str
    url: str
    group: str
    size: int | None = None
    is_exact: bool = False
    checksum: str = ""
    unpack_to: str | None = None
    strip: bool = False
    growth: float = 1.0

    def __post_init__(self) -> None:
        for place in (self.path, self.unpack_to):
            if place is not None and not is_below(place):
                raise ValueError(f"path {place!r}: must be relative and stay in its folder")
        kind, _, digits = self.checksum.partition(":")
        if self.checksum and (len(digits) != DIGITS.get(kind) or not set(digits) <= set("0123456789abcdef")):
            raise ValueError(
                f"{self.path}: checksum {self.checksum!r} must be md5:, sha1: or sha256: and its digits"
            )


@dataclass(frozen=True)
class FetchOrder:
    """What is to be fetched, and how patiently.

    Parameters
    ----------
    files
        The files, each path once.
    retries
        How often a transfer that does not get on is tried again.
    wait_seconds
        Wait before the first retry; doubled at each further one.
    timeout_seconds
        How long a server may be silent.
    verify
        "quick": a file that has not been touched since it was verified is good;
        "full": every file is read again.
    is_dry
        Whether the list is all that is wanted.
    """

    files: tuple[RemoteFile, ...]
    retries: int
    wait_seconds: float
    timeout_seconds: float
    verify: Literal["quick", "full"]
    is_dry: bool

    def __post_init__(self) -> None:
        twice = [path for path, count in Counter(file.path for file in self.files).items() if count > 1]
        if twice:
            raise ValueError(f"{twice[0]}: ordered twice; every path must be of one file")


@dataclass(frozen=True)
class FileReport:
    """What became of a file.

    Parameters
    ----------
    file
        Which.
    state
        "missing"; "damaged" (there, but not what it should be); "unverified"
        (there, and not looked into yet); "here" (verified); "fetched" (now).
    size
        Bytes on disk, members of an archive together; 0 if missing.
    sha256
        Of the file, or of the archive it was; "" if not known.
    """

    file: RemoteFile
    state: State
    size: int
    sha256: str


def is_below(path: str) -> bool:
    """Return whether a relative path stays in the folder it starts from."""
    parts = PurePosixPath(path)
    return bool(parts.parts) and not parts.is_absolute() and ".." not in parts.parts and "\\" not in path


def size_text(size: int, *, about: bool = False) -> str:
    """Return a number of bytes for reading, in decimal units.

    Examples
    --------
    >>> size_text(2_013_265_920, about=True)
    'about 2.0 GB'
    """
    amount, units = float(size), iter(("B", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while amount >= 1000 and unit != "TB":
        amount, unit = amount / 1000, next(units)
    shown = f"{amount:.0f}" if unit in ("B", "kB", "MB") else f"{amount:.1f}"
    return f"{'about ' if about else ''}{shown} {unit}"
