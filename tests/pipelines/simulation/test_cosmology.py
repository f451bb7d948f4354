"""Laws of parameter draws and of the spectra that follow."""

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import camb
import numpy as np
import pytest

from cmbml.pipelines.simulation import cosmology
from cmbml.pipelines.simulation.cmb import unlensed_lmax
from cmbml.pipelines.simulation.cosmology import (
    PHYSICAL_RANGES,
    TABLES,
    ParameterTable,
    check_cosmology,
    cosmology_spectra,
    draw_cosmology,
    massive_neutrinos,
    mean_cosmology,
    parameter_table,
)
from cmbml.science.seeds import generator_of
from cmbml.science.spectra import TheorySpectra

WMAP = TABLES["wmap9"]
DERIVATION = Path(__file__).resolve().parents[3] / "docs" / "derivations" / "cosmology_correlations.py"


@pytest.fixture(scope="module")
def theory() -> TheorySpectra:
    return cosmology_spectra(mean_cosmology(WMAP), lmax=40)


@pytest.mark.parametrize("name", TABLES)
def test_correlations_and_errors_follow_from_the_published_covariance(name: str) -> None:
    spec = importlib.util.spec_from_file_location("derivation", DERIVATION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sigma, correlation = module.derived(name)
    # the tables keep three decimals; the derivatives of CAMB's angle add some 1e-4
    np.testing.assert_allclose(TABLES[name].correlation, correlation, atol=8e-4)
    # papers round their errors to one or two digits, and WMAP's were sampled by another code
    np.testing.assert_allclose(TABLES[name].sigma, sigma, rtol=0.05)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_draws_have_the_mean_and_covariance_of_the_table(table: ParameterTable) -> None:
    n = 5000
    rng = np.random.default_rng(0)
    drawn = [draw_cosmology(table, rng, correlated=True) for _ in range(n)]
    draws = np.array([[cosmology[name] for name in table.names] for cosmology in drawn])
    scaled = (draws - table.mean) / table.sigma
    # four standard errors: of the mean 1 / sqrt(n), of a covariance at most sqrt(2 / n)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=4 / n**0.5)
    np.testing.assert_allclose(np.cov(scaled.T), table.correlation, atol=4 * (2 / n) ** 0.5)
    scale = np.outer(table.sigma, table.sigma)
    np.testing.assert_allclose(table.covariance / scale, table.correlation)


def test_a_draw_belongs_to_its_key() -> None:
    first, again, other = (
        draw_cosmology(WMAP, generator_of(1, "test", simulation), correlated=True)
        for simulation in ("sim0000", "sim0000", "sim0001")
    )
    assert first == again
    assert all(first[name] != other[name] for name in WMAP.names)


def test_the_amplitude_is_at_the_pivot_of_its_table() -> None:
    cosmology = mean_cosmology(WMAP)
    assert set(cosmology) == set(PHYSICAL_RANGES)
    assert (cosmology["As"], cosmology["pivot_scalar"], cosmology["mnu"]) == (2.41e-9, 0.002, 0.0)
    assert mean_cosmology(TABLES["planck2018"])["pivot_scalar"] == 0.05


def test_unphysical_draws_are_drawn_again() -> None:
    tau = WMAP.names.index("tau")
    low = replace(WMAP, mean=(*WMAP.mean[:tau], 0.02, *WMAP.mean[tau + 1 :]))
    rng = np.random.default_rng(0)
    drawn = np.array([draw_cosmology(low, rng, correlated=True)["tau"] for _ in range(300)])
    assert drawn.min() >= 0.01
    # a normal with mean 0.02 and sigma 0.014, cut at 0.01, has mean 0.0263; four standard errors
    assert abs(drawn.mean() - 0.0263) < 4 * 0.0105 / 300**0.5


def test_a_table_that_is_unphysical_is_given_up() -> None:
    hopeless = replace(WMAP, mean=(*WMAP.mean[:4], 2.41, WMAP.mean[5]))
    with pytest.raises(ValueError, match="none of 1000 draws was physical"):
        draw_cosmology(hopeless, np.random.default_rng(0), correlated=True)


def test_tables_are_checked() -> None:
    with pytest.raises(ValueError, match="6 names need 6 means, errors and rows"):
        replace(WMAP, mean=WMAP.mean[:5])
    crooked = np.array(WMAP.correlation)
    crooked[0, 1] = 0.5
    with pytest.raises(ValueError, match="must be symmetric, with 1 on the diagonal"):
        replace(WMAP, correlation=tuple(map(tuple, crooked)))
    pair = {"names": ("tau", "ns"), "mean": (0.1, 1), "sigma": (0.1, 0.1)}
    with pytest.raises(ValueError, match="must be positive definite"):
        ParameterTable(**pair, correlation=((1, 1.2), (1.2, 1)), pivot=0.05, mnu=0, source="none")
    with pytest.raises(ValueError, match="'wmap5': not a parameter table; known are wmap9, planck2018"):
        parameter_table("wmap5")
    assert parameter_table("wmap9") is WMAP


def test_a_cosmology_is_complete_and_physical() -> None:
    cosmology = mean_cosmology(WMAP)
    assert check_cosmology(cosmology) is cosmology
    with pytest.raises(ValueError, match="missing As, unknown A_s; a cosmology has exactly ombh2"):
        check_cosmology({name if name != "As" else "A_s": value for name, value in cosmology.items()})
    with pytest.raises(ValueError, match=r"unphysical As 2.41 \(must lie between 1e-10 and 1e-08\)"):
        cosmology_spectra(cosmology | {"As": 2.41}, lmax=10)


def test_a_potential_too_inaccurate_to_lens_with_is_refused() -> None:
    with pytest.raises(ValueError, match="CAMB accuracy 0: must be 1 or more"):
        cosmology_spectra(mean_cosmology(WMAP), lmax=10, accuracy=0)


def test_what_camb_refuses_is_said_with_the_cosmology() -> None:
    # nearly all matter baryonic: within each range, but CAMB's nonlinear power does not converge
    odd = mean_cosmology(WMAP) | {"ombh2": 0.1, "omch2": 0.001}
    with pytest.raises(ValueError, match=r"CAMB cannot compute the cosmology .*'omch2': 0.001"):
        cosmology_spectra(odd, lmax=10)


def test_spectra_reach_as_far_as_lensing_needs(theory: TheorySpectra) -> None:
    assert theory.unlensed.lmax == theory.lensed.lmax == unlensed_lmax(40)
    assert not theory.unlensed.lensed
    assert theory.lensed.lensed
    assert theory.unlensed.fields == "TEBP"
    assert theory.lensed.fields == "TEB"
    for spectra in (theory.unlensed, theory.lensed):
        assert spectra.unit == "uK_CMB2"
        assert all((spectra.cl(name)[:2] == 0).all() for name in spectra.values)


def test_spectra_are_those_of_the_sky(theory: TheorySpectra) -> None:
    ell = np.arange(theory.lensed.lmax + 1)
    tt = theory.lensed.dl("TT")
    # the first acoustic peak as WMAP saw it: l = 220, 5750 uK2 (Hinshaw et al. 2007)
    assert abs(tt[:400].argmax() - 220) < 3
    assert abs(tt[:400].max() - 5750) < 100
    assert not theory.unlensed.cl("BB").any()
    # lensing B modes are white up to a few hundred, with the power of noise of 5 uK arcmin
    level = np.sqrt(theory.lensed.cl("BB")[50:200]) * 180 * 60 / np.pi
    np.testing.assert_allclose(level, 5, atol=0.7)
    # the late integrated Sachs-Wolfe effect correlates T with the potential at low multipoles
    assert (theory.unlensed.cl("PT")[2:40] > 0).all()
    # rms deflection of about 2.5 arcmin
    deflection = np.sum((2 * ell + 1) * ell * (ell + 1) * theory.unlensed.cl("PP")) / (4 * np.pi)
    assert 2.2 < np.sqrt(deflection) * 180 * 60 / np.pi < 2.9


def test_the_same_cosmology_has_the_same_spectra_to_the_bit(theory: TheorySpectra) -> None:
    again = cosmology_spectra(mean_cosmology(WMAP), lmax=40)
    for name, value in theory.unlensed.values.items():
        np.testing.assert_array_equal(again.unlensed.values[name], value)
    for name, value in theory.lensed.values.items():
        np.testing.assert_array_equal(again.lensed.values[name], value)


def test_faster_integration_leaves_the_spectra_as_they_are(
    theory: TheorySpectra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosmology, "_INTEGRATION_ACCURACY", 1.0)
    standard = cosmology_spectra(mean_cosmology(WMAP), lmax=40)
    part = slice(2, 1001)
    tolerance = {"TT": 2e-4, "EE": 5e-5, "BB": 5e-5}
    for name, limit in tolerance.items():
        fast, slow = (spectra.lensed.cl(name)[part] for spectra in (theory, standard))
        np.testing.assert_allclose(fast, slow, rtol=limit, err_msg=name)
    power = np.sqrt(standard.lensed.cl("TT") * standard.lensed.cl("EE"))[part]
    difference = (theory.lensed.cl("TE") - standard.lensed.cl("TE"))[part]
    assert 0 < np.abs(difference / power).max() < 2.5e-4


@pytest.mark.slow
def test_spectra_are_those_of_the_published_benchmark(shared_file: Callable[[str], Path]) -> None:
    rows = np.loadtxt(shared_file("reference/cmbml/camb_spectrum_first50rows.txt"))[2:]
    # its parameters: WMAP's, with CAMB's own amplitude 2e-9 at 0.05 / Mpc
    published = {"H0": 69.7, "As": 2e-9, "ns": 0.972, "pivot_scalar": 0.05, "mnu": 0.06}
    theory = cosmology_spectra(mean_cosmology(WMAP) | published, lmax=400)
    columns = {"TT": (theory.lensed, 1), "EE": (theory.lensed, 2), "PP": (theory.unlensed, 5)}
    for name, (spectra, column) in columns.items():
        # that run used accuracy 0 and lmax 1000: an error of 1e-3 is its own
        np.testing.assert_allclose(
            spectra.dl(name)[2 : len(rows) + 2], rows[:, column], rtol=3e-3, err_msg=name
        )


def test_a_large_sum_of_neutrino_masses_is_shared_by_three() -> None:
    assert massive_neutrinos(0.06) == {"num_massive_neutrinos": 1}
    assert massive_neutrinos(0.6) == {"num_massive_neutrinos": 3, "neutrino_hierarchy": "degenerate"}
    settings = camb.set_params(**{**mean_cosmology(WMAP), "mnu": 0.6}, **massive_neutrinos(0.6), omk=0.0)
    assert settings.num_nu_massive == 3
    assert settings.nu_mass_eigenstates == 1  # of one mass
