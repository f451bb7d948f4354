"""The main job from the command line: it runs, resumes, and keeps to what it made."""

import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from cmbml.datasets import HealpixMapDataset
from cmbml.science.skymap import SkyMap, beam_header
from tests.kedro_runs import ROOT, files, plan_of, run, start

pytestmark = pytest.mark.slow

SPLITS = ("train", "valid", "test")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """Data of one uninterrupted run of the whole job, computed by two workers."""
    data = tmp_path_factory.mktemp("whole")
    run(data=data, n_jobs=2)
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
    table = pd.read_csv(simulated / "08_reporting" / "main" / "comparison.csv")
    methods = set(table["method"])
    assert "pyilc" in methods
    assert any(method.startswith("best single channel") for method in methods)
    assert (table["n_simulations"] == 2).all()


def test_cleaning_beats_every_single_channel(simulated):
    table = pd.read_csv(simulated / "08_reporting" / "main" / "comparison.csv")
    table = table[table["field"] == "I"].set_index("method")
    single = next(method for method in table.index if method.startswith("best single channel"))
    assert table.loc["pyilc", "mae_uK_mean"] < table.loc[single, "mae_uK_mean"]


def test_the_plan_says_what_a_run_writes(simulated):
    plan = plan_of(data=simulated)
    written = [path for path in simulated.rglob("*") if path.is_file() and ".partitions" not in path.parts]
    assert sum(item.files for item in plan.products) == len(written)
    size = sum(path.stat().st_size for path in written)
    assert sum(item.size for item in plan.products) == pytest.approx(size, rel=0.15)
    assert all(item.there == item.wanted and item.size_to_come == 0 for item in plan.products)
    bootstrap_project(ROOT)
    with KedroSession.create(
        project_path=ROOT, env="test", runtime_params={"data": str(simulated)}
    ) as session:
        catalog = session.load_context().catalog
    for item in plan.products:
        paths = [
            Path(catalog[item.name.replace("{split}", split)]._describe().get(key, ""))
            for split in (SPLITS if "{split}" in item.name else ("",))
            for key in ("filepath", "path")
            if key in catalog[item.name.replace("{split}", split)]._describe()
        ]
        own = [path for path in written if any(path.is_relative_to(folder) for folder in paths)]
        assert sum(path.stat().st_size for path in own) == pytest.approx(item.size, rel=0.15, abs=1000), (
            item.name
        )


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
    assert "08_reporting/main/comparison.csv" in output


def test_the_same_seed_gives_the_same_bits_whatever_the_workers(simulated, tmp_path):
    run("--pipelines", "simulation", data=tmp_path, n_jobs=1)  # others of these tests: 0 and 2
    assert products(tmp_path) == products(simulated)


def test_observations_in_hdf5_give_the_same_comparison(simulated, tmp_path):
    run(data=tmp_path, container="hdf5")
    folder = tmp_path / "03_primary" / "observations_hdf5" / "test"
    assert sorted(path.name for path in folder.glob("*.h5")) == ["sim0000.h5", "sim0001.h5"]
    assert not (tmp_path / "03_primary" / "observations").exists()
    for report in ("comparison.csv", "spectra.csv"):
        one, other = (data / "08_reporting" / "main" / report for data in (simulated, tmp_path))
        assert one.read_bytes() == other.read_bytes()


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
    assert list(tmp_path.rglob("*.part")) == []


def test_several_cleanings_of_one_simulation_set_lie_side_by_side(simulated):
    before = files(simulated / "08_reporting" / "main")
    options = {"results": "polarised", "pyilc.stokes": "IQU", "compared": 1}
    run("--pipelines", "pyilc,analysis", data=simulated, **options)
    table = pd.read_csv(simulated / "08_reporting" / "polarised" / "comparison.csv")
    assert {"I", "Q", "U", "E", "B"} <= set(table.loc[table["method"] == "pyilc", "field"])
    assert (table["n_simulations"] == 1).all()
    cleaned = simulated / "07_model_output" / "polarised" / "pyilc" / "test"
    assert [path.name for path in cleaned.glob("*.fits")] == ["sim0000.fits"]
    assert files(simulated / "08_reporting" / "main") == before


def test_maps_at_another_beam_than_the_truth_are_not_compared(simulated):
    wide = {"results": "wide", "target_fwhm_arcmin": 400}
    with pytest.raises(RuntimeError, match="truth: made at beam 300 arcmin, to be compared at 400 arcmin"):
        run("--pipelines", "pyilc,analysis", data=simulated, **wide)
    assert not (simulated / "08_reporting" / "wide" / "comparison.csv").exists()


