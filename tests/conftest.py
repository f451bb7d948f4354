"""Fixtures that every test may use."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


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
