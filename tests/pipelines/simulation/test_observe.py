"""Laws of what a channel observes."""

import numpy as np
import pytest

from cmbml.pipelines.simulation.observe import foreground_alm, observe, target_map
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_size, alm_to_cl, alm_to_map, change_lmax, filter_alm, map_to_alm
from cmbml.science.instrument import Channel

NSIDE, LMAX = 16, 24
NPIX = 12 * NSIDE**2
POLARISED = Channel("143", 142.9, 300, "IQU")
INTENSITY = Channel("545", 555.2, 240, "I")
NOTHING = np.zeros((3, NPIX), np.float32)


def random_sky(lmax: int = LMAX, fields: int = 3, slope: float = 0) -> np.ndarray:
    rng = np.random.default_rng(0)
    alm = rng.standard_normal((fields, alm_size(lmax))) + 1j * rng.standard_normal((fields, alm_size(lmax)))
    alm[:, : lmax + 1].imag = 0
    ell = np.arange(lmax + 1)
    sky = filter_alm(alm, np.maximum(ell, 1.0) ** slope)
    sky[1:] = filter_alm(sky[1:], np.where(ell < 2, 0.0, 1.0))  # no E, B below 2
    return sky


def test_without_noise_the_sky_is_seen_through_the_beam() -> None:
    sky = random_sky()
    seen = map_to_alm(observe(sky, POLARISED, NSIDE, NOTHING).astype(float), LMAX, iterations=10)
    expected = filter_alm(sky, beam_window(300 * ARCMIN, LMAX))
    np.testing.assert_allclose(seen, expected, atol=1e-5 * np.abs(expected).max())  # maps are float32


def test_no_signal_is_above_the_band_limit() -> None:
    seen = map_to_alm(
        observe(random_sky(), POLARISED, NSIDE, NOTHING).astype(float), 2 * NSIDE, iterations=10
    )
    power = alm_to_cl(seen)
    assert power[:, LMAX + 1 :].max() < 1e-8 * power[:, 2 : LMAX + 1].min()


def test_noise_is_added_after_the_beam() -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((3, NPIX)).astype(np.float32)
    sky = random_sky()
    silent = observe(sky, POLARISED, NSIDE, NOTHING)
    noisy = observe(sky, POLARISED, NSIDE, noise)
    assert noisy.dtype == np.float32
    np.testing.assert_allclose(noisy - silent, noise, atol=1e-6 * np.abs(noisy).max())


def test_spectra_of_independent_signal_and_noise_add() -> None:
    rng = np.random.default_rng(1)
    noise = (0.1 * rng.standard_normal((1, NPIX))).astype(np.float32)
    sky = random_sky(fields=1)
    cl = alm_to_cl(map_to_alm(observe(sky, INTENSITY, NSIDE, noise), LMAX))[0]
    expected = INTENSITY.beam_window(LMAX) ** 2 * alm_to_cl(sky)[0] + 0.01 * 4 * np.pi / NPIX
    ell = np.arange(LMAX + 1)
    # variance of the cross-term of signal and noise, and of the noise's own power
    noise_cl = 0.01 * 4 * np.pi / NPIX
    scatter = np.sqrt((4 * (expected - noise_cl) * noise_cl + 2 * noise_cl**2) / (2 * ell + 1))
    assert (np.abs(cl - expected) < 4.5 * scatter + 1e-3 * expected).all()


def test_a_channel_without_polarisation_sees_the_temperature() -> None:
    sky = random_sky()
    seen = observe(sky, INTENSITY, NSIDE, NOTHING[:1])
    assert seen.shape == (1, NPIX)
    np.testing.assert_array_equal(seen, observe(sky[:1], INTENSITY, NSIDE, NOTHING[:1]))


def test_the_truth_is_the_sky_at_the_target_beam() -> None:
    sky = random_sky()
    expected = alm_to_map(filter_alm(sky, beam_window(200 * ARCMIN, LMAX)), NSIDE)
    truth = target_map(sky, 200, NSIDE)
    assert truth.dtype == np.float32
    np.testing.assert_allclose(truth, expected, atol=1e-6 * np.abs(expected).max())
    assert target_map(sky[:1], 200, NSIDE).shape == (1, NPIX)


def test_inputs_are_left_alone() -> None:
    sky, noise = random_sky(), np.ones((3, NPIX), np.float32)
    kept = sky.copy()
    observe(sky, POLARISED, NSIDE, noise)
    target_map(sky, 200, NSIDE)
    np.testing.assert_array_equal(sky, kept)
    assert (noise == 1).all()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="channel 143: measures IQU, but the sky has only T"):
        observe(random_sky(fields=1), POLARISED, NSIDE, NOTHING)
    with pytest.raises(ValueError, match=r"channel 545: noise has shape \(3, 3072\), the map \(1, 3072\)"):
        observe(random_sky(), INTENSITY, NSIDE, NOTHING)
    with pytest.raises(ValueError, match="lmax 24: must lie between 2 and 3 nside - 1 = 11"):
        target_map(random_sky(), 200, 4)


def test_emission_is_analysed_accurately_up_to_one_and_a_half_times_its_nside() -> None:
    nside, lmax = 64, 96
    sky = random_sky(lmax=3 * nside - 1, slope=-1.5)  # C_l of l^-3, as foregrounds have
    found = foreground_alm(alm_to_map(sky, nside), lmax)
    truth = change_lmax(sky, lmax)
    error = np.sqrt(alm_to_cl(found - truth)[:, 2:] / alm_to_cl(truth)[:, 2:])
    assert error[:, :10].max() < 6e-4
    # as measured, with half as much again for the scatter of single multipoles
    assert error[0].max() < 5e-3
    assert error[1:].max() < 1.2e-2


def test_emission_is_not_analysed_beyond_its_pixels() -> None:
    with pytest.raises(ValueError, match="lmax 12: must lie between 2 and 3 nside - 1 = 11 at nside 4"):
        foreground_alm(np.zeros((1, 192)), 12)


def test_the_error_of_the_analysis_is_the_same_in_every_channel() -> None:
    emission = alm_to_map(random_sky(lmax=47, slope=-1.5), NSIDE)
    np.testing.assert_allclose(foreground_alm(2.5 * emission, LMAX), 2.5 * foreground_alm(emission, LMAX))
