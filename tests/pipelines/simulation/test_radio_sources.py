from itertools import pairwise

import numpy as np
import pytest

from cmbml.pipelines.simulation import radio_sources
from cmbml.pipelines.simulation.radio_counts import COUNTS, draw_fluxes, moment
from cmbml.pipelines.simulation.radio_sources import (
    DRAWN_FROM_JY,
    INDEX_SCATTER,
    MEAN_SQUARE_POLARISATION,
    RadioSources,
    draw_radio_sources,
)
from cmbml.science.harmonics import alm_size, alm_to_cl, map_to_alm
from cmbml.science.instrument import Channel
from cmbml.science.pixels import nside_to_npix
from cmbml.science.units import unit_factor

LMAX = 32
EVERYTHING = 20.0


def channel(ghz: float) -> Channel:
    return Channel(f"{ghz:.0f}", ghz, 0.0, "IQU")


def sky(seed: int, cut: float = EVERYTHING, *, lmax: int = LMAX, polarised: bool = True) -> RadioSources:
    return draw_radio_sources(seed, cut, lmax=lmax, polarised=polarised)


@pytest.fixture(scope="module")
def skies() -> list[RadioSources]:
    return [sky(seed, lmax=4) for seed in range(12)]


def test_moments_are_integrals_of_the_table():
    flux, density = np.array(COUNTS[10:16]).T  # 0.01 to 0.1 Jy
    fine = np.geomspace(flux[0], flux[-1], 20001)
    counts = np.exp(np.interp(np.log(fine), np.log(flux), np.log(density)))
    for order in (0, 1, 2):
        assert moment(order, 0.01, 0.1) == pytest.approx(np.trapezoid(fine**order * counts, fine), rel=1e-5)
    assert moment(0, 0.02, 0.5) + moment(0, 0.5, 3) == pytest.approx(moment(0, 0.02, 3))


def test_fluxes_between_edges_of_the_table_are_drawn_from_its_power_laws():
    drawn = draw_fluxes(np.random.default_rng(1), 100_000, 0.013)
    assert drawn.min() >= 0.013
    for flux in (0.014, 0.02, 0.1, 0.7):
        share = moment(0, flux, EVERYTHING) / moment(0, 0.013, EVERYTHING)
        # four standard deviations of a binomial share
        assert np.mean(drawn > flux) == pytest.approx(share, abs=4 * (share * (1 - share) / 1e5) ** 0.5)


def test_counts_per_bin_of_flux_are_poisson_around_the_published_ones(skies):
    edges = np.geomspace(DRAWN_FROM_JY, 1.0, 9)
    expected = [4 * np.pi * moment(0, low, high) for low, high in pairwise(edges)]
    counts = np.array([np.histogram(sources.flux_jy, edges)[0] for sources in skies])
    chi2 = ((counts - expected) ** 2 / expected).sum()
    # mean and variance of chi-squared with one degree for each bin of each sky; four standard deviations
    assert abs(chi2 - counts.size) < 4 * (2 * counts.size) ** 0.5


SHOT_NOISE = [
    (143, 0.350, 6.05),
    (217, 0.225, 3.12),
    (353, 0.315, 3.28),
    (545, 0.350, 2.86),
    (857, 0.710, 4.28),
]
"""Channel in GHz, flux in Jy above which it is masked, and C_l of radio sources in Jy^2/sr.

Planck 2013 results XXX, A&A 571, A30, Table 7 and section 3.
"""


@pytest.mark.parametrize(("ghz", "cut", "power"), SHOT_NOISE)
def test_the_shot_noise_is_the_published_one_in_every_channel(skies, ghz, cut, power):
    fluxes = [sources.fluxes(ghz) for sources in skies]
    drawn = [(flux[flux < cut] ** 2).sum() / (4 * np.pi) for flux in fluxes]
    faint = moment(2, COUNTS[0][0], DRAWN_FROM_JY) * radio_sources._mode(0, ghz) ** 2
    # one sky scatters by 5 per cent, 12 by 1.5; the table's own errors are 20
    assert np.mean(drawn) + faint == pytest.approx(power, rel=0.055)


def test_spectral_indices_scatter_as_they_should(skies):
    for ghz in (30.0, 217.0):
        index = np.concatenate([np.log(s.fluxes(ghz) / s.flux_jy) / np.log(ghz / 148.0) for s in skies])
        assert index.mean() == pytest.approx(
            -0.39 if ghz < 148 else -0.6, abs=4 * INDEX_SCATTER / len(index) ** 0.5
        )
        assert index.std() == pytest.approx(INDEX_SCATTER, rel=0.02)


def test_sources_lie_everywhere_alike(skies):
    z, phi = np.concatenate([sources.direction for sources in skies], axis=1)
    number = z.size
    assert np.abs(z).max() <= 1 and phi.min() >= 0 and phi.max() <= 2 * np.pi
    # four standard deviations of the mean of a uniform variable, and of a cosine
    assert abs(z.mean()) < 4 / (3 * number) ** 0.5
    assert abs(np.exp(1j * phi).mean()) < 4 / number**0.5


