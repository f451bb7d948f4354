"""Peak of memory of a task, in a process of its own."""

import ctypes
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_FORGET_PEAK = "5"
"""What tells Linux to forget the peak that a process has reached, see proc(5), clear_refs."""


def in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function of a module returns in a new process, which dies after it."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def peak_gibibytes(task: Callable[[], object]) -> float:
    """Return by how much the memory that this process has in use grows at most during a task; Linux only."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed before would be taken again unseen
    Path("/proc/self/clear_refs").write_text(_FORGET_PEAK)
    before = _kibibytes("VmRSS")
    task()
    return (_kibibytes("VmHWM") - before) / 2**20


def _kibibytes(name: str) -> int:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1])
