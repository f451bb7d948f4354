"""The window of a pixel."""

import healpy as hp
import numpy as np
import pytest

from cmbml.science.harmonics import alm_to_cl, analyse, draw_white_alm, synthesise
from cmbml.science.pixel_window import pixel_window


def test_averages_over_pixels_are_the_field_under_the_window():
    """0.5 %: the quadrature of nside 16, and a mean over modes in place of one over squares."""
    nside, lmax = 16, 32
    alm = np.stack([draw_white_alm(np.random.default_rng(seed), lmax) for seed in range(8)]).astype(complex)
    means = np.array([hp.ud_grade(row, nside) for row in synthesise(alm, 128)])
    found = alm_to_cl(analyse(means, lmax), alm).sum(axis=0) / alm_to_cl(alm).sum(axis=0)
    np.testing.assert_allclose(found, pixel_window(nside, lmax), atol=0.005)


def test_a_fine_pixel_is_a_square():
    """Second moment of a square of equal area, a^2 / 12 along each side; pixels are longer: 7 % more."""
    nside, lmax = 2048, 512
    ell = np.arange(lmax + 1)
    square = ell * (ell + 1) * hp.nside2pixarea(nside) / 24
    lost = 1 - pixel_window(nside, lmax)
    np.testing.assert_allclose(lost[100:], square[100:], rtol=0.1)
    assert np.all(lost[100:] > square[100:])


@pytest.mark.parametrize("nside", [1, 4, 64])
def test_the_mean_is_kept_and_more_is_lost_at_higher_multipoles(nside):
    window = pixel_window(nside, 2 * nside)
    assert window[0] == 1 and np.all(np.diff(window) < 0) and window[-1] > 0.5


def test_the_window_depends_on_the_multipole_times_the_size_of_the_pixel():
    """On l (l + 1) times the area, but for the curvature of the sphere within a pixel."""
    ell = np.arange(33)
    scaled = np.sqrt(4 * ell * (ell + 1) + 0.25) - 0.5
    finer = np.interp(scaled, np.arange(67), pixel_window(32, 66))
    np.testing.assert_allclose(finer, pixel_window(16, 32), atol=5e-4)


def test_the_window_is_kept_from_being_changed():
    with pytest.raises(ValueError, match="read-only"):
        pixel_window(4, 8)[0] = 2
