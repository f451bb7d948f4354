import os
import subprocess
import sys

import numba
import pytest

from cmbml.science.threads import available_cores, set_thread_count, thread_count, thread_environment


def test_one_thread_is_the_default():
    code = "from cmbml.science.threads import thread_count; raise SystemExit(thread_count())"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_number_set_is_the_number_returned(threads):
    set_thread_count(threads)
    assert thread_count() == threads
    assert numba.get_num_threads() == min(threads, numba.config.NUMBA_NUM_THREADS)


@pytest.mark.parametrize("threads", [0, -1])
def test_less_than_one_thread_is_refused_and_nothing_changes(threads):
    set_thread_count(1)
    with pytest.raises(ValueError, match=rf"threads: {threads} given, must be at least 1"):
        set_thread_count(threads)
    assert thread_count() == 1


def test_a_new_process_is_capped_by_its_environment():
    environment = thread_environment(3)
    capped = {name for name, value in environment.items() if value == "3"}
    assert {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"} <= capped
    assert environment.keys() - capped == {"OMP_WAIT_POLICY"}


def test_threads_that_wait_for_work_sleep():
    assert thread_environment(2)["OMP_WAIT_POLICY"] == "passive"


def test_available_cores_are_between_one_and_those_of_the_machine():
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
