"""Compiled functions run over ranges of rows, in as many threads as torch has."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise

import torch

_PER_THREAD = 4096
"""Rows below which a thread is not worth its start."""


def over_rows(work: Callable[[int, int], None], rows: int, *, step: int = 1) -> None:
    """Call ``work(first, last)`` on ranges that cover all rows once, several at a time.

    Parameters
    ----------
    work
        Compiled, so that it lets go of the interpreter's lock; ranges must not depend on each other.
    rows
        Their number.
    step
        Ranges begin at multiples of it.
    """
    most = torch.get_num_threads()
    threads = min(most, max(1, rows // _PER_THREAD))
    edges = [rows * part // threads // step * step for part in range(threads)] + [rows]
    others = [_pool(most - 1).submit(work, *part) for part in pairwise(edges[1:])]
    work(*edges[:2])
    for other in others:
        other.result()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    """Return the threads beside the calling one, the same whatever there is to do."""
    return ThreadPoolExecutor(threads, thread_name_prefix="rows")


os.register_at_fork(after_in_child=_pool.cache_clear)  # threads are not copied to a forked process
