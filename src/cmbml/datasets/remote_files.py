"""Dataset of files that are fetched from elsewhere when they are loaded."""

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec
import rich
from kedro.io.core import AbstractDataset, DatasetError

from cmbml.datasets.byte_bar import ByteBar
from cmbml.datasets.fetching import FAILURES, Shelf
from cmbml.datasets.fetching_list import fetching_list
from cmbml.datasets.storage import write_files
from cmbml.datasets.transfer import Patience, ask_size
from cmbml.remote_files import FetchOrder, FileReport, RemoteFile, size_text

LOGGER = logging.getLogger(__name__)
LISTED = 5


class RemoteFilesDataset(AbstractDataset[FetchOrder, tuple[FileReport, ...]]):
    """A folder of files from elsewhere: `save` takes the order, `load` fetches and verifies.

    `load` prints what is there and what is missing, with sizes, then fetches one
    file after the other. Each is verified by its published checksum; where none
    is published, its SHA-256 is recorded in `checksums.json` at the first download
    and holds from then on. A file goes to its place whole and verified, or not at
    all. Every file is tried before one error lists the failures. What was verified
    and not touched since is not read again, nor asked for: a second `load` needs no
    network.

    Parameters
    ----------
    path
        The folder, on a local disk.
    metadata
        Any, as in Kedro's own datasets.
    """

    def __init__(self, *, path: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(path)
        self.metadata = metadata

    def save(self, data: FetchOrder) -> None:
        """Keep the order, in `order.json`; nothing is fetched yet.

        Raises
        ------
        DatasetError
            If `data` is no order.
        """
        if not isinstance(data, FetchOrder):
            raise DatasetError(f"{self._path}: a FetchOrder is expected, not a {type(data).__name__}")
        text = json.dumps(asdict(data), indent=1).encode()
        write_files(fsspec.filesystem("file", auto_mkdir=True), [(str(self._order_path), lambda: text)])

    def load(self) -> tuple[FileReport, ...]:
        """Fetch what is missing or damaged, and return what became of every file.

        A dry run only looks, and neither reads files nor asks a server.

        Raises
        ------
        DatasetError
            If there is no order, the disk is too small, or files could not be
            fetched (after all were tried).
        """
        order = self._order()
        shelf = Shelf(
            self._path, verify=order.verify, size_of=partial(ask_size, timeout_seconds=order.timeout_seconds)
        )
        reports = shelf.examine(order.files, may_read=not order.is_dry)
        wanted = [report for report in reports if report.state in ("missing", "damaged")]
        if wanted and not order.is_dry:
            wanted = [_with_size(report, order.timeout_seconds) for report in wanted]
        sized = {report.file.path: report for report in wanted}
        reports = tuple(sized.get(report.file.path, report) for report in reports)
        rich.get_console().print(fetching_list(reports, shelf.free_bytes()))
        if order.is_dry or not wanted:
            return reports
        shelf.check_space(report.file for report in wanted)
        fetched = self._fetch(shelf, [report.file for report in wanted], order)
        return tuple(fetched.get(report.file.path, report) for report in reports)

    def _fetch(self, shelf: Shelf, files: list[RemoteFile], order: FetchOrder) -> dict[str, FileReport]:
        """Fetch files one after the other, and raise one error for all that failed."""
        patience = Patience(order.retries, order.wait_seconds, order.timeout_seconds)
        fetched: dict[str, FileReport] = {}
        failures: dict[str, str] = {}
        silent: set[str] = set()
        with ByteBar({Path(file.path).name: file.size or 0 for file in files}) as bar:
            for file in files:
                host = urlsplit(file.url).netloc
                # a host that did not answer at all is not waited for again and again
                now = replace(patience, retries=0) if host in silent else patience
                try:
                    fetched[file.path] = shelf.fetch(file, patience=now, bar=bar)
                except FAILURES as error:
                    failures[file.path] = str(error)
                    if not getattr(error, "has_answered", True):
                        silent.add(host)
        if failures:
            raise DatasetError(_summary(self._path, failures, len(files)))
        LOGGER.info("%s: fetched %d files, %s", self._path, len(files), size_text(bar.done))
        return fetched

    def _order(self) -> FetchOrder:
        try:
            raw = json.loads(self._order_path.read_text(encoding="utf-8"))
            files = tuple(RemoteFile(**file) for file in raw.pop("files"))
            return FetchOrder(files=files, **raw)
        except FileNotFoundError as error:
            raise DatasetError(
                f"{self._order_path}: no such file; the node that says what is to be fetched has not run"
            ) from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DatasetError(f"{self._order_path}: no order, or a damaged one: {error}") from error

    @property
    def _order_path(self) -> Path:
        return self._path / "order.json"

    def _exists(self) -> bool:
        try:
            files = self._order().files
        except DatasetError:
            return False
        reports = Shelf(self._path, verify="quick").examine(files, may_read=False)
        return all(report.state == "here" for report in reports)

    def _describe(self) -> dict[str, Any]:
        return {"path": str(self._path)}


def _with_size(report: FileReport, timeout_seconds: float) -> FileReport:
    """Return the report with the size that the server states, where none was known."""
    if report.file.size is not None:
        return report
    size = ask_size(report.file.url, timeout_seconds)
    return replace(report, file=replace(report.file, size=size))


def _summary(folder: Path, failures: dict[str, str], count: int) -> str:
    shown: Iterable[str] = list(failures)[:LISTED]
    return (
        f"{folder}: {len(failures)} of {count} files were not fetched; the others are kept, and the same "
        "command tries the rest again. "
        + "; ".join(f"{path}: {failures[path]}" for path in shown)
        + (f"; and {len(failures) - LISTED} more" if len(failures) > LISTED else "")
    )
