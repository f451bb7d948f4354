"""Loops over pixels, shared among the threads this process may use."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cmbml.science.threads import thread_count

PIXELS_PER_BLOCK = 16384
"""Large enough that starting a block costs nothing, small enough to share the work evenly."""


def run_in_blocks(work: Callable[[int, int], None], n_pixels: int) -> None:
    """Call `work(start, stop)` for ranges that cover all pixels, in `thread_count()` threads.

    The work must not hold Python's global lock to gain from threads. Each pixel
    is worked on alone, so that the result does not depend on the threads.
    """
    starts = range(0, n_pixels, PIXELS_PER_BLOCK)
    stops = [min(start + PIXELS_PER_BLOCK, n_pixels) for start in starts]
    with ThreadPoolExecutor(thread_count()) as threads:
        list(threads.map(work, starts, stops))
