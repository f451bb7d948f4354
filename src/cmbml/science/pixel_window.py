"""The smoothing that a HEALPix pixel does to what is averaged over it."""

from functools import lru_cache

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.science.pixels import check_nside, nside_to_npix

_FINER = 8
"""Points along the side of a pixel. Half as many are tried too: the error falls as their square."""

_PIXELS = 768
"""Pixels looked at, evenly over the sphere: their shape changes slowly with the place."""

_BINS = 4096
"""Steps in distance, over which P_l hardly changes."""


@lru_cache(maxsize=8)
def pixel_window(nside: int, lmax: int) -> NDArray[np.float64]:
    """Return the window w_l of a pixel, by which maps of averages over pixels are smoothed.

    Measured maps are averages over pixels: each datum counts in the pixel it falls into. The
    window is computed, not read from a file, as the mean over pixels and over pairs of points
    within a pixel,

        w_l^2 = < P_l(n . n') > .

    It acts on T, E and B alike: the spin-2 window differs by a factor of about
    1 + (pixel area) / 6, below 4e-8 at nside 2048.

    Parameters
    ----------
    nside
        Resolution, a power of two.
    lmax
        Band limit, inclusive.

    Returns
    -------
    numpy.ndarray
        Shape (lmax + 1,); accurate to 2e-4 at l = 3 nside, and better below. It must not be changed.

    References
    ----------
    Gorski et al. 2005, ApJ 622, 759, and "The HEALPix Primer", section on pixel window functions:
    the average over pixels of sum_m |w_lm|^2 / (2 l + 1).
    """
    fine, coarse = (_mean_legendre(check_nside(nside), lmax, finer) for finer in (_FINER, _FINER // 2))
    window = np.sqrt(np.maximum((4 * fine - coarse) / 3, 0))  # Richardson's extrapolation
    window.flags.writeable = False
    return window


def _mean_legendre(nside: int, lmax: int, finer: int) -> NDArray[np.float64]:
    """Return the mean of P_l over pairs of points within a pixel, shape (lmax + 1,)."""
    distance, weight = _pair_distances(nside, finer)
    cosine = np.cos(distance)
    means = np.ones(lmax + 1)
    before, legendre = np.ones_like(cosine), cosine
    for ell in range(1, lmax + 1):
        means[ell] = weight @ legendre
        before, legendre = legendre, ((2 * ell + 1) * cosine * legendre - ell * before) / (ell + 1)
    return means


def _pair_distances(nside: int, finer: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return distances of two points in one pixel, and how frequent they are, shapes (n_bins,)."""
    npix = nside_to_npix(nside)
    children = np.arange(finer**2)
    looked_at = npix if npix <= _PIXELS else _PIXELS
    longest = 4.0 * np.sqrt(4 * np.pi / npix)  # no pixel is as long as that
    counts, sums = np.zeros(_BINS), np.zeros(_BINS)
    for pixel in ((np.arange(looked_at) + 0.5) / looked_at * npix).astype(int):
        inside = pixel * finer**2 + children
        points = np.stack(hp.pix2vec(nside * finer, inside, nest=True), axis=-1)  # (n_points, 3)
        chords = np.linalg.norm(points[:, None] - points[None], axis=-1).ravel()
        distance = 2 * np.arcsin(np.minimum(chords / 2, 1))
        place = (distance / longest * _BINS).astype(int)
        counts += np.bincount(place, minlength=_BINS)
        sums += np.bincount(place, distance, minlength=_BINS)
    seen = counts > 0
    return sums[seen] / counts[seen], counts[seen] / counts.sum()
