"""The environments of the published set-ups."""

import json

import healpy as hp
import numpy as np
import pandas as pd
import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from cmbml.datasets import InstrumentTableDataset
from cmbml.pipelines.pyilc.ilc import ilc_scales
from cmbml.pipelines.simulation.nodes import make_instrument
from cmbml.plan import Plan
from cmbml.science.instrument import Instrument
from cmbml.science.masks import degrade_mask, galactic_mask
from tests import kedro_runs
from tests.kedro_runs import ROOT, plan_of, run
from tests.published_inputs import write_inputs

PUBLISHED = ("cmb_ml_512", "cmb_ml_128", "cmb_ml_32")
TABLE = InstrumentTableDataset(filepath=ROOT / "conf/base/instruments/planck_like.ecsv").load()


def parameters(env: str) -> dict:
    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT, env=env) as session:
        return session.load_context().params


def instrument(env: str) -> Instrument:
    """Channels of an environment, whose delta bandpasses need no table of their own."""
    return make_instrument(TABLE, parameters(env)["instrument"], {})


def without_inputs(env: str, tmp_path) -> Plan:
    return plan_of(env=env, data=tmp_path / "data", assets_folder=tmp_path / "assets")


@pytest.mark.parametrize("env", PUBLISHED)
def test_a_plan_names_every_input_that_has_to_be_fetched_or_made(env, tmp_path, monkeypatch):
    monkeypatch.setenv("PYSM_LOCAL_DATA", str(tmp_path))
    plan = without_inputs(env, tmp_path)
    missing = {item.name for item in plan.inputs if item.state == "missing"}
    assert missing == {"mask_input", "wmap_chains_mnu", "planck_variances", "noise_models", "noise_averages"}
    assert all("kedro run --pipeline=" in item.remedy for item in plan.inputs if item.state == "missing")
    (templates,) = [problem for problem in plan.problems if "templates not on this computer" in problem]
    assert all(preset in templates for preset in ("d9", "s4", "f1", "a1", "cib1", "ksz1", "tsz1", "rg1"))


def test_the_published_set_up_makes_1450_skies_of_nine_channels(tmp_path):
    products = {item.name: item for item in without_inputs("cmb_ml_512", tmp_path).products}
    observed = products["{split}_observations"]
    assert (observed.wanted, observed.files) == (1450, 13_050)
    # 3145728 pixels of 4 bytes, in blocks of 2880 bytes, after two blocks of headers
    assert observed.size == 13_050 * 2880 * (2 + -(-3145728 * 4 // 2880))
    assert products["pyilc_cleaned_{split}"].wanted == 200


def test_beams_are_the_published_ones():
    assert [channel.fwhm_arcmin for channel in instrument("cmb_ml_512")] == [
        channel.fwhm_arcmin for channel in TABLE
    ]
    assert {channel.fwhm_arcmin for channel in instrument("cmb_ml_128")} == {82.5}


@pytest.mark.parametrize("env", PUBLISHED)
def test_the_sky_is_resolved_finely_enough_for_one_quadrature(env):
    given = parameters(env)
    assert given["maps"].lmax <= 1.5 * given["foregrounds"].nside  # see `foreground_alm`


def test_the_small_set_up_is_the_large_one_scaled():
    large, small = parameters("cmb_ml_512"), parameters("cmb_ml_32")
    scale = large["maps"].nside / small["maps"].nside
    assert large["maps"].lmax == scale * small["maps"].lmax
    assert small["target"].fwhm_arcmin == pytest.approx(scale * large["target"].fwhm_arcmin)
    assert small["mask"].apodisation_deg == pytest.approx(scale * large["mask"].apodisation_deg, rel=1e-4)
    assert [round(peak / scale) for peak in large["pyilc"].peaks[:-1]] == [12, 45]
    assert small["pyilc"].peaks[:-1] == (13, 45)  # 12.5 is rounded up
    fine, coarse = instrument("cmb_ml_512"), instrument("cmb_ml_32")
    for one, other in zip(fine, coarse, strict=True):
        assert other.fwhm_arcmin == pytest.approx(scale * one.fwhm_arcmin)
    used = [
        [tuple(scale.channels) for scale in ilc_scales(_beams(channels, given["pyilc"]), given["pyilc"])]
        for channels, given in ((fine, large), (coarse, small))
    ]
    assert used[0] == used[1]


def _beams(channels: Instrument, settings) -> np.ndarray:
    chosen = channels.select(settings.channels)
    return np.stack([channel.beam_window(settings.lmax) for channel in chosen])


def test_the_small_set_up_is_ready_to_run_without_a_download(tmp_path):
    """By the command that docs/published.md shows."""
    own = {"foregrounds.source": "embedded", "cosmology.source": "table"}
    own |= {"noise.kind": "sensitivity", "mask.source": "galactic"}
    plan = plan_of(env="cmb_ml_32", data=tmp_path / "data", assets_folder=tmp_path / "assets", **own)
    assert plan.is_ready
    command = ",".join(f"{key}={value}" for key, value in own.items())
    assert f"kedro run --env cmb_ml_32 --params {command}" in (ROOT / "docs/published.md").read_text()


@pytest.mark.slow
def test_the_small_set_up_runs_on_files_of_the_published_formats(tmp_path, monkeypatch):
    assets, data = tmp_path / "assets", tmp_path / "data"
    templates = str(write_inputs(assets))
    monkeypatch.setitem(kedro_runs.ENVIRONMENT, "PYSM_LOCAL_DATA", templates)
    monkeypatch.setenv("PYSM_LOCAL_DATA", templates)
    given = {"data": data, "assets_folder": assets, "train": 1, "valid": 1, "test": 2}
    run("--pipelines", "noise_model", env="cmb_ml_32", **given)
    plan = plan_of(env="cmb_ml_32", **given)
    assert plan.is_ready, plan.problems
    run(env="cmb_ml_32", **given)
    made_before = {"noise_models", "noise_averages", ".partitions"}
    written = [path for path in data.rglob("*") if path.is_file() and not made_before & set(path.parts)]
    assert sum(item.files for item in plan.products) == len(written)
    size = sum(path.stat().st_size for path in written)
    assert sum(item.size for item in plan.products) == pytest.approx(size, rel=0.15)
    table = pd.read_csv(data / "08_reporting/main/comparison.csv")
    assert set(table["n_simulations"]) == {2}
    assert np.isfinite(table["mae_uK_mean"]).all()
    kept = hp.read_map(data / "03_primary/mask.fits")
    assert np.array_equal(kept, degrade_mask(galactic_mask(64, 15), 32, threshold=0.9))
    record = json.loads((data / "02_intermediate/cosmology/test/sim0001.json").read_text())
    assert record["chain"] == "mnu"
