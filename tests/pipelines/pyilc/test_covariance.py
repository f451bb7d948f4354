"""Covariances averaged around every pixel, and the shortcut to them."""

import healpy as hp
import numpy as np
import pytest

from cmbml.pipelines.pyilc.covariance import coarse_covariance, coarse_nside, local_covariance
from cmbml.science.harmonics import alm_size, synthesise
from cmbml.science.pixels import galactic_latitude, npix_to_nside
from cmbml.science.threads import set_thread_count

NSIDE, N_CHANNELS = 32, 3
PAIRS = np.triu_indices(N_CHANNELS)


@pytest.fixture
def coefficients():
    """Correlated fields up to nside, stronger in the plane than at the poles."""
    generator = np.random.default_rng(5)
    alm = generator.standard_normal((2, N_CHANNELS, alm_size(NSIDE)))
    fields = synthesise(alm[0] + 1j * alm[1], NSIDE)
    mixing = np.array([[1, 0, 0], [0.5, 1, 0], [0.2, -0.7, 1]])
    return mixing @ fields * (1 + np.exp(-((galactic_latitude(NSIDE) / 0.3) ** 2)))


def as_matrices(covariance):
    matrices = np.empty((covariance.shape[-1], N_CHANNELS, N_CHANNELS))
    matrices[:, PAIRS[0], PAIRS[1]] = matrices[:, PAIRS[1], PAIRS[0]] = covariance.T
    return matrices


def test_uniform_statistics_give_the_covariance_of_the_whole_sky(coefficients):
    uniform = coefficients / (1 + np.exp(-((galactic_latitude(NSIDE) / 0.3) ** 2)))
    # So wide a Gaussian averages the whole sky but for 1e-4 of the dipole.
    covariance = local_covariance(uniform, 10.0)
    expected = np.cov(uniform, ddof=0)[PAIRS]
    np.testing.assert_allclose(
        covariance, np.repeat(expected[:, None], 12 * NSIDE**2, 1), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("fwhm", [2.5, 1.3, 0.8])
def test_the_coarse_covariance_is_the_local_one_on_larger_pixels(coefficients, fwhm):
    coarse = coarse_covariance(coefficients, fwhm)
    nside = npix_to_nside(coarse.shape[-1])
    local = local_covariance(coefficients, fwhm)
    # The mean over a pixel is its centre's value but for a share of about (1/32)^2 / 24 = 4e-5.
    expected = hp.ud_grade(local, nside)
    variance = as_matrices(expected).diagonal(axis1=1, axis2=2).T
    scale = np.sqrt(variance[PAIRS[0]] * variance[PAIRS[1]])
    assert np.max(np.abs(coarse - expected) / scale) < 1e-3


def test_larger_pixels_are_used_where_the_gaussian_is_wide_and_only_there():
    assert coarse_nside(1.3, 512) == 64  # sigma 0.552 rad, pixel 0.016 rad
    assert coarse_nside(1.3, 32) == 32
    assert coarse_nside(40.0, 512) == 2


def test_the_coarse_covariance_stays_positive_whatever_the_contrast(coefficients):
    contrast = coefficients * np.exp(-((galactic_latitude(NSIDE) / 0.15) ** 2))
    coarse = as_matrices(coarse_covariance(contrast, 0.4)).diagonal(axis1=1, axis2=2)
    assert coarse.max() / coarse.min() > 1e5
    assert np.all(coarse > 0)
    # and this is what makes it differ from the published procedure
    assert np.any(as_matrices(local_covariance(contrast, 0.4)).diagonal(axis1=1, axis2=2) < 0)


def test_threads_change_nothing(coefficients):
    one = coarse_covariance(coefficients, 1.3)
    set_thread_count(2)
    two = coarse_covariance(coefficients, 1.3)
    set_thread_count(1)
    np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-12 * np.abs(one).max())


def test_coefficients_are_not_changed(coefficients):
    before = coefficients.copy()
    coarse_covariance(coefficients, 1.3)
    local_covariance(coefficients, 1.3)
    np.testing.assert_array_equal(coefficients, before)
