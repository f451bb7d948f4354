"""Fixtures that every test may use, and how workers of pytest-xdist share the cores."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PARALLEL = "PYTEST_XDIST_WORKER" in os.environ
"""Whether this process is one of several that test; true in the processes that do, not in the one that shares out."""

if PARALLEL:  # before a numerical library is imported; runs that a test starts inherit it
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


for variable in (
    "COLUMNS",
    "LINES",
):  # a console keeps what it finds when it is made; tests say which width they need
    os.environ.pop(variable, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first when cores share them out, so that none of them is begun last.

    Tests of one file stay in their order.
    """
    if PARALLEL:
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True)
def one_thread_again() -> Iterator[None]:
    """Take back what a Kedro session in this process sets, so that no test depends on those before it."""
    yield
    from cmbml.science.threads import set_thread_count

    set_thread_count(1)


@pytest.fixture(scope="session")
def shared_file() -> Callable[[str], Path]:
    """Return a function that finds reference data, and skips the test where there are none.

    Reference data live outside the project: in the folder that CMBML_SHARED
    names, or in `shared` beside the project.
    """
    folder = Path(os.environ.get("CMBML_SHARED", ROOT.parent / "shared"))

    def find(relative_path: str) -> Path:
        path = folder / relative_path
        if not path.exists():
            pytest.skip(f"reference data not present: {relative_path}")
        return path

    return find
