"""Covariance of needlet coefficients between channels, averaged around every pixel.

A covariance map holds the pairs a <= b of channels only, in the order of
`numpy.triu_indices`: shape (n_pairs, npix) with n_pairs = n (n + 1) / 2.

Two ways lead to it. `local_covariance` smooths every product of two channels at
the resolution of the coefficients, as McCarthy & Hill's published code does.
`coarse_covariance` gives the same for a small fraction of the cost: the Gaussian
that averages the products is many pixels wide, so they are first averaged over
larger pixels.

References
----------
McCarthy, F. & Hill, J. C. 2023, arXiv:2307.01043.
Delabrouille, J. et al. 2009, A&A 493, 835, arXiv:0807.0773.
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
"""Iterations of healpy's `map2alm` unless told otherwise, as in the published results."""

NEGLIGIBLE_WINDOW = 1e-12
"""Multipoles at which the Gaussian has fallen below this are left out of the coarse covariance.

Dust in the Galactic plane has up to about 1e8 times the power it has near the
poles; what the cut spreads over the sky must stay far below that ratio.
"""

PIXELS_PER_SIGMA = 32
"""The larger pixels are at least this many times narrower than the Gaussian's sigma.

Measured on a simulated nside-64 sky, the cleaned map then differs from that of
`local_covariance` by 1e-5 to 4e-5 of its rms per scale, as it does without any
larger pixels; with 16 by up to 9e-5, with 8 by up to 4e-4.
"""


def local_covariance(coefficients: Array, fwhm: float) -> Array:
    """Return the covariance at every pixel, smooth((c_a - smooth c_a) (c_b - smooth c_b)).

    The refined transforms weigh some products negatively. Where the emission
    is many orders of magnitude fainter than elsewhere and the Gaussian is narrow,
    a channel's variance can therefore come out negative; `coarse_covariance` is
    free of this.

    Parameters
    ----------
    coefficients
        Needlet coefficients c, shape (n_channels, npix), RING, float64.
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
    for channel in range(len(coefficients)):  # the pairs of one channel at a time bound the memory
        pairs = first == channel
        covariance[pairs] = _smooth(deviations[channel] * deviations[second[pairs]], fwhm)
    return covariance


def _smooth(maps: Array, fwhm: float) -> Array:
    """Smooth maps (n, npix) with a Gaussian up to the band limit 3 nside - 1."""
    nside = npix_to_nside(maps.shape[-1])
    lmax = 3 * nside - 1
    alm = analyse(maps, lmax, iterations=REFINEMENTS)
    return synthesise(filter_alm(alm, beam_window(fwhm, lmax)), nside)


def coarse_covariance(coefficients: Array, fwhm: float) -> Array:
    """Return the covariance of `local_covariance` at the pixels of `coarse_nside`.

    Averaging the products over larger pixels acts like a slight smoothing, by
    which the Gaussian is made narrower. Each value is a sum of products with
    positive weights, so that no variance turns negative.

    Parameters
    ----------
    coefficients
        Needlet coefficients c, shape (n_channels, npix), RING, float64.
    fwhm
        Full width at half maximum of the Gaussian in radians.

    Returns
    -------
    numpy.ndarray
        Shape (n_pairs, npix of `coarse_nside`), RING.
    """
    nside = npix_to_nside(coefficients.shape[-1])
    coarse = coarse_nside(fwhm, nside)
    window = _coarse_window(fwhm, coarse, nside)
    means, products = _average_products(coefficients, _pixels_inside(coarse, nside))
    smooth = _smooth_coarsely(means, window)
    for pair, (a, b) in enumerate(zip(*np.triu_indices(len(coefficients)), strict=True)):
        # (c_a - s_a) (c_b - s_b) averaged over a pixel in which s, smooth c, hardly changes
        products[pair] += smooth[a] * (smooth[b] - means[b]) - smooth[b] * means[a]
    return _smooth_coarsely(products, window)


def is_narrow(fwhm: float, nside: int) -> bool:
    """Return whether a Gaussian is too narrow for `coarse_covariance`, even at the pixels of `nside`.

    Parameters
    ----------
    fwhm
        Full width at half maximum of the Gaussian in radians.
    nside
        Resolution of the coefficients.
    """
    return bool(fwhm / np.sqrt(8 * np.log(2)) < PIXELS_PER_SIGMA * hp.nside2resol(nside))


def coarse_nside(fwhm: float, nside: int) -> int:
    """Return the lowest resolution that a Gaussian's sigma spans widely, at most `nside`.

    Parameters
    ----------
    fwhm
        Full width at half maximum of the Gaussian in radians.
    nside
        Resolution of the coefficients.
    """
    coarse = 1
    while coarse < nside and is_narrow(fwhm, coarse):
        coarse *= 2
    return coarse


def _coarse_window(fwhm: float, coarse: int, nside: int) -> Array:
    """Gaussian up to where it is negligible, less the variance that averaging over pixels adds."""
    to_variance = 8 * np.log(2)
    # A square pixel of area A has the variance A / 12 along either side.
    added = (hp.nside2pixarea(coarse) - hp.nside2pixarea(nside)) / 12
    window = beam_window(float(np.sqrt(fwhm**2 - added * to_variance)), 3 * coarse - 1)
    return window[: max(np.count_nonzero(window > NEGLIGIBLE_WINDOW), 2)]


def _smooth_coarsely(maps: Array, window: Array) -> Array:
    """Smooth maps (n, npix) by a positive kernel, which refined transforms would not be."""
    alm = analyse(maps, len(window) - 1, iterations=0)
    return synthesise(filter_alm(alm, window), npix_to_nside(maps.shape[-1]))


@lru_cache(maxsize=8)
def _pixels_inside(coarse: int, nside: int) -> Array:
    """Pixels of `nside` inside each pixel of `coarse`, both RING, shape (npix coarse, n), int32."""
    n_inside = (nside // coarse) ** 2
    parents = hp.ring2nest(coarse, np.arange(nside_to_npix(coarse)))
    nested = parents[:, None] * n_inside + np.arange(n_inside)
    inside: Array = hp.nest2ring(nside, nested).astype(np.int32)
    return inside


def _average_products(coefficients: Array, inside: Array) -> tuple[Array, Array]:
    """Average coefficients and the products of their pairs over larger pixels."""
    n_channels = len(coefficients)
    means = np.empty((n_channels, len(inside)))
    products = np.empty((n_channels * (n_channels + 1) // 2, len(inside)))

    def average(block: slice) -> None:
        _average_block(coefficients, inside[block], means[:, block], products[:, block])

    run_in_blocks(average, len(inside))
    return means, products


@numba.njit(nogil=True, cache=True)
def _average_block(coefficients: Array, inside: Array, means: Array, products: Array) -> None:
    n_channels = len(coefficients)
    value = np.empty(n_channels)
    mean = np.empty(n_channels)
    product = np.empty(len(products))
    for pixel in range(len(inside)):
        mean[:] = 0
        product[:] = 0
        for child in inside[pixel]:
            pair = 0
            for a in range(n_channels):
                value[a] = coefficients[a, child]
                mean[a] += value[a]
            for a in range(n_channels):
                for b in range(a, n_channels):
                    product[pair] += value[a] * value[b]
                    pair += 1
        means[:, pixel] = mean / inside.shape[1]
        products[:, pixel] = product / inside.shape[1]
