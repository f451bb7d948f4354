"""Covariance of needlet coefficients between channels, averaged around every pixel.

A covariance map holds the pairs a <= b of channels only, in the order of
`numpy.triu_indices`: shape (n_pairs, npix) with n_pairs = n (n + 1) / 2.

Two ways lead to it. `local_covariance` smooths every product of two channels at
the resolution of the coefficients, with refined transforms, as McCarthy & Hill's
published code does. `coarse_covariance` gives the same to about a part in a
thousand for a small fraction of the cost: the Gaussian that averages the
products is many pixels wide, so they are first averaged over larger pixels.

References
----------
McCarthy, F. & Hill, J. C. 2023, arXiv:2307.01043, section II.
"""

from functools import lru_cache
from typing import Any

import healpy as hp
import numba
import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.pyilc.blocks import run_in_blocks
from cmbml.science.beams import beam_window
from cmbml.science.harmonics import analyse, filter_alm, synthesise
from cmbml.science.pixels import npix_to_nside, nside_to_npix

Array = NDArray[Any]

REFINEMENTS = 3
"""Iterations of healpy's map2alm unless told otherwise, which the published results used."""

NEGLIGIBLE_WINDOW = 1e-12
"""Multipoles where the Gaussian has fallen below this are left out of the coarse covariance.

Far below the ratio of the emission's power away from the Galactic plane to that in it.
"""

PIXELS_PER_SIGMA = 16
"""The larger pixels are at least this many times narrower than the Gaussian's sigma."""


def local_covariance(coefficients: Array, fwhm: float) -> Array:
    """Return the covariance at every pixel, smooth((c_a - smooth c_a) (c_b - smooth c_b)).

    Parameters
    ----------
    coefficients
        Needlet coefficients c, shape (n_channels, npix), RING.
    fwhm
        Full width at half maximum of the Gaussian in radians.

    Returns
    -------
    numpy.ndarray
        Shape (n_pairs, npix), in the square of the coefficients' unit.
    """
    deviations = coefficients - _smooth(coefficients, fwhm)
    first, second = np.triu_indices(len(coefficients))
    covariance = np.empty((len(first), coefficients.shape[-1]))
    for channel in range(len(coefficients)):  # one channel's pairs at a time bounds the memory
        pairs = first == channel
        covariance[pairs] = _smooth(deviations[channel] * deviations[second[pairs]], fwhm)
    return covariance


def _smooth(maps: Array, fwhm: float) -> Array:
    """Smooth maps (n, npix) with a Gaussian up to the band limit 3 nside - 1."""
    nside = npix_to_nside(maps.shape[-1])
    lmax = 3 * nside - 1
    return synthesise(filter_alm(analyse(maps, lmax, iterations=REFINEMENTS), beam_window(fwhm, lmax)), nside)


def coarse_nside(fwhm: float, nside: int) -> int:
    """Return the lowest resolution, at most `nside`, whose pixels the Gaussian spans widely."""
    sigma = fwhm / np.sqrt(8 * np.log(2))
    coarse = 1
    while coarse < nside and hp.nside2resol(coarse) * PIXELS_PER_SIGMA > sigma:
        coarse *= 2
    return coarse


def coarse_covariance(coefficients: Array, fwhm: float) -> Array:
    """Return the covariance of `local_covariance` on larger pixels.

    The products are averaged over the larger pixels, which acts like a slight
    smoothing of its own; the Gaussian is made narrower by as much. Without
    refined transforms every value is a sum of products with positive weights,
    so that no covariance can turn negative where the emission is faint.

    Parameters
    ----------
    coefficients
        Needlet coefficients, shape (n_channels, npix), RING.
    fwhm
        Full width at half maximum of the Gaussian in radians.

    Returns
    -------
    numpy.ndarray
        Shape (n_pairs, npix of `coarse_nside`).
    """
    nside = npix_to_nside(coefficients.shape[-1])
    coarse = coarse_nside(fwhm, nside)
    window = _coarse_window(fwhm, coarse, nside)
    means, products = _average_products(coefficients, _children(coarse, nside))
    smooth = _smooth_coarsely(means, window)
    first, second = np.triu_indices(len(coefficients))
    products += smooth[first] * smooth[second]
    products -= smooth[first] * means[second]
    products -= smooth[second] * means[first]
    return _smooth_coarsely(products, window)


def _coarse_window(fwhm: float, coarse: int, nside: int) -> Array:
    """Gaussian window up to where it is negligible, less what averaging over pixels does."""
    variance = fwhm**2 / (8*np.log(2)) - (hp.nside2pixarea(coarse)-hp.nside2pixarea(nside))/12
    lmax = 3 * coarse - 1
    window = beam_window(np.sqrt(variance*8*np.log(2)), lmax)
    return window[: max(2, np.count_nonzero(window > NEGLIGIBLE_WINDOW))]


def _smooth_coarsely(maps: Array, window: Array) -> Array:
    nside = npix_to_nside(maps.shape[-1])
    return synthesise(filter_alm(analyse(maps, len(window) - 1, iterations=0), window), nside)


@lru_cache(maxsize=8)
def _children(coarse: int, nside: int) -> Array:
    """Pixels of `nside` inside each pixel of `coarse`, both RING, shape (npix coarse, n), int32."""
    share = (nside // coarse) ** 2
    parents = hp.ring2nest(coarse, np.arange(nside_to_npix(coarse)))
    nested = parents[:, None] * share + np.arange(share)
    return hp.nest2ring(nside, nested).astype(np.int32)


def _average_products(coefficients: Array, children: Array) -> tuple[Array, Array]:
    """Average coefficients and their products over larger pixels."""
    n_channels = len(coefficients)
    means = np.empty((n_channels, len(children)))
    products = np.empty((n_channels * (n_channels + 1) // 2, len(children)))

    def average(start: int, stop: int) -> None:
        _average_block(coefficients, children[start:stop], means[:, start:stop], products[:, start:stop])

    run_in_blocks(average, len(children))
    return means, products


@numba.njit(nogil=True, cache=True)
def _average_block(coefficients, children, means, products):
    n_channels = coefficients.shape[0]
    values = np.empty(n_channels)
    mean = np.empty(n_channels)
    product = np.empty(products.shape[0])
    for pixel in range(children.shape[0]):
        mean[:] = 0
        product[:] = 0
        for child in children[pixel]:
            pair = 0
            for a in range(n_channels):
                values[a] = coefficients[a, child]
                mean[a] += values[a]
            for a in range(n_channels):
                for b in range(a, n_channels):
                    product[pair] += values[a] * values[b]
                    pair += 1
        means[:, pixel] = mean / children.shape[1]
        products[:, pixel] = product / children.shape[1]
