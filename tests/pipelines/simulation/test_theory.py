"""Spectra that are computed or given, and the skies that follow from them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmbml.datasets import PowerSpectraDataset
from cmbml.pipelines.simulation import one_sky
from cmbml.pipelines.simulation.cosmology import TABLES, mean_cosmology
from cmbml.pipelines.simulation.theory import given_theory, theory_of
from cmbml.science.harmonics import alm_lmax, alm_to_cl
from cmbml.science.spectra import PowerSpectra, TheorySpectra

PLANCK = mean_cosmology(TABLES["planck2018"])
RECORD = {"source": "fixed", "parameters": PLANCK}
LMAX = 48


@pytest.fixture(scope="module")
def theory() -> TheorySpectra:
    return one_sky.theory(RECORD, lmax=LMAX, accuracy=1)


@pytest.fixture(scope="module")
def kinds(theory) -> dict[str, np.ndarray]:
    return {kind: sky(theory, kind=kind) for kind in ("unlensed", "gaussian", "lensed")}


@pytest.fixture(scope="module")
def published(theory, tmp_path_factory) -> Path:
    """A file in the form of Planck's best fit: its order of columns, from l = 2."""
    path = tmp_path_factory.mktemp("planck") / "theory.txt"
    columns = [theory.lensed.dl(name)[2:] for name in ("TT", "TE", "EE", "BB")]
    columns.append(theory.unlensed.dl("PP")[2:])
    table = np.column_stack([np.arange(2, theory.lensed.lmax + 1), *columns])
    header = "    L    TT             TE             EE             BB             PP"
    np.savetxt(path, table, fmt=["%6d"] + ["%14.6E"] * 5, header=header)
    return path


@pytest.fixture(scope="module")
def given(published) -> PowerSpectra:
    return PowerSpectraDataset(filepath=published, scaling="dl", lensed=True, unit="uK_CMB2").load()


def sky(theory: TheorySpectra, simulation: str = "sim0000", **options) -> np.ndarray:
    seeds = one_sky.seeds(simulation, split="test", seed=1)
    return one_sky.cmb(theory, seeds, **{"lmax": LMAX, "polarised": True, "kind": "lensed", **options})


# ---- Given spectra ----------------------------------------------------------------------------


def test_skies_have_the_spectra_that_are_given(given):
    made = one_sky.theory_as_given({"source": "given"}, spectra=given, lmax=LMAX, polarised=True)
    assert made.unlensed is None
    n = 150
    skies = [sky(made, f"sim{i:04d}") for i in range(n)]
    modes = n * (2 * np.arange(2, LMAX + 1) + 1)
    cl = {name: made.lensed.cl(name)[2 : LMAX + 1] for name in ("TT", "EE", "BB", "TE")}
    pairs = {"TT": (0, 0), "EE": (1, 1), "BB": (2, 2), "TE": (0, 1)}
    for name, (i, j) in pairs.items():
        found = np.mean([alm_to_cl(alm[i : i + 1], alm[j : j + 1])[0] for alm in skies], axis=0)[2:]
        product = cl[name[0] * 2] * cl[name[1] * 2]
        scatter = np.sqrt((product + cl[name] ** 2) / modes)
        # 47 multipoles: the largest of as many normal deviations is seldom above 4.5
        assert np.abs((found - cl[name]) / scatter).max() < 4.5, name
        assert abs(np.sum((found - cl[name]) / scatter) / 47**0.5) < 4.5, name


def test_given_spectra_are_checked_for_what_is_drawn(given):
    assert given_theory(given, lmax=2000, polarised=True).lensed is given
    with pytest.raises(ValueError, match="the spectra are unlensed, but are drawn as they are; give lensed"):
        given_theory(replace(given, lensed=False), lmax=LMAX, polarised=True)
    with pytest.raises(ValueError, match=r"it ends at l = \d+, below cmb.lmax 5000; lower cmb.lmax or give"):
        given_theory(given, lmax=5000, polarised=True)
    with pytest.raises(ValueError, match="unit K_CMB2, must be uK_CMB2"):
        given_theory(replace(given, unit="K_CMB2"), lmax=LMAX, polarised=True)
    intensity = replace(given, values={"TT": given.values["TT"]})
    assert given_theory(intensity, lmax=LMAX, polarised=False).lensed is intensity
    with pytest.raises(ValueError, match="no EE, BB, TE among TT; give a file with them, or simulate stokes"):
        given_theory(intensity, lmax=LMAX, polarised=True)


