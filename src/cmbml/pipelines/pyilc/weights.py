"""Weights of the internal linear combination, pixel by pixel.

With the covariance R of the channels and the mixing vector a, the response of
the channels to the component that is kept, the weights

    w = R^-1 a / (a^T R^-1 a)

have the least variance among all that keep the component, w^T a = 1.

References
----------
McCarthy, F. & Hill, J. C. 2023, arXiv:2307.01043, Eqs. (29) and (30) without deprojection.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.pyilc.blocks import run_in_blocks
from cmbml.science.harmonics import analyse, synthesise
from cmbml.science.pixels import npix_to_nside

Array = NDArray[Any]

SMALLEST_SHARE = 1e-13
"""Least share of a channel's variance that the channels before it may leave unexplained.

Sums in double precision are good to about 1e-15, and channels that are equal but
for the rounding of float32 maps differ by about 1e-15 of their variance too.
"""


class SingularCovarianceError(ValueError):
    """Some channels are combinations of others, so that the weights are not determined."""


def positive_weights(covariance: Array, mixing: Array) -> Array:
    """Return the weights for covariances that must be positive definite.

    Parameters
    ----------
    covariance
        Pairs a <= b of channels, shape (n_pairs, npix).
    mixing
        Response of every channel, shape (n_channels,).

    Returns
    -------
    numpy.ndarray
        Shape (n_channels, npix).

    Raises
    ------
    SingularCovarianceError
        If the variance of a channel is not positive somewhere, or other channels
        explain it but for a share of 1e-13.
    """
    weights = np.empty((len(mixing), covariance.shape[-1]))

    def solve(block: slice) -> None:
        _solve_block(covariance[:, block], mixing, weights[:, block])

    run_in_blocks(solve, covariance.shape[-1])
    n_bad = np.count_nonzero(np.isnan(weights[0]))
    if n_bad:
        raise SingularCovarianceError(
            f"the covariance of {len(mixing)} channels is not positive definite at {n_bad} of "
            f"{weights.shape[-1]} pixels"
        )
    return weights


@numba.njit(nogil=True, cache=True)
def _solve_block(covariance: Array, mixing: Array, weights: Array) -> None:
    n_channels = len(mixing)
    scale = np.empty(n_channels)
    lower = np.empty((n_channels, n_channels))
    solution = np.empty(n_channels)
    for pixel in range(weights.shape[1]):
        if _factorise(covariance[:, pixel], lower, scale):
            _substitute(lower, mixing / scale, solution)
            solution /= scale
            weights[:, pixel] = solution / np.sum(solution * mixing)
        else:
            weights[:, pixel] = np.nan


@numba.njit(nogil=True, cache=True)
def _factorise(pairs: Array, lower: Array, scale: Array) -> bool:
    """Write Cholesky's factor of the correlation matrix and its scale; False where there is none."""
    n_channels = len(scale)
    pair = 0
    for a in range(n_channels):
        for b in range(a, n_channels):
            lower[b, a] = pairs[pair]
            pair += 1
    for a in range(n_channels):
        if not lower[a, a] > 0:
            return False
        scale[a] = np.sqrt(lower[a, a])
    for a in range(n_channels):
        for b in range(a + 1):
            rest = lower[a, b] / (scale[a] * scale[b])
            for k in range(b):
                rest -= lower[a, k] * lower[b, k]
            if b < a:
                lower[a, b] = rest / lower[b, b]
            elif rest > SMALLEST_SHARE:
                lower[a, a] = np.sqrt(rest)
            else:
                return False
    return True


@numba.njit(nogil=True, cache=True)
def _substitute(lower: Array, right: Array, solution: Array) -> None:
    """Solve L L^T x = r by substitution forwards and backwards."""
    n_channels = len(right)
    for a in range(n_channels):
        rest = right[a]
        for k in range(a):
            rest -= lower[a, k] * solution[k]
        solution[a] = rest / lower[a, a]
    for a in range(n_channels - 1, -1, -1):
        rest = solution[a]
        for k in range(a + 1, n_channels):
            rest -= lower[k, a] * solution[k]
        solution[a] = rest / lower[a, a]


def general_weights(covariance: Array, mixing: Array) -> Array:
    """Return the weights for covariances that need not be positive, as the published code does.

    Parameters
    ----------
    covariance
        Pairs a <= b of channels, shape (n_pairs, npix).
    mixing
        Response of every channel, shape (n_channels,).

    Returns
    -------
    numpy.ndarray
        Shape (n_channels, npix). Where a covariance is not positive definite
        the weights are of no use, but exist.

    Raises
    ------
    SingularCovarianceError
        If a covariance is exactly singular.
    """
    n_channels = len(mixing)
    first, second = np.triu_indices(n_channels)
    weights = np.empty((n_channels, covariance.shape[-1]))

    def solve(block: slice) -> None:
        pairs = covariance[:, block].T
        matrix = np.empty((len(pairs), n_channels, n_channels))
        matrix[:, first, second] = matrix[:, second, first] = pairs
        solution = np.linalg.solve(matrix, mixing[:, None])[..., 0].T  # (n_channels, pixels of the block)
        weights[:, block] = solution / (mixing @ solution)

    try:
        run_in_blocks(solve, covariance.shape[-1])
    except np.linalg.LinAlgError as error:
        raise SingularCovarianceError(f"the covariance of {n_channels} channels is singular") from error
    return weights


def refine_weights(weights: Array, nside: int) -> Array:
    """Interpolate weights to a higher resolution by their spherical harmonics.

    Parameters
    ----------
    weights
        Shape (n_channels, npix), RING, smooth over many pixels.
    nside
        Resolution wanted, not below that of the weights.

    Returns
    -------
    numpy.ndarray
        Shape (n_channels, 12 nside^2). A sum over channels that is the same at
        every pixel stays so to rounding.
    """
    coarse = npix_to_nside(weights.shape[-1])
    if coarse == nside:
        return weights
    means = weights.mean(axis=-1, keepdims=True)
    # Weights vary as slowly as the Gaussian that averaged their covariance, over many pixels: twice
    # the band limit and more iterations left the cleaned map the same to 1e-7 of its rms.
    alm = analyse(weights - means, coarse, iterations=1)
    refined: Array = synthesise(alm, nside) + means
    return refined
