"""Loops over pixels, shared among the threads this process may use."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cmbml.science.threads import thread_count

PIXELS_PER_BLOCK = 4096
"""Large enough that starting a block costs nothing, small enough to share the work evenly."""


def run_in_blocks(work: Callable[[slice], None], n_pixels: int) -> None:
    """Call `work` for slices that together cover all pixels, in `thread_count()` threads.

    Threads help only where the work lets go of Python's global lock, as numpy's
    and numba's loops can. Every pixel is worked on alone, so that the result does
    not depend on the number of threads.

    Parameters
    ----------
    work
        Takes a slice of pixels and writes its result into arrays of its own.
    n_pixels
        Length of the pixel axis.
    """
    slices = [slice(start, start + PIXELS_PER_BLOCK) for start in range(0, n_pixels, PIXELS_PER_BLOCK)]
    with ThreadPoolExecutor(thread_count()) as threads:
        for _ in threads.map(work, slices):  # asking for the results raises what a block raised
            pass
