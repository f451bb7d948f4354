"""Downloads that go on where they stopped; the only module that touches the network.

A transfer writes into a folder of its own. What has arrived stays there, in a file
that ends in `.part`, when the connection breaks, the server fails or the run is
killed; the next attempt asks the server for the rest, by the header If-Range only
if the file there is still the same. pooch verifies what has arrived, and only then
the file is moved to its place.
"""

import json
import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

import pooch
import requests

from cmbml import __version__
from cmbml.datasets.byte_bar import ByteBar
from cmbml.datasets.file_formats import check_format

LOGGER = logging.getLogger(__name__)
pooch.get_logger().setLevel(logging.WARNING)  # each of its files is two lines of INFO

CHUNK_BYTES = 1 << 16
"""A piece that is not whole when the connection breaks is lost, so that it must not be large."""

LONGEST_WAIT_SECONDS = 60.0
AGENT = f"cmbml/{__version__}"

_PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Status codes that say: not now."""


class TransferError(Exception):
    """A file could not be fetched; the message says why.

    Parameters
    ----------
    text
        Why.
    has_answered
        Whether the server answered at all.
    """

    def __init__(self, text: str, *, has_answered: bool = True) -> None:
        super().__init__(text)
        self.has_answered = has_answered


class _Trouble(Exception):
    """Something that may pass: the server is busy, or the connection broke."""

    def __init__(self, text: str, *, wait: float = 0.0, has_answered: bool = True) -> None:
        super().__init__(text)
        self.wait, self.has_answered = wait, has_answered


@dataclass(frozen=True)
class Patience:
    """How long to insist.

    Parameters
    ----------
    retries
        Attempts after the first that may bring no new byte.
    wait_seconds
        Wait before the first retry; doubled at each further one.
    timeout_seconds
        How long a server may be silent.
    """

    retries: int
    wait_seconds: float
    timeout_seconds: float


def fetch_file(
    url: str, destination: Path, *, known_hash: str | None, work: Path, patience: Patience, bar: ByteBar
) -> None:
    """Fetch a file, verify it, and put it in its place.

    Parameters
    ----------
    url, destination
        From where to where; the folder is made.
    known_hash
        The checksum it must have, as "sha1:<digits>"; None if there is none.
    work
        Folder of this transfer alone, on the same disk as the destination;
        removed in the end, kept if the transfer can go on later.
    patience
        How long to insist.
    bar
        Bar to move.

    Raises
    ------
    TransferError
        If the server refuses, stays silent or breaks off for too long, sends
        something that is no such file, or the checksum is another one.
    """
    work.mkdir(parents=True, exist_ok=True)
    loader = ResumingDownloader(
        work / f"{destination.name}.part", destination.name, patience=patience, bar=bar
    )
    loader.may_resume_unmarked = known_hash is not None
    try:
        _retrieve(url, destination.name, known_hash, work, loader)
    except ValueError as error:
        if not loader.has_resumed:
            raise TransferError(_mismatch(url, known_hash)) from error
        # the two halves may be of different files: once more, from the start
        try:
            _retrieve(url, destination.name, known_hash, work, loader)
        except ValueError as again:
            raise TransferError(_mismatch(url, known_hash)) from again
    destination.parent.mkdir(parents=True, exist_ok=True)
    os.replace(work / destination.name, destination)
    shutil.rmtree(work)


def _retrieve(url: str, name: str, known_hash: str | None, work: Path, loader: "ResumingDownloader") -> None:
    """Let pooch fetch and verify; a file that is not what it should be is thrown away."""
    try:
        pooch.retrieve(url, known_hash, fname=name, path=work, downloader=loader)
    except requests.exceptions.RequestException as error:  # such as an address that is none
        raise TransferError(f"{url}: {error}") from error
    except ValueError:
        loader.forget()
        raise


def _mismatch(url: str, known_hash: str | None) -> str:
    return f"{url}: what the server sent does not have the checksum {known_hash}; nothing of it is kept"


def ask_size(url: str, timeout_seconds: float) -> int | None:
    """Return the size in bytes that a server states, None if it states none or does not answer."""
    try:
        response = requests.head(
            url, timeout=timeout_seconds, allow_redirects=True, headers={"User-Agent": AGENT, **_AS_IT_IS}
        )
    except requests.exceptions.RequestException:
        return None
    length = response.headers.get("Content-Length", "")
    return int(length) if response.ok and length.isdigit() else None


_AS_IT_IS = {"Accept-Encoding": "identity"}
"""Without compression on the way, bytes of a range are bytes of the file."""


class ResumingDownloader:
    """A downloader for pooch that goes on where an earlier attempt stopped.

    Parameters
    ----------
    part
        File that holds what has arrived; beside it lies a note of where it came
        from and how the server marked it (ETag or Last-Modified).
    name
        Name of the file, which says by its ending how the file must begin.
    patience
        How long to insist.
    bar
        Bar to move.
    """

    may_resume_unmarked = False
    """Whether to go on also where the server does not mark its files: a checksum must then follow."""

    def __init__(self, part: Path, name: str, *, patience: Patience, bar: ByteBar) -> None:
        self._part, self._note_path = part, part.with_name(f"{part.name}.json")
        self._name, self._patience, self._bar = name, patience, bar
        self._shown = 0
        self.has_resumed = False

    def __call__(self, url: str, output_file: str, _: Any, check_only: bool = False) -> None:
        """Fetch `url` into `output_file`, as pooch calls it.

        Raises
        ------
        TransferError
            If the server refuses, or attempts bring no new byte for too long.
        """
        furthest, failures, has_answered = self._size(), 0, False
        while True:
            try:
                self._attempt(url)
                break
            except _Trouble as trouble:
                reached, has_answered = self._size(), has_answered or trouble.has_answered
                failures = 1 if reached > furthest else failures + 1
                furthest = max(furthest, reached)
                if failures > self._patience.retries:
                    text = f"{url}: {trouble}; {self._kept()}"
                    raise TransferError(text, has_answered=has_answered) from trouble
                wait = max(self._patience.wait_seconds * 2 ** (failures - 1), trouble.wait)
                LOGGER.info("%s: %s; trying again in %.0f s", self._name, trouble, wait)
                sleep(min(wait, LONGEST_WAIT_SECONDS))
        try:
            check_format(self._part, self._name)
        except ValueError as error:
            self.forget()
            raise TransferError(f"{url}: {error}") from error
        _hand_over(self._part, Path(output_file))

    def forget(self) -> None:
        """Throw away what has arrived."""
        self._part.unlink(missing_ok=True)
        self._note_path.unlink(missing_ok=True)
        self._show(0)

    def _attempt(self, url: str) -> None:
        """Ask for the file, or for what is left of it, and write what comes."""
        note = self._note()
        have = self._size() if self._can_resume(url, note) else 0
        headers = {"User-Agent": AGENT, **_AS_IT_IS}
        if have:
            headers["Range"] = f"bytes={have}-"
            if note.get("mark"):
                headers["If-Range"] = note["mark"]
        try:
            with requests.get(
                url, stream=True, timeout=self._patience.timeout_seconds, headers=headers
            ) as response:
                self._receive(url, response, have)
        except (
            requests.exceptions.ConnectionError,
            requests.exceptions.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise _Trouble(_plain(error), has_answered=self._shown > have) from error

    def _receive(self, url: str, response: requests.Response, have: int) -> None:
        if response.status_code == 416:  # nothing is left to ask for
            if _total(response) == have:
                self.has_resumed = True
                self._show(have)
                return
            self.forget()
            raise _Trouble("the file on the server is another one now")
        _check_status(url, response)
        start = have if response.status_code == 206 and _start(response) == have else 0
        if response.status_code == 206 and start != have:
            self.forget()
            raise _Trouble("the server sent another part than was asked for")
        self.has_resumed = self.has_resumed or start > 0
        total = _total(response)
        self._write_note(url, response, total)
        if total is not None:
            self._bar.resize(self._name, total)
        self._show(start)
        with open(self._part, "ab" if start else "wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                self._show(self._shown + len(chunk))
        if total is not None and self._size() != total:
            raise _Trouble(f"the connection ended after {self._size()} of {total} bytes")

    # ---- what has arrived -------------------------------------------------

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _kept(self) -> str:
        size = self._size()
        return f"{size} bytes have arrived and are kept, run again to go on" if size else "nothing arrived"

    def _can_resume(self, url: str, note: dict[str, Any]) -> bool:
        return note.get("url") == url and bool(note.get("mark") or self.may_resume_unmarked)

    def _note(self) -> dict[str, Any]:
        with suppress(OSError, ValueError):
            note = json.loads(self._note_path.read_text(encoding="utf-8"))
            return note if isinstance(note, dict) else {}
        return {}

    def _write_note(self, url: str, response: requests.Response, total: int | None) -> None:
        tag = response.headers.get("ETag", "")
        # a weak tag marks files that mean the same, not files of the same bytes
        mark = response.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag
        text = json.dumps({"url": url, "mark": mark, "total": total})
        self._note_path.write_text(text, encoding="utf-8")

    def _show(self, position: int) -> None:
        self._bar.advance(position - self._shown)
        self._shown = position


def _hand_over(part: Path, output: Path) -> None:
    """Give the file to pooch, and keep our name of it until pooch has verified it."""
    output.unlink(missing_ok=True)
    try:
        os.link(part, output)
    except OSError:  # a disk without hard links
        os.replace(part, output)


def _check_status(url: str, response: requests.Response) -> None:
    if response.status_code in _PASSING:
        after = response.headers.get("Retry-After", "")
        raise _Trouble(_status(response), wait=float(after) if after.isdigit() else 0.0)
    if response.status_code not in (200, 206):
        raise TransferError(f"{url}: {_status(response)}")


def _status(response: requests.Response) -> str:
    return f"the server answers {response.status_code} {response.reason or ''}".strip()


def _total(response: requests.Response) -> int | None:
    """Return the size of the whole file, as Content-Range or Content-Length states it."""
    _, _, total = response.headers.get("Content-Range", "").rpartition("/")
    text = total if response.status_code in (206, 416) else response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _start(response: requests.Response) -> int | None:
    """Return the first byte that a partial answer holds."""
    first = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else None


def _plain(error: Exception) -> str:
    """Return what broke, without the layers of libraries around it."""
    if isinstance(error, requests.exceptions.Timeout):
        return "the server is silent"
    if "IncompleteRead" in str(error) or "prematurely" in str(error):
        return "the connection broke"
    inner = error.args[0] if error.args else error
    return f"no connection ({type(getattr(inner, 'reason', inner)).__name__})"
