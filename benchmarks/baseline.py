"""The yardstick of the timings: one harmonic analysis by healpy.

Seconds say more about a computer than about a program, so every timing is
given as a multiple of `healpy.map2alm(iter=3, lmax=1535)` of one nside-512 map,
measured in the same process and with the same number of threads. healpy takes
its threads from OpenMP, which reads OMP_NUM_THREADS when it is first loaded:
`run.py` starts a process for every number of threads.
"""

import os
import time

import healpy as hp
import numpy as np

NSIDE = 512
SEED = 20


def threads() -> int:
    """Return the number of threads that OpenMP and the measured code use.

    Raises
    ------
    RuntimeError
        If OMP_NUM_THREADS does not say.
    """
    value = os.environ.get("OMP_NUM_THREADS", "")
    if not value.isdigit():
        raise RuntimeError(
            f"OMP_NUM_THREADS is {value!r}: start Python with OMP_NUM_THREADS=2, "
            "or whatever the number of threads to compare at"
        )
    return int(value)


def baseline_seconds() -> float:
    """Time the yardstick once."""
    white = np.random.default_rng(SEED).standard_normal(12 * NSIDE**2)
    start = time.perf_counter()
    hp.map2alm(white, lmax=3 * NSIDE - 1, iter=3)
    return time.perf_counter() - start
