import healpy as hp
import numpy as np
import pytest

from cmbml.science.pixels import (
    check_band_limit,
    check_nside,
    galactic_latitude,
    npix_to_nside,
    nside_to_npix,
)


@pytest.mark.parametrize("nside", [2**k for k in range(30)])
def test_npix_and_nside_are_inverse_and_those_of_healpy(nside):
    assert nside_to_npix(nside) == hp.nside2npix(nside)
    assert npix_to_nside(nside_to_npix(nside)) == nside


@pytest.mark.parametrize("nside", [0, -2, 3, 100, 2**30])
def test_a_resolution_that_healpix_does_not_know_is_refused(nside):
    with pytest.raises(ValueError, match=rf"nside {nside}: must be a power of two, such as 64, 128 or 512"):
        check_nside(nside)


# 108 = 12 x 3^2 is a RING map of nside 3, which NESTED does not know.
@pytest.mark.parametrize("npix", [0, 1, 11, 13, 108, 3071])
def test_a_number_of_pixels_that_is_no_sky_is_refused(npix):
    with pytest.raises(ValueError, match=rf"a map of {npix} pixels is no full HEALPix sky"):
        npix_to_nside(npix)


@pytest.mark.parametrize("lmax", [2, 30, 47])
def test_a_band_limit_that_the_pixels_carry_is_returned(lmax):
    assert check_band_limit(lmax, 16) == lmax


@pytest.mark.parametrize("lmax", [1, 48])
def test_a_band_limit_that_the_pixels_cannot_carry_is_refused(lmax):
    with pytest.raises(
        ValueError, match=rf"lmax {lmax}: must lie between 2 and 3 nside - 1 = 47 at nside 16"
    ):
        check_band_limit(lmax, 16)


def test_latitude_runs_from_north_to_south():
    latitude = galactic_latitude(8)
    _, expected = hp.pix2ang(8, np.arange(768), lonlat=True)
    np.testing.assert_allclose(np.degrees(latitude), expected, atol=1e-12)
    assert np.all(np.diff(latitude) < 1e-15)  # RING order
