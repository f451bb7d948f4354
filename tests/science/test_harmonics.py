from itertools import pairwise

import healpy as hp
import numpy as np
import pytest

from cmbml.science.harmonics import (
    alm_lmax,
    alm_size,
    alm_to_cl,
    alm_to_map,
    analyse,
    change_lmax,
    filter_alm,
    map_to_alm,
    synthesise,
)
from cmbml.science.threads import set_thread_count

NSIDE, LMAX = 16, 32
NPIX = 12 * NSIDE**2


def random_alm(n, lmax=LMAX, *, seed=0, dtype=np.complex128):
    """Coefficients of n real fields: m = 0 real, and nothing in E and B below l = 2."""
    rng = np.random.default_rng(seed)
    alm = rng.normal(size=(n, alm_size(lmax))) + 1j * rng.normal(size=(n, alm_size(lmax)))
    alm[:, : lmax + 1] = alm[:, : lmax + 1].real
    ell, _ = hp.Alm.getlm(lmax)
    alm[1:, ell < 2] = 0
    return alm.astype(dtype)


@pytest.mark.parametrize("lmax", [0, 1, 2, 7, 100, 8191])
def test_size_and_lmax_are_inverse(lmax):
    assert alm_size(lmax) == hp.Alm.getsize(lmax)
    assert alm_lmax(np.empty(alm_size(lmax))) == lmax


@pytest.mark.parametrize("size", [2, 5, 16])
def test_a_length_that_no_lmax_gives_is_refused(size):
    with pytest.raises(ValueError, match=rf"{size} is not the number of coefficients of any lmax"):
        alm_lmax(np.empty((3, size)))


@pytest.mark.parametrize("n", [1, 3])
def test_maps_return_to_their_coefficients(n):
    alm = random_alm(n)
    # Equal weights miss coefficients of order 1 by 0.08 at most; each of three iterations leaves a seventh.
    np.testing.assert_allclose(map_to_alm(alm_to_map(alm, NSIDE), LMAX), alm, atol=0.08 / 7**3)


@pytest.mark.parametrize("n", [1, 3])
def test_every_iteration_brings_the_coefficients_closer(n):
    alm = random_alm(n)
    maps = alm_to_map(alm, NSIDE)
    errors = [np.abs(map_to_alm(maps, LMAX, iterations=count) - alm).max() for count in range(4)]
    assert errors[0] < 0.1
    assert all(later < 0.2 * earlier for earlier, later in pairwise(errors))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("lmax", [LMAX, 3 * NSIDE - 1])
def test_synthesis_is_that_of_healpy(n, lmax):
    alm = random_alm(n, lmax)
    expected = np.atleast_2d(hp.alm2map(list(alm) if n == 3 else alm[0], NSIDE, lmax=lmax, pol=True))
    np.testing.assert_allclose(alm_to_map(alm, NSIDE), expected, atol=1e-10)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("iterations", [0, 3])
def test_analysis_is_that_of_healpy(n, iterations):
    maps = np.random.default_rng(1).normal(size=(n, NPIX))
    expected = np.atleast_2d(hp.map2alm(maps if n == 3 else maps[0], lmax=LMAX, iter=iterations, pol=True))
    np.testing.assert_allclose(map_to_alm(maps, LMAX, iterations=iterations), expected, atol=1e-12)


def test_stacks_are_transformed_one_by_one():
    alm = random_alm(6).reshape(2, 3, -1)
    maps = synthesise(alm, NSIDE)
    assert maps.shape == (2, 3, NPIX)
    np.testing.assert_allclose(maps[1, 2], synthesise(alm[1, 2], NSIDE), atol=1e-12)
    back = analyse(maps, LMAX)
    assert back.shape == alm.shape
    np.testing.assert_allclose(back[1, 0], analyse(maps[1, 0], LMAX), atol=1e-14)


def test_polarisation_of_pure_e_has_no_b():
    alm = random_alm(3)
    alm[2] = 0
    back = map_to_alm(alm_to_map(alm, NSIDE), LMAX)
    assert np.abs(back[2]).max() < 0.08 / 7**3  # as far as maps return to their coefficients


@pytest.mark.parametrize("n", [1, 3])
def test_single_precision_in_gives_single_precision_out(n):
    alm = random_alm(n, dtype=np.complex64)
    maps = alm_to_map(alm, NSIDE)
    assert maps.dtype == np.float32
    back = map_to_alm(maps, LMAX)
    assert back.dtype == np.complex64
    assert filter_alm(back, np.ones(LMAX + 1)).dtype == np.complex64
    assert change_lmax(back, 5).dtype == np.complex64
    assert synthesise(alm, NSIDE).dtype == np.float32
    assert analyse(maps, LMAX).dtype == np.complex64
    assert alm_to_cl(back).dtype == np.float64


