"""One bar of progress over the bytes of many files."""

import logging

import rich
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cmbml.remote_files import size_text

LOGGER = logging.getLogger(__name__)


class ByteBar:
    """A bar on a terminal, a line every tenth of the way elsewhere.

    Parameters
    ----------
    sizes
        Expected bytes by name of the file; 0 where they are not known.
    """

    def __init__(self, sizes: dict[str, int]) -> None:
        console = rich.get_console()
        self._sizes, self._done, self._said = dict(sizes), 0, 0
        self._on_terminal = console.is_terminal or console.is_jupyter
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        rates = (TransferSpeedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, *rates, console=console, disable=not self._on_terminal)
        self._task = self._progress.add_task("", total=self.total)

    def __enter__(self) -> "ByteBar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def total(self) -> int:
        """Bytes of all files, as far as they are known."""
        return sum(self._sizes.values())

    @property
    def done(self) -> int:
        """Bytes that have arrived."""
        return self._done

    def name(self, name: str) -> None:
        """Say which file is on its way."""
        self._progress.update(self._task, description=name)

    def resize(self, name: str, size: int) -> None:
        """Correct the expected size of a file."""
        self._sizes[name] = size
        self._progress.update(self._task, total=self.total)

    def advance(self, count: int) -> None:
        """Count bytes; fewer than none where a transfer starts again."""
        self._done += count
        self._progress.update(self._task, completed=self._done)
        tenth = 10 * self._done // max(self.total, 1)
        if not self._on_terminal and tenth > self._said:
            self._said = tenth
            LOGGER.info("fetched %s of %s", size_text(self._done), size_text(self.total))
