"""What lies in a folder of fetched files, and how a file gets there."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

from kedro.io.core import DatasetError

from cmbml.datasets.archives import unpack
from cmbml.datasets.byte_bar import ByteBar
from cmbml.datasets.checksum_ledger import ChecksumLedger, Entry, digest
from cmbml.datasets.file_formats import check_format
from cmbml.datasets.transfer import Patience, TransferError, fetch_file
from cmbml.remote_files import FileReport, RemoteFile, State, size_text

FAILURES = (TransferError, ValueError, OSError)
"""What can go wrong with one file, and must not stop the others."""

LEAST_PART = 10
"""A file below 1/10 of the size it should have about is a placeholder, not the file."""


class Shelf:
    """A folder of fetched files with the list of their checksums.

    Parameters
    ----------
    folder
        The folder.
    verify
        "quick": files that were not touched since they were verified are good;
        "full": all are read.
    size_of
        Asks a server for the size of a file, for one that lies there and of which
        neither a checksum is published nor a download recorded.
    """

    def __init__(
        self,
        folder: Path,
        *,
        verify: Literal["quick", "full"],
        size_of: Callable[[str], int | None] = lambda _: None,
    ) -> None:
        self._folder, self._verify, self._size_of = folder, verify, size_of
        self._ledger = ChecksumLedger(folder)

    # ---- what is there ------------------------------------------------------

    def examine(self, files: Iterable[RemoteFile], *, may_read: bool) -> tuple[FileReport, ...]:
        """Return the state of every file.

        Parameters
        ----------
        files
            The files.
        may_read
            Whether files that are not known to be good may be read, which may
            take long, and listed if they are good.
        """
        return tuple(self._examine(file, may_read=may_read) for file in files)

    def _examine(self, file: RemoteFile, *, may_read: bool) -> FileReport:
        entry = self._ledger[file.path]
        if file.unpack_to is not None:
            if entry is None or not entry.members:
                return FileReport(file, "missing", 0, "")
            state = self._state_of_members(file, entry, may_read=may_read)
            sizes = [self._ledger[member] for member in entry.members]
            return FileReport(file, state, sum(one.size for one in sizes if one), entry.sha256)
        place = self._folder / file.path
        if not place.is_file():
            return FileReport(file, "missing", 0, "")
        state = self._state_of(file.path, file, may_read=may_read)
        known = self._ledger[file.path]
        return FileReport(file, state, place.stat().st_size, known.sha256 if known else "")

    def _state_of_members(self, file: RemoteFile, entry: Entry, *, may_read: bool) -> State:
        if file.checksum and file.checksum != entry.published:
            return "damaged"  # another archive is wanted than was unpacked
        states = {
            self._state_of(member, None, may_read=may_read)
            if (self._folder / member).is_file()
            else "damaged"
            for member in entry.members
        }
        return next(state for state in ("damaged", "unverified", "here") if state in states)

    def _state_of(self, path: str, file: RemoteFile | None, *, may_read: bool) -> State:
        """Return the state of one file on disk; `file` is None for a member of an archive."""
        entry = self._ledger[path]
        published = file.checksum if file else ""
        trusted = entry is not None and entry.published == published
        if trusted and self._verify == "quick" and self._ledger.is_untouched(path):
            return "here"
        if not may_read:
            return "unverified"
        try:
            self._check(path, file)
        except ValueError:
            return "damaged"
        self._ledger.add({path: self._ledger.entry_of(path, published=published)})
        return "here"

    def _check(self, path: str, file: RemoteFile | None) -> None:
        """Raise if a file is not what was published, or recorded, or is no such file at all."""
        place, entry = self._folder / path, self._ledger[path]
        if file and file.checksum:
            kind, _, digits = file.checksum.partition(":")
            if digest(place, kind) != digits:
                raise ValueError(f"{path}: its {kind} is not the published {digits}")
        elif entry is not None:
            if digest(place, "sha256") != entry.sha256:
                raise ValueError(f"{path}: its SHA-256 is not the recorded {entry.sha256}")
        else:
            check_format(place, place.name)
            stated = self._size_of(file.url) if file else None
            if stated is not None and stated != place.stat().st_size:
                raise ValueError(f"{path}: has {place.stat().st_size} bytes, on the server it has {stated}")
        if file:
            _check_size(file, place.stat().st_size)

    # ---- room for more --------------------------------------------------------

    def free_bytes(self) -> int:
        """Return how much room the disk has."""
        there = next(folder for folder in (self._folder, *self._folder.absolute().parents) if folder.exists())
        return shutil.disk_usage(there).free

    def check_space(self, files: Iterable[RemoteFile]) -> None:
        """Check that the disk has room for files, and for one archive beside its members.

        Archives are unpacked and removed one after the other, so that the largest
        says how much more than the members is ever there.

        Raises
        ------
        DatasetError
            If it has not.
        """
        listed = list(files)
        archives = [file.size or 0 for file in listed if file.unpack_to]
        needed = round(sum((file.size or 0) * file.growth for file in listed)) + max(archives, default=0)
        free = self.free_bytes()
        if needed > free:
            raise DatasetError(
                f"{self._folder}: {size_text(needed)} are needed and {size_text(free)} are free; "
                "make room, fetch less at a time, or set assets_folder to a larger disk"
            )

    # ---- fetching ---------------------------------------------------------------

    def fetch(self, file: RemoteFile, *, patience: Patience, bar: ByteBar) -> FileReport:
        """Fetch one file, verify it, unpack it if it is an archive, and list it.

        Raises
        ------
        TransferError
            If it could not be fetched; see `transfer.fetch_file`.
        ValueError
            If it is another file than expected, or an archive that cannot be
            unpacked.
        OSError
            If it cannot be written.
        """
        bar.name(Path(file.path).name)
        if not self._has_archive(file):
            self._transfer(file, patience=patience, bar=bar)
        entry = self._ledger.entry_of(file.path, published=file.checksum)
        if file.unpack_to is not None:
            return self._unpack(file, entry)
        self._ledger.add({file.path: entry})
        return FileReport(file, "fetched", entry.size, entry.sha256)

    def _has_archive(self, file: RemoteFile) -> bool:
        """Return whether the archive lies there, good, and only has to be unpacked."""
        if file.unpack_to is None or not (self._folder / file.path).is_file():
            return False
        try:
            self._check(file.path, file)
        except ValueError:
            return False
        return True

    def _transfer(self, file: RemoteFile, *, patience: Patience, bar: ByteBar) -> None:
        entry = self._ledger[file.path]
        recorded = f"sha256:{entry.sha256}" if entry else None
        place = self._folder / file.path
        try:
            fetch_file(
                file.url,
                place,
                known_hash=file.checksum or recorded,
                work=self._folder / ".fetching" / file.path.replace("/", "__"),
                patience=patience,
                bar=bar,
            )
        except TransferError as error:
            if recorded and not file.checksum and "checksum" in str(error):
                raise TransferError(
                    f"{error}. That is the checksum of the first download: if the publisher has replaced "
                    f"the file since, remove its entry {file.path} from {self._folder}/checksums.json"
                ) from error
            raise
        size = place.stat().st_size
        try:
            _check_size(file, size)
        except ValueError:
            place.unlink()
            raise

    def _unpack(self, file: RemoteFile, entry: Entry) -> FileReport:
        target = file.unpack_to or ""
        archive = self._folder / file.path
        try:
            names = unpack(archive, self._folder / target, strip=file.strip)
        except ValueError:
            archive.unlink()
            raise
        members = {f"{target}/{name}": self._ledger.entry_of(f"{target}/{name}") for name in names}
        gone = Entry(entry.sha256, entry.size, 0, file.checksum, tuple(members))
        self._ledger.add({**members, file.path: gone})
        archive.unlink()
        return FileReport(file, "fetched", sum(member.size for member in members.values()), entry.sha256)


def _check_size(file: RemoteFile, size: int) -> None:
    """Raise if a file cannot be the one that is meant, by its size."""
    if file.size is None:
        return
    if file.is_exact and size != file.size:
        raise ValueError(f"{file.path}: has {size} bytes, {file.size} are published")
    if size * LEAST_PART < file.size:
        raise ValueError(
            f"{file.path}: has {size_text(size)}, {size_text(file.size, about=True)} are expected; "
            "the server sent a placeholder, or the file was cut short"
        )
