"""The main job from the command line: it runs, resumes, and refuses what cannot work."""

import os
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.kedro_runs import files, run, start

pytestmark = pytest.mark.slow

SPLITS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """Data of one uninterrupted run of the whole job."""
    data = tmp_path_factory.mktemp("whole")
    run(data=data)
    return data


def products(data: Path) -> dict[str, bytes]:
    """What the simulation made, without the state of the partitions."""
    made = {**files(data / "02_intermediate"), **files(data / "03_primary")}
    return {name: content for name, content in made.items() if ".partitions" not in name}


def finished(data: Path) -> dict[Path, int]:
    """Observations that are marked as done, with the time of their files."""
    marks = data.glob("03_primary/observations/*/.partitions/*.done")
    folders = [mark.parents[1] / mark.name.split(".")[0] for mark in marks]
    return {path: path.stat().st_mtime_ns for folder in folders for path in folder.glob("*.fits")}


def test_the_whole_job_ends_with_a_comparison(simulated):
    table = pd.read_csv(simulated / "08_reporting" / "comparison.csv")
    methods = set(table["method"])
    assert "pyilc" in methods
    assert any(method.startswith("best single channel") for method in methods)
    assert (table["n_simulations"] == 2).all()


def test_cleaning_beats_every_single_channel(simulated):
    table = pd.read_csv(simulated / "08_reporting" / "comparison.csv")
    table = table[table["field"] == "I"].set_index("method")
    single = next(method for method in table.index if method.startswith("best single channel"))
    assert table.loc["pyilc", "mae_uK_mean"] < table.loc[single, "mae_uK_mean"]


def test_every_split_has_its_simulations(simulated):
    for split in SPLITS:
        folders = sorted((simulated / "03_primary" / "observations" / split).glob("sim*"))
        assert [folder.name for folder in folders] == ["sim0000", "sim0001"]
        assert len(list(folders[0].glob("obs_*_map.fits"))) == 9


def test_a_second_run_computes_nothing_again_and_says_where_the_results_are(simulated):
    before = {
        path: path.stat().st_mtime_ns for path in simulated.rglob("*.fits") if "partitions" not in str(path)
    }
    output = run(data=simulated)
    skies = {path: time for path, time in before.items() if path.name != "mask.fits"}
    assert skies == {path: path.stat().st_mtime_ns for path in skies}
    assert "08_reporting/comparison.csv" in output


def test_the_same_seed_gives_the_same_bits_whatever_the_workers(simulated, tmp_path):
    run("--pipelines", "simulation", data=tmp_path, n_jobs=1)
    assert products(tmp_path) == products(simulated)


def test_a_killed_run_goes_on_to_bit_identical_results(simulated, tmp_path):
    for marks in (1, 3, 5):
        process = start("--pipelines", "simulation", data=tmp_path)
        while (
            len(list(tmp_path.glob("03_primary/*/*/.partitions/*.done"))) < marks and process.poll() is None
        ):
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    before = finished(tmp_path)
    run("--pipelines", "simulation", data=tmp_path)
    assert products(tmp_path) == products(simulated)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_growing_a_split_leaves_the_others_alone(simulated, tmp_path):
    run("--pipelines", "simulation", data=tmp_path, train=1, valid=1, test=1)
    before = finished(tmp_path)
    run("--pipelines", "simulation", data=tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert products(tmp_path) == products(simulated)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"nsidee": 16}, "parameter nsidee: not known; did you mean nside?"),
        ({"pyilc.peekS": 3}, "peekS"),
        ({"channels": "31"}, "instrument.channels: channels 31: no channel fits in the instrument table"),
        ({"nside": 48}, "nside 48: must be a power of two"),
        ({"lmax": 48}, "lmax 48: must lie between 2 and 3 nside - 1 = 47"),
        ({"target_fwhm_arcmin": 10}, "target beam 10 arcmin: its window at lmax 32 is"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_before_any_work(tmp_path, params, message):
    with pytest.raises(RuntimeError, match=message):
        run(data=tmp_path, **params)
    assert list(tmp_path.rglob("*.fits")) == []


def test_another_configuration_is_refused_and_nothing_is_lost(simulated):
    before = products(simulated)
    with pytest.raises(
        RuntimeError, match="were made under another configuration: seed was 8675309, is now 1"
    ):
        run("--pipelines", "simulation", data=simulated, seed=1)
    assert products(simulated) == before
