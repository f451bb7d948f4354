"""A trained network cleans skies of another data folder."""

from pathlib import Path

import pytest

from tests.kedro_runs import PLAIN_CMB, files, run

pytestmark = pytest.mark.slow

SKIES = {**PLAIN_CMB, "stokes": "I"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """Two data folders with the same test skies; there is a network in the first."""
    root = tmp_path_factory.mktemp("other_skies")
    for name in ("own", "other"):
        run("--pipelines=simulation", data=root / name, **SKIES)
    run("--pipelines=cmbnncs", data=root / "own")
    return root / "own", root / "other"


def clean(folder: Path, models: Path, **params: object) -> str:
    return run("--nodes=cmbnncs.clean_test", data=folder, models_folder=models, **params)


def cleaned(folder: Path, results: str) -> dict[str, bytes]:
    maps = files(folder / "07_model_output" / results / "cmbnncs" / "test")
    return {name: content for name, content in maps.items() if name.endswith(".fits")}


def test_the_same_skies_are_cleaned_alike_wherever_they_lie(folders):
    own, other = folders
    before = files(own / "06_models")
    clean(other, own / "06_models")
    assert len(cleaned(own, "main")) == 2
    assert cleaned(other, "main") == cleaned(own, "main")
    assert files(own / "06_models") == before
    assert not (other / "06_models").exists()


def test_a_folder_without_networks_is_told(folders):
    _, other = folders
    with pytest.raises(RuntimeError, match="nowhere/missing/cmbnncs: no training there"):
        clean(other, other / "nowhere", results="missing")
