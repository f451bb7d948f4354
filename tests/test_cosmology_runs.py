"""Runs whose cosmologies come from chains and whose spectra are given."""

import json
from pathlib import Path

import healpy as hp
import numpy as np
import pytest

from cmbml.pipelines.simulation.analytic_spectra import analytic_spectra
from cmbml.pipelines.simulation.cosmology import TABLES, mean_cosmology
from tests.kedro_runs import run
from tests.wmap_chains import FILES, wmap_like, write_chain

pytestmark = pytest.mark.slow

THEORY = "COM_PowerSpect_CMB-base-plikHM-TTTEEE-lowl-lowE-lensing-minimum-theory_R3.01.txt"
PARAMS = {
    "cosmology.source": "chains",
    "cosmology.chains": "mnu",
    "cosmology.one_per_split": "valid",
    "cosmology.given_spectrum": "test",
    "cmb.spectra": "analytic",
    "cmb.lmax": 40,
    "channels": "100-143",
    "stokes": "I",
    "train": 3,
}


@pytest.fixture(scope="module")
def assets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("assets")
    write_chain(folder / "wmap_chains" / "mnu", wmap_like(5000, mnu=True))
    lensed = analytic_spectra(mean_cosmology(TABLES["planck2018"]), lmax=300).lensed
    columns = [lensed.dl(name)[2:] for name in ("TT", "TE", "EE", "BB")]
    table = np.column_stack([np.arange(2, 301), *columns, np.full(299, 1e-8)])
    (folder / "planck" / "theory").mkdir(parents=True)
    header = "    L    TT             TE             EE             BB             PP"
    np.savetxt(folder / "planck" / "theory" / THEORY, table, fmt=["%6d"] + ["%14.6E"] * 5, header=header)
    return folder


@pytest.fixture(scope="module")
def simulated(assets, tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("data")
    run("--pipelines", "simulation", data=data, assets_folder=assets, **PARAMS)
    return data


def records(data: Path, split: str) -> list[dict]:
    files = sorted((data / "02_intermediate" / "cosmology" / split).glob("*.json"))
    return [json.loads(file.read_text()) for file in files]


def test_parameters_row_and_seed_are_saved(simulated):
    columns = wmap_like(5000, mnu=True)
    train = records(simulated, "train")
    assert len({record["row"] for record in train}) == 3
    for number, record in enumerate(train):
        seeds = simulated / "02_intermediate" / "seeds" / "train" / f"sim{number:04d}.json"
        assert record["seed"] == json.loads(seeds.read_text())["cosmology"]
        assert (record["source"], record["chain"]) == ("chain", "mnu")
        row = record["row"] - 1
        assert record["parameters"]["H0"] == pytest.approx(columns[FILES["H0"]][row], rel=1e-12)
        assert record["parameters"]["As"] == pytest.approx(columns["a002"][row] * 1e-9, rel=1e-12)


def test_a_split_shares_a_cosmology_and_another_has_none(simulated):
    first, second = records(simulated, "valid")
    assert first == second
    assert records(simulated, "test") == [{"source": "given"}] * 2
    theory = simulated / "02_intermediate" / "theory" / "test" / "sim0000"
    assert sorted(path.name for path in theory.glob("*.txt")) == ["cmb_ps_fid.txt"]


def test_the_cmb_has_its_own_band_limit(simulated):
    alm = simulated / "03_primary" / "cmb_alm" / "test" / "sim0000.fits"
    assert hp.Alm.getlmax(len(hp.read_alm(alm))) == 40


def test_growing_a_split_and_changing_another_leaves_its_cosmologies_and_skies(simulated, assets):
    changed = {**PARAMS, "train": 4, "cosmology.given_spectrum": "[]", "on_mismatch": "recompute"}
    observed = sorted((simulated / "03_primary" / "observations" / "train").rglob("*.fits"))
    before = {path: path.stat().st_mtime_ns for path in observed}
    rows = [record["row"] for record in records(simulated, "train")]
    run("--pipelines", "simulation", data=simulated, assets_folder=assets, **changed)
    assert [record["row"] for record in records(simulated, "train")][:3] == rows
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert {record["source"] for record in records(simulated, "test")} == {"chain"}
