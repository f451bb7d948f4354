"""Compute and write partitions in worker processes, with one bar of progress."""

import json
import logging
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import joblib
import rich
from joblib.externals.loky.process_executor import BrokenProcessPool
from kedro.io.core import AbstractDataset
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cmbml.datasets.partition_recipes import Lazy
from cmbml.datasets.storage import write_files
from cmbml.science.threads import set_thread_count, thread_count

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """Compute one partition, write it, and mark it as done."""

    name: str
    item: Lazy
    leaf: AbstractDataset[Any, Any]
    filesystem: Any
    path: str
    mark: str
    threads: int

    def __call__(self) -> tuple[str, str | None]:
        """Do it; return the partition's name, and what went wrong or None."""
        set_thread_count(self.threads)
        try:
            self.leaf.save(self.item())
            sizes = file_sizes(self.filesystem, self.path)
            write_files(self.filesystem, [(self.mark, json.dumps(sizes).encode)])
        except Exception as error:  # the summary names it; one bad sky must not stop the others
            LOGGER.debug("%s failed\n%s", self.name, traceback.format_exc(), extra={"markup": False})
            return self.name, f"{type(error).__name__}: {error}"
        return self.name, None


def _call(task: Task) -> tuple[str, str | None]:
    return task()


def file_sizes(filesystem: Any, path: str) -> dict[str, int]:
    """Return the size of every file of a partition, by its name below `path`; empty if there is none."""
    filesystem.invalidate_cache(path)
    return {
        str(file).removeprefix(path): int(info["size"])
        for file, info in sorted(filesystem.find(path, detail=True).items())
    }


class ProgressBar:
    """A progress bar on a terminal, a line every tenth of the way elsewhere."""

    def __init__(self, title: str, total: int) -> None:
        console = rich.get_console()
        self._title, self._total, self._done, self._said = title, total, 0, 0
        self._on_terminal = console.is_terminal or console.is_jupyter
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, *times, console=console, disable=not self._on_terminal)

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        self._task = self._progress.add_task("/".join(self._title.split("/")[-2:]), total=self._total)
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self) -> None:
        """Count one partition."""
        self._done += 1
        self._progress.advance(self._task)
        tenth = 10 * self._done // self._total
        if not self._on_terminal and tenth > self._said:
            self._said = tenth
            LOGGER.info("%s: %d of %d", self._title, self._done, self._total)


def run_tasks(
    tasks: dict[str, Task], *, n_jobs: int, threads: int, title: str
) -> Iterator[tuple[str, str | None]]:
    """Run every task, and yield its name and what went wrong, in the order in which they end.

    Parameters
    ----------
    tasks
        By name of the partition.
    n_jobs
        Worker processes; 0 runs in this process.
    threads
        Threads of each worker.
    title
        What messages call the set.
    """
    if n_jobs == 0:
        before = thread_count()
        try:
            yield from (task() for task in tasks.values())
        finally:
            set_thread_count(before)
        return
    left = dict(tasks)
    for batch_size in (len(tasks), n_jobs, 1):
        # A worker that dies takes the whole pool with it, and nobody knows which
        # partition it had: the rest is tried again in ever smaller batches.
        names = list(left)
        for start in range(0, len(names), batch_size):
            batch = [left[name] for name in names[start : start + batch_size]]
            for name, problem in _run_batch(batch, n_jobs=n_jobs, threads=threads):
                del left[name]
                yield name, problem
        if not left:
            return
        LOGGER.warning("%s: a worker process died; %d partitions are tried again", title, len(left))
    for name in left:
        yield name, "its worker process died (killed by the system, out of memory, or a crash in a library)"


def _run_batch(tasks: list[Task], *, n_jobs: int, threads: int) -> Iterator[tuple[str, str | None]]:
    """Run tasks in workers; stop early, without an error, when a worker dies."""
    with (
        warnings.catch_warnings(),
        joblib.parallel_config(backend="loky", inner_max_num_threads=threads),
    ):
        # loky replaces a worker whose memory has grown, which our caches make it do; nothing is lost by it
        warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
        parallel = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered", batch_size=1)
        try:
            yield from parallel(joblib.delayed(_call)(task) for task in tasks)
        except BrokenProcessPool:
            return
