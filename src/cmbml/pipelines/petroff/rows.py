"""Compiled functions run over ranges of rows, in as many threads as torch has."""

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
    threads = min(torch.get_num_threads(), max(1, rows // _PER_THREAD))
    edges = [rows * part // threads // step * step for part in range(threads)] + [rows]
    others = [_pool(threads - 1).submit(work, *part) for part in pairwise(edges[1:])]
    work(*edges[:2])
    for other in others:
        other.result()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="rows")