def test_growing_a_split_leaves_the_others_alone(simulated, tmp_path):
    run("--pipelines", "simulation", data=tmp_path, train=1, valid=1, test=1)
    before = finished(tmp_path)
    run("--pipelines", "simulation", data=tmp_path)
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert products(tmp_path) == products(simulated)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"seed": 1}, "were made under another configuration: seed was 8675309, is now 1"),
        ({"instrument.beam_scale": 4}, "instrument.channels.0.fwhm_arcmin was 600.0, is now 300.0"),
        ({"stokes": "I"}, "polarised was True, is now False"),
    ],
)
def test_another_configuration_is_refused_and_no_partition_is_lost(simulated, params, message):
    before = products(simulated)
    with pytest.raises(RuntimeError, match=message):
        run("--pipelines", "simulation", data=simulated, **params)
    shared = {"instrument.ecsv", "foreground_alm.npz"}  # made anew by each run, and checked by who reads them
    assert {name: content for name, content in products(simulated).items() if name not in shared} == {
        name: content for name, content in before.items() if name not in shared
    }
    if "instrument.beam_scale" in params:
        with pytest.raises(RuntimeError, match="observations sim0000: made from another instrument"):
            run("--pipelines", "pyilc", data=simulated)
    run("--pipelines", "simulation", data=simulated)
    assert products(simulated) == before


def test_cleaned_maps_of_older_skies_are_not_compared_with_new_ones(simulated, tmp_path):
    shutil.copytree(simulated, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "08_reporting")
    skies = ("--to-outputs", "test_observations,test_cmb")
    run("--pipelines", "simulation", *skies, data=tmp_path / "data", seed=2, on_mismatch="recompute")
    with pytest.raises(RuntimeError, match="cleaned map sim0000: made from another observations"):
        run("--pipelines", "analysis", data=tmp_path / "data")


def test_error_maps_of_any_method_are_compared_with_its_errors(simulated, tmp_path):
    """Wherever they come from: here another program has laid them beside pyilc's maps."""
    data = tmp_path / "data"
    shutil.copytree(simulated, data)
    before = pd.read_csv(data / "08_reporting/main/metrics.csv")
    assert before.loc[before["method"] == "pyilc", "coverage_1sigma"].isna().all()
    own = before[before["method"] == "pyilc"].set_index("simulation")["rmse_uK"]
    errors = data / "07_model_output/main/pyilc/errors/test"
    for name, rmse in own.items():
        sky = SkyMap(np.full((1, 12 * 16**2), 2 * rmse), "uK_CMB", ("I_ERROR",), beam_header(300, 32))
        HealpixMapDataset(filepath=errors / f"{name}.fits").save(sky)
    with pytest.raises(RuntimeError, match="another configuration: input errors has changed"):
        run("--pipelines", "analysis", data=data)
    run("--pipelines", "analysis", data=data, on_mismatch="recompute")
    table = pd.read_csv(data / "08_reporting/main/comparison.csv").set_index(["field", "method"])
    found = table.loc["I", "pyilc"]
    assert found["reduced_chi2_mean"] == pytest.approx(0.25, rel=1e-4)
    assert found["mean_predicted_error_uK_mean"] == pytest.approx(2 * own.mean(), rel=1e-4)
    assert 0.9 < found["coverage_1sigma_mean"] < 1  # 0.954 for a Gaussian
    silent = table[table.index.get_level_values("method") == "cmbnncs"]
    assert len(silent) and silent["coverage_1sigma_mean"].isna().all()
    bins = pd.read_csv(data / "08_reporting/main/calibration.csv")
    assert (bins["method"] == "pyilc").sum() == 2  # all predictions are equal: one bin for each sky
    assert set(bins["method"]) == {"pyilc", "petroff"}
    os.truncate(errors / "sim0001.fits", 2880)
    with pytest.raises(
        RuntimeError, match="metrics/pyilc/test: 1 of 2 partitions failed.*errors/test/sim0001"
    ):
        run("--pipelines", "analysis", data=data, on_mismatch="recompute")


def test_a_parameter_that_the_run_does_not_read_is_refused(simulated):
    with pytest.raises(RuntimeError, match="parameter mask: no part of this run reads it"):
        run("--pipelines", "analysis", data=simulated, **{"mask.latitude_deg": 60})


def test_a_lost_channel_is_observed_again(simulated):
    before = products(simulated)
    (simulated / "03_primary/observations/test/sim0000/obs_143_map.fits").unlink()
    run("--pipelines", "simulation", data=simulated)
    assert products(simulated) == before
