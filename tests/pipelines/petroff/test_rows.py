"""Compiled functions are run over all rows once, by threads that stay."""

import multiprocessing
import threading

import numpy as np
import pytest
import torch

from cmbml.pipelines.petroff import rows
from cmbml.pipelines.petroff.rows import over_rows


@pytest.fixture
def threads():
    """Set torch's number of threads for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def counted(number: int, **given: int) -> np.ndarray:
    """Return how often each row was worked on."""
    counts = np.zeros(number, int)

    def work(first: int, last: int) -> None:
        counts[first:last] += 1

    over_rows(work, number, **given)
    return counts


@pytest.mark.parametrize("most", [1, 2, 3])
@pytest.mark.parametrize("number", [1, 48, 4097, 8192, 12289, 50000])
@pytest.mark.parametrize("step", [1, 512])
def test_every_row_is_worked_on_once(most, number, step, threads):
    threads(most)
    assert (counted(number, step=step) == 1).all()


def test_ranges_begin_at_multiples_of_the_step(threads):
    threads(3)
    begun = []
    over_rows(lambda first, last: begun.append(first), 50000, step=512)
    assert len(begun) == 3
    assert all(first % 512 == 0 for first in begun)


def test_the_threads_stay_whatever_the_number_of_rows(threads):
    threads(3)
    counted(50000)
    pool = rows._pool(2)
    for number in (50000, 8192, 100, 8192, 50000):
        counted(number)
        assert rows._pool(2) is pool
    assert sum(thread.name.startswith("rows") for thread in threading.enumerate()) >= 1


def test_what_fails_in_a_thread_fails_here(threads):
    threads(2)

    def work(first: int, last: int) -> None:
        if first:
            raise ValueError("beyond the first rows")

    with pytest.raises(ValueError, match="beyond the first rows"):
        over_rows(work, 50000)


def test_a_forked_process_has_threads_of_its_own(threads):
    threads(2)
    counted(50000)  # threads are there before
    child = multiprocessing.get_context("fork").Process(target=counted, args=(50000,))
    child.start()
    child.join(20)
    try:
        assert child.exitcode == 0
    finally:
        child.kill()
