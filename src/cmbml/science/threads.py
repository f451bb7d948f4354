"""How many threads one computation may use.

Several transforms change the last bits of their result with the number of
threads, and every numerical library takes all cores unless told otherwise. So
the number is set once per process, here, and every call that can take a thread
count is given `thread_count()`.
"""

import os

import numba

_LIBRARY_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "DUCC0_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
_threads = 1
_LARGEST_POOL = int(numba.get_num_threads())
numba.set_num_threads(_threads)


def set_thread_count(threads: int) -> None:
    """Set the number of threads that computations of this process use.

    Parameters
    ----------
    threads
        At least 1.

    Raises
    ------
    ValueError
        If `threads` is smaller than 1.
    """
    global _threads  # noqa: PLW0603 (the one number that is a process's own)
    if threads < 1:
        raise ValueError(f"threads: {threads} given, must be at least 1")
    _threads = threads
    numba.set_num_threads(min(threads, _LARGEST_POOL))


def thread_count() -> int:
    """Return the number of threads that a computation of this process may use."""
    return _threads


def thread_environment(threads: int) -> dict[str, str]:
    """Return environment variables that cap the thread pools of a new process.

    Idle threads of OpenMP sleep: where other processes work too, those that wait in a loop, as they do unless
    told otherwise, take the cores from the ones that compute.

    Parameters
    ----------
    threads
        At least 1.
    """
    return {**dict.fromkeys(_LIBRARY_VARIABLES, str(threads)), "OMP_WAIT_POLICY": "passive"}


def available_cores() -> int:
    """Return the number of cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
