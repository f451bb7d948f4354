"""What a process frees is there for its next computation."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from cmbml.science.memory import keep_freed_memory, returned_memory

def pages_from_the_system():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)  # 64 MiB: twice what glibc keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

returned = [pages_from_the_system() for _ in range(3)][-1]
can_keep = keep_freed_memory()
kept = [pages_from_the_system() for _ in range(3)][-1]
with returned_memory():
    returned_again = [pages_from_the_system() for _ in range(3)][-1]
kept_again = [pages_from_the_system() for _ in range(3)][-1]
print(int(can_keep), returned, kept, returned_again, kept_again)
"""


def test_freed_memory_is_used_again_unless_it_is_to_be_returned() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True)
    can_keep, returned, kept, returned_again, kept_again = map(int, run.stdout.split())
    if not can_keep:
        pytest.skip("this system's allocator cannot be told")
    assert returned > 0
    assert kept == 0
    assert returned_again > 0
    assert kept_again == 0
