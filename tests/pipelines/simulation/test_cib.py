import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.constants import c, h, k

from cmbml.pipelines.simulation.cib import (
    EMISSIVITY_INDEX,
    NODES,
    POPULATIONS,
    cib_spectrum,
    draw_cib,
    population_spectra,
)
from cmbml.science.harmonics import alm_size, alm_to_cl
from cmbml.science.instrument import Channel
from cmbml.science.units import unit_factor

DERIVATION = Path(__file__).resolve().parents[3] / "docs" / "derivations" / "cib_populations.py"
LMAX = 64


@pytest.fixture(scope="module")
def published():
    """The script that derives the populations from the published spectra."""
    spec = importlib.util.spec_from_file_location("derivation", DERIVATION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def channel(ghz: float) -> Channel:
    return Channel(f"{ghz:.0f}", ghz, 0.0, "I")


def coefficients(seed: int, ghz: float, lmax: int = LMAX) -> np.ndarray:
    total = np.zeros((1, alm_size(lmax)), np.complex64)
    draw_cib(seed, lmax).add_to_alm(total, channel(ghz))
    return total[0]


def in_janskys(one: float, other: float, lmax: int) -> np.ndarray:
    """Expected spectrum in Jy^2/sr."""
    factors = (unit_factor("uK_CMB", "Jy/sr", frequency_ghz=ghz) for ghz in (one, other))
    return cib_spectrum(channel(one), channel(other), lmax) * np.prod(list(factors))


def test_the_populations_follow_from_the_published_spectra(published):
    index, temperatures, clustered, shot = published.derived()
    assert index == EMISSIVITY_INDEX
    assert [p.temperature_kelvin for p in POPULATIONS] == temperatures.tolist()
    np.testing.assert_allclose(np.array([p.clustered for p in POPULATIONS]).T, clustered, rtol=1e-3)
    np.testing.assert_allclose([p.shot for p in POPULATIONS], shot, rtol=1e-3)
    np.testing.assert_allclose(list(published.MODEL), NODES, rtol=0.004)  # rounded to whole multipoles


def test_auto_and_cross_spectra_are_the_published_ones_at_multipoles_that_were_not_fitted(published):
    clustered = {
        (one, other): in_janskys(one, other, 3100)
        for one in published.GHZ
        for other in published.GHZ
        if one <= other
    }
    noise = population_spectra(2)[:, 1] - [p.clustered[0] for p in POPULATIONS]  # the shot noise
    factors = np.array([[p.brightness(ghz) for ghz in published.GHZ] for p in POPULATIONS])
    shot = (factors.T * noise) @ factors
    for ell, pairs in published.HELD_OUT.items():
        model = published.matrix(pairs)
        for i, one in enumerate(published.GHZ):
            for j, other in enumerate(published.GHZ):
                if i <= j:
                    ours = clustered[one, other][round(ell)] - shot[i, j]
                    # the fit is good to 3 per cent, lines between its multipoles to 2
                    assert ours == pytest.approx(model[i, j], rel=0.05), (ell, one, other)


def test_channels_decorrelate_as_published(published):
    for ell in (147.72, 541.32, 1286.6):
        total = published.matrix(published.HELD_OUT[ell]) + published.shot_noise()
        correlation = total / np.sqrt(np.outer(np.diag(total), np.diag(total)))
        for i, one in enumerate(published.GHZ[1:], start=1):
            for j, other in enumerate(published.GHZ[1:], start=1):
                cross, first, second = (
                    cib_spectrum(channel(a), channel(b), 1300)[round(ell)]
                    for a, b in ((one, other), (one, one), (other, other))
                )
                assert cross / (first * second) ** 0.5 == pytest.approx(correlation[i, j], abs=0.015)


def test_drawn_coefficients_have_the_expected_spectra():
    lmax = 400
    for one, other in ((143.0, 143.0), (857.0, 857.0), (353.0, 857.0)):
        expected = cib_spectrum(channel(one), channel(other), lmax)[1:]
        drawn = alm_to_cl(coefficients(3, one, lmax), coefficients(3, other, lmax))[1:]
        weights = 2 * np.arange(1, lmax + 1) + 1
        # the mean of (lmax + 1)^2 - 1 squares scatters by sqrt(2 / number); four times that
        ratio = np.average(drawn / expected, weights=weights)
        assert ratio == pytest.approx(1, abs=4 * (2 / weights.sum()) ** 0.5)


def test_the_fluctuations_are_a_sixth_of_the_mean_that_firas_measures():
    ell = np.arange(2501)
    for ghz in (353.0, 545.0, 857.0):
        variance = ((2 * ell + 1) * in_janskys(ghz, ghz, 2500)).sum() / (4 * np.pi)
        # Fixsen et al. 1998, ApJ 508, 123: 1.3e-5 (nu / 100 per cm)^0.64 of a black body of 18.5 K
        nu = ghz * 1e9
        planck = 2 * h * nu**3 / c**2 / np.expm1(h * nu / k / 18.5) * 1e26
        mean = 1.3e-5 * (nu / (100 * 100 * c)) ** 0.64 * planck
        assert variance**0.5 / mean == pytest.approx(0.16, abs=0.05), ghz


def test_there_is_no_monopole_and_no_polarisation():
    total = np.zeros((3, alm_size(LMAX)), np.complex64)
    sky = draw_cib(1, LMAX)
    sky.add_to_alm(total, channel(353.0))
    emission = np.zeros((3, 12), np.float32)
    sky.add_to_map(emission, channel(353.0))
    assert total[0, 0] == 0
    assert not total[1:].any() and not emission.any()


def test_a_seed_gives_one_sky_and_low_multipoles_do_not_depend_on_the_band_limit():
    np.testing.assert_array_equal(coefficients(1, 353.0), coefficients(1, 353.0))
    higher = coefficients(1, 353.0, 2 * LMAX)
    np.testing.assert_array_equal(coefficients(1, 353.0)[: LMAX + 1], higher[: LMAX + 1])  # m = 0


def test_skies_and_populations_are_uncorrelated():
    one, other = draw_cib(1, LMAX), draw_cib(2, LMAX)
    for a, b in ((one.alm[0], other.alm[0]), (one.alm[1], other.alm[1]), (one.alm[0], one.alm[1])):
        expected = (alm_to_cl(a) * alm_to_cl(b))[1:] ** 0.5
        ell = np.arange(1, LMAX + 1)
        # each cross-spectrum scatters by 1 / sqrt(2l + 1) of the autos; the mean, weighted, by 1 / sqrt(number)
        mean = np.average(alm_to_cl(a, b)[1:] / expected, weights=2 * ell + 1)
        assert abs(mean) < 4 / ((LMAX + 1) ** 2 - 1) ** 0.5