def test_single_and_double_precision_agree():
    alm = random_alm(3)
    # Maps of a few hundred coefficients of order 1 have values up to 100; float32 keeps 6e-8 of that.
    np.testing.assert_allclose(alm_to_map(alm.astype(np.complex64), NSIDE), alm_to_map(alm, NSIDE), atol=3e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_transforms_leave_their_input_alone(dtype):
    maps = np.random.default_rng(2).normal(size=(3, NPIX)).astype(dtype)
    kept = maps.copy()
    alm = map_to_alm(maps, LMAX)
    kept_alm = alm.copy()
    alm_to_map(alm, NSIDE)
    filter_alm(alm, np.zeros(LMAX + 1))
    alm_to_cl(alm)
    change_lmax(alm, LMAX)[:] = 0
    assert np.array_equal(maps, kept)
    assert np.array_equal(alm, kept_alm)


def test_views_that_are_not_contiguous_are_transformed_alike():
    alm = random_alm(3)
    maps = alm_to_map(alm, NSIDE)
    strided = np.asfortranarray(maps)
    assert np.array_equal(map_to_alm(strided, LMAX), map_to_alm(maps, LMAX))
    assert np.array_equal(synthesise(alm.T.copy().T, NSIDE), synthesise(alm, NSIDE))


def test_the_same_call_gives_the_same_bits():
    maps = np.random.default_rng(3).normal(size=(3, NPIX))
    assert np.array_equal(map_to_alm(maps, LMAX), map_to_alm(maps, LMAX))


def test_more_threads_change_no_more_than_rounding():
    maps = np.random.default_rng(3).normal(size=(1, NPIX))
    alone = map_to_alm(maps, LMAX)
    set_thread_count(2)
    try:
        np.testing.assert_allclose(map_to_alm(maps, LMAX), alone, atol=1e-13)
    finally:
        set_thread_count(1)


@pytest.mark.parametrize("shape", [(2, NPIX), (NPIX,), (1, 1, NPIX), (4, NPIX)])
def test_one_sky_has_one_or_three_fields(shape):
    with pytest.raises(ValueError, match=r"one sky has 1 or 3 Stokes fields on its first axis; got shape"):
        map_to_alm(np.zeros(shape), LMAX)
    with pytest.raises(ValueError, match=r"one sky has 1 or 3 Stokes fields"):
        alm_to_map(np.zeros((*shape[:-1], alm_size(4)), complex), NSIDE)


def test_a_map_that_is_no_healpix_sky_is_refused():
    with pytest.raises(ValueError, match=r"a map of 100 pixels is no full HEALPix sky"):
        analyse(np.zeros(100), 4)


def test_filter_is_almxfl():
    alm, window = random_alm(1), np.linspace(1, 0, LMAX + 1) ** 2
    np.testing.assert_allclose(filter_alm(alm, window)[0], hp.almxfl(alm[0], window), rtol=1e-14)


def test_a_stack_of_filters_acts_field_by_field():
    alm, windows = random_alm(3), np.random.default_rng(4).uniform(size=(3, LMAX + 1))
    filtered = filter_alm(alm, windows)
    for field in range(3):
        np.testing.assert_allclose(filtered[field], hp.almxfl(alm[field], windows[field]), rtol=1e-14)


def test_filters_compose():
    alm, a, b = random_alm(1), np.linspace(1, 2, LMAX + 1), np.linspace(3, 1, LMAX + 1)
    np.testing.assert_allclose(filter_alm(filter_alm(alm, a), b), filter_alm(alm, a * b), rtol=1e-14)


@pytest.mark.parametrize("length", [LMAX, LMAX + 2])
def test_a_filter_of_another_length_is_refused(length):
    message = rf"window has {length} entries, coefficients up to lmax {LMAX} need {LMAX + 1}"
    with pytest.raises(ValueError, match=message):
        filter_alm(random_alm(1), np.ones(length))


@pytest.mark.parametrize("lmax", [0, 5, LMAX, LMAX + 9])
def test_change_of_lmax_is_resize_alm(lmax):
    alm = random_alm(3)
    expected = [hp.resize_alm(field, LMAX, LMAX, lmax, lmax) for field in alm]
    assert np.array_equal(change_lmax(alm, lmax), expected)


def test_raising_and_cutting_lmax_is_the_identity():
    alm = random_alm(3)
    assert np.array_equal(change_lmax(change_lmax(alm, LMAX + 20), LMAX), alm)


def test_spectra_are_those_of_healpy():
    alm = random_alm(3)
    for field, cl in zip(alm, alm_to_cl(alm), strict=True):
        np.testing.assert_allclose(cl, hp.alm2cl(field), rtol=1e-13)
    cross = alm_to_cl(alm[0], alm[1])
    np.testing.assert_allclose(cross, hp.alm2cl(alm[0], alm[1]), rtol=1e-12, atol=1e-15)


def test_cross_spectra_are_bilinear_and_symmetric():
    a, b = random_alm(1, seed=5), random_alm(1, seed=6)
    expected = alm_to_cl(a) + alm_to_cl(b) + 2 * alm_to_cl(a, b)
    np.testing.assert_allclose(alm_to_cl(a + b), expected, rtol=1e-12)
    np.testing.assert_allclose(alm_to_cl(a, b), alm_to_cl(b, a), rtol=1e-13, atol=1e-15)


def test_the_spectrum_holds_the_variance_of_the_map():
    alm = random_alm(1)
    variance = np.sum((2 * np.arange(LMAX + 1) + 1) * alm_to_cl(alm)[0]) / (4 * np.pi)
    # Pixel sums of products are a quadrature of multipoles up to 2 lmax, good to a per cent here.
    assert np.mean(alm_to_map(alm, NSIDE) ** 2) == pytest.approx(variance, rel=0.02)