def test_polarisation_has_the_published_mean_square_and_no_direction(skies):
    q, u = np.concatenate([sources.polarisation for sources in skies], axis=1)
    assert np.mean(q**2 + u**2) == pytest.approx(MEAN_SQUARE_POLARISATION, rel=4 / q.size**0.5)
    assert abs(np.mean(q * u)) < 4 * MEAN_SQUARE_POLARISATION / 2 / q.size**0.5


def test_a_map_holds_the_flux_of_every_source():
    sources, total = sky(1), np.zeros((3, nside_to_npix(16)), np.float32)
    sources.add_to_map(total, channel(95.0))
    flux = total.astype(np.float64).sum(axis=1) * 4 * np.pi / total.shape[1]
    flux *= unit_factor("uK_CMB", "Jy/sr", frequency_ghz=95.0)
    expected = sources.fluxes(95.0)
    assert flux[0] == pytest.approx(expected.sum(), rel=1e-5)
    assert flux[1:] == pytest.approx(sources.polarisation @ expected, abs=1e-5 * expected.sum())


def test_the_analysis_of_a_pixel_is_a_point_source_at_its_centre():
    one = sky(2)
    brightest = np.argmax(one.flux_jy)
    alone = RadioSources(
        one.flux_jy[[brightest]],
        one.index_deviation[[brightest]],
        one.polarisation[:, [brightest]],
        one.direction[:, [brightest]],
        one.faint,
    )
    total = np.zeros((1, nside_to_npix(16)))
    alone.add_to_map(total, channel(148.0))
    cl = alm_to_cl(map_to_alm(total, LMAX, iterations=0))[0]
    flux = alone.flux_jy[0] * unit_factor("Jy/sr", "uK_CMB", frequency_ghz=148.0)
    np.testing.assert_allclose(cl, flux**2 / (4 * np.pi), rtol=1e-6)  # flat, up to twice the nside


def test_faint_sources_have_the_covariance_of_their_spectra():
    for one, other in ((30.0, 30.0), (30.0, 545.0), (143.0, 217.0), (857.0, 857.0)):
        deviate = np.linspace(-8, 8, 4001)
        weights = np.exp(-(deviate**2) / 2)
        spectra = [
            np.exp((radio_sources._mean_index(ghz) + INDEX_SCATTER * deviate) * np.log(ghz / 148.0))
            for ghz in (one, other)
        ]
        expected = np.average(spectra[0] * spectra[1], weights=weights)
        modes = sum(
            radio_sources._mode(k, one) * radio_sources._mode(k, other)
            for k in range(radio_sources.FAINT_MODES)
        )
        assert modes == pytest.approx(expected, rel=0.04), (one, other)


def test_faint_sources_have_the_power_of_the_counts():
    lmax, total = 100, np.zeros((3, alm_size(100)), np.complex64)
    sky(3, lmax=lmax).add_to_alm(total, channel(148.0))
    power = alm_to_cl(total) * unit_factor("uK_CMB", "Jy/sr", frequency_ghz=148.0) ** 2
    ell = np.arange(lmax + 1)
    mean = np.average(power[:, 2:], weights=2 * ell[2:] + 1, axis=1)
    expected = moment(2, COUNTS[0][0], DRAWN_FROM_JY)
    levels = expected * np.array([1, MEAN_SQUARE_POLARISATION / 2, MEAN_SQUARE_POLARISATION / 2])
    np.testing.assert_allclose(
        mean, levels, rtol=4 * 2**0.5 / lmax
    )  # four times the scatter of a mean of squares
    assert power[0, 0] == 0 and not power[1:, :2].any()


def test_a_cut_takes_bright_sources_away_and_changes_no_other():
    everything, cut = sky(4), sky(4, 0.1)
    kept = everything.flux_jy < 0.1
    np.testing.assert_array_equal(cut.flux_jy, everything.flux_jy[kept])
    np.testing.assert_array_equal(cut.direction, everything.direction[:, kept])
    np.testing.assert_array_equal(cut.faint, everything.faint)
    assert (
        not sky(4, 0.005).flux_jy.size and np.abs(sky(4, 0.005).faint).sum() < np.abs(everything.faint).sum()
    )


def test_a_seed_gives_one_sky_and_another_seed_another():
    first, again, other = sky(5), sky(5), sky(6)
    np.testing.assert_array_equal(first.flux_jy, again.flux_jy)
    np.testing.assert_array_equal(first.faint, again.faint)
    assert first.flux_jy.size != other.flux_jy.size or not np.array_equal(first.flux_jy, other.flux_jy)


def test_intensity_does_not_depend_on_polarisation_nor_low_multipoles_on_the_band_limit():
    polarised, intensity, higher = sky(7), sky(7, polarised=False), sky(7, lmax=2 * LMAX)
    np.testing.assert_array_equal(polarised.flux_jy, intensity.flux_jy)
    np.testing.assert_array_equal(polarised.faint[:, :1], intensity.faint)
    np.testing.assert_array_equal(polarised.faint[..., : LMAX + 1], higher.faint[..., : LMAX + 1])  # m = 0
