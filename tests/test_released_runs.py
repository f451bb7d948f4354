"""A released CMB-ML dataset is cleaned and compared from the command line, where it lies."""

import shutil
from pathlib import Path

import healpy as hp
import numpy as np
import pandas as pd
import pytest
import yaml

from cmbml.datasets import HealpixMapDataset, InstrumentTableDataset
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_to_map, change_lmax, filter_alm
from tests.kedro_runs import ROOT, files, run
from tests.released_dataset import released_mask, true_cmb, write_released_dataset

pytestmark = pytest.mark.slow

NSIDE, LMAX, FWHM = 16, 32, 300.0
ENVIRONMENT = "cmb_ml_released"


@pytest.fixture(scope="module")
def conf(tmp_path_factory) -> Path:
    """The project's configuration, with the released environment at a size for tests."""
    conf = tmp_path_factory.mktemp("small") / "conf"
    shutil.copytree(ROOT / "conf", conf)
    small = {"nside": NSIDE, "lmax": LMAX, "target_fwhm_arcmin": FWHM, "apodisation_deg": 10.0}
    path = conf / ENVIRONMENT / "globals.yml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | small))
    path = conf / ENVIRONMENT / "parameters.yml"
    groups = yaml.safe_load(path.read_text())
    groups["instrument"] = {"beam_scale": 8.0, "fwhm_floor_arcmin": 240.0}
    groups["pyilc"]["peaks"] = [6, 16, 33]
    groups["analysis"] = {"bin_width": 4, "figure_simulations": 1}
    path.write_text(yaml.safe_dump(groups))
    return conf


def instrument():
    table = InstrumentTableDataset(filepath=ROOT / "conf/base/instruments/planck_like.ecsv").load()
    return table.with_beams(scale=8.0, floor_arcmin=240.0)


def truth_at_common_beam(key: int, fields: int) -> np.ndarray:
    alm = change_lmax(true_cmb(key, NSIDE, fields), LMAX)
    return alm_to_map(filter_alm(alm, beam_window(FWHM * ARCMIN, LMAX)), NSIDE)


def compared(data: Path) -> pd.DataFrame:
    return pd.read_csv(data / "08_reporting/main/comparison.csv")


@pytest.mark.parametrize(
    ("stokes", "layout", "params"),
    [
        ("I", {"folder": "Simulation"}, {"mask.source": "planck"}),
        ("IQU", {"folder": "Simulations", "truth": "cmb_map.fits"}, {"pyilc.stokes": "IQU"}),
    ],
    ids=["intensity, Simulation/, its own mask", "polarisation, Simulations/, a cut in latitude"],
)
def test_a_released_dataset_is_cleaned_and_compared(conf, tmp_path, stokes, layout, params):
    fields = len(stokes)
    root = write_released_dataset(
        tmp_path / "CMB-ML_16_2", instrument(), nside=NSIDE, simulations={"test": 2}, fields=fields, **layout
    )
    before, data = files(root), tmp_path / "data"
    run(
        "--conf-source",
        str(conf),
        "--pipelines",
        "released,pyilc,analysis",
        data=data,
        env=ENVIRONMENT,
        released=root,
        stokes=stokes,
        **params,
    )
    for number in range(2):
        known = HealpixMapDataset(filepath=data / f"03_primary/cmb/test/sim{number:04d}.fits").load()
        found = HealpixMapDataset(
            filepath=data / f"07_model_output/main/pyilc/test/sim{number:04d}.fits"
        ).load()
        right = truth_at_common_beam(200 + number, fields)
        assert known.stokes == found.stokes == stokes
        for truth, cleaned, expected in zip(known.values, found.values, right, strict=True):
            assert np.std(truth - expected) < 0.01 * np.std(expected)  # what lies above lmax leaks
            # chance correlations cost the method part of the CMB of so small a map
            assert np.corrcoef(cleaned, truth)[0, 1] > 0.9
            assert 0.7 < np.std(cleaned) / np.std(truth) < 1.1
    mask = hp.read_map(data / "03_primary/mask.fits")
    assert np.array_equal(mask, released_mask(NSIDE)) == (stokes == "I")
    table = compared(data)
    assert {"pyilc"} < set(table["method"]) and set(table["n_simulations"]) == {2}
    assert files(root) == before