# ---- Kinds --------------------------------------------------------------------------------------


def bb_over_theory(alm: np.ndarray, theory: TheorySpectra) -> float:
    """The power of B over that of CAMB's lensed spectra, weighted by the number of modes."""
    weights = 2 * np.arange(2, LMAX + 1) + 1
    ratio = alm_to_cl(alm[2:])[0, 2:] / theory.lensed.cl("BB")[2 : LMAX + 1]
    return float(np.sum(weights * ratio) / np.sum(weights))


def test_lensed_bb_appears_only_by_lensing_at_cambs_level(theory, kinds):
    assert not kinds["unlensed"][2].any()
    scatter = (2 / np.sum(2 * np.arange(2, LMAX + 1) + 1)) ** 0.5  # of one sky: 0.03
    assert bb_over_theory(kinds["gaussian"], theory) == pytest.approx(1, abs=4 * scatter)
    # lensing correlates multipoles of B a little, and its mean is CAMB's to a per cent
    assert bb_over_theory(kinds["lensed"], theory) == pytest.approx(1, abs=5 * scatter)


def test_kinds_are_skies_of_the_same_random_numbers(kinds):
    unlensed = kinds["unlensed"]
    for other in (kinds["gaussian"], kinds["lensed"]):
        cross = alm_to_cl(unlensed[:1], other[:1])[0, 2:]
        autos = alm_to_cl(unlensed[:1])[0, 2:] * alm_to_cl(other[:1])[0, 2:]
        assert (cross / np.sqrt(autos)).min() > 0.98
        assert not np.array_equal(unlensed, other)


@pytest.mark.parametrize(("polarised", "fields"), [(True, 3), (False, 1)])
def test_an_empty_sky_is_zero(theory, polarised, fields):
    alm = sky(theory, kind="empty", polarised=polarised)
    assert (alm.shape[0], alm_lmax(alm), alm.dtype) == (fields, LMAX, np.complex64)
    assert not alm.any()


def test_only_lensed_spectra_make_a_gaussian_sky_but_no_unlensed_one(theory, kinds):
    known = TheorySpectra(None, theory.lensed)
    np.testing.assert_array_equal(sky(known, kind="lensed"), kinds["gaussian"])
    with pytest.raises(ValueError, match="only lensed spectra are known, from which no unlensed sky"):
        sky(known, kind="unlensed")


# ---- Computed spectra -----------------------------------------------------------------------------


def test_simulations_that_share_a_cosmology_compute_it_once():
    first = theory_of(PLANCK, lmax=LMAX, accuracy=None)
    assert theory_of(dict(reversed(PLANCK.items())), lmax=LMAX, accuracy=None) is first
    other = theory_of(PLANCK | {"As": 3e-9}, lmax=LMAX, accuracy=None)
    assert (other.unlensed.values["TT"][2:] > first.unlensed.values["TT"][2:]).all()
    assert theory_of(PLANCK, lmax=LMAX + 2000, accuracy=None).lensed.lmax > first.lensed.lmax


def test_an_unphysical_cosmology_has_no_spectra():
    with pytest.raises(ValueError, match="unphysical tau 0.9"):
        theory_of(PLANCK | {"tau": 0.9}, lmax=LMAX, accuracy=None)


def test_analytic_spectra_reach_as_far_as_those_of_camb(theory):
    analytic = one_sky.theory(RECORD, lmax=LMAX, accuracy=None)
    assert analytic.unlensed.lmax == analytic.lensed.lmax == theory.unlensed.lmax
    assert set(analytic.lensed.values) == set(theory.lensed.values)
