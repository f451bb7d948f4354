"""Weights of the internal linear combination, pixel by pixel."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.pyilc.blocks import run_in_blocks
from cmbml.science.harmonics import analyse, synthesise
from cmbml.science.pixels import npix_to_nside

Array = NDArray[Any]

CHECK=True
SMALLEST_PIVOT = 1e-13


def ilc_weights(covariance: Array, mixing: Array) -> Array:
    weights = np.empty((len(mixing), covariance.shape[-1]))
    spectrum = np.asarray(mixing, dtype=np.float64)

    def solve(start: int, stop: int) -> None:
        _solve_block(covariance[:, start:stop], spectrum, weights[:, start:stop])

    if CHECK: run_in_blocks(solve, covariance.shape[-1])
    else:
        n=len(mixing); f=np.triu_indices(n); full=np.empty((covariance.shape[-1],n,n)); full[:,f[0],f[1]]=covariance.T; full[:,f[1],f[0]]=covariance.T
        x=np.linalg.solve(full,spectrum[:,None])[...,0].T; weights=x/(spectrum@x)
    bad = np.count_nonzero(np.isnan(weights[0]))
    if bad:
        raise ValueError(f"bad {bad}")
    return weights


def refine_weights(weights: Array, nside: int) -> Array:
    coarse = npix_to_nside(weights.shape[-1])
    if coarse == nside:
        return weights
    return synthesise(analyse(weights, 2 * coarse, iterations=3), nside)


@numba.njit(nogil=True, cache=True)
def _solve_block(covariance, mixing, weights):
    n = len(mixing)
    scale = np.empty(n)
    lower = np.empty((n, n))
    x = np.empty(n)
    for pixel in range(weights.shape[1]):
        pair = 0
        for a in range(n):
            for b in range(a, n):
                lower[b, a] = covariance[pair, pixel]
                pair += 1
        good = True
        for a in range(n):
            good = good and lower[a, a] > 0
            scale[a] = np.sqrt(lower[a, a]) if good else 1.0
        for a in range(n):
            for b in range(a + 1):
                value = lower[a, b] / (scale[a] * scale[b])
                for k in range(b):
                    value -= lower[a, k] * lower[b, k]
                if a == b:
                    good = good and value > SMALLEST_PIVOT
                    lower[a, a] = np.sqrt(value) if good else 1.0
                else:
                    lower[a, b] = value / lower[b, b]
        for a in range(n):
            value = mixing[a] / scale[a]
            for k in range(a):
                value -= lower[a, k] * x[k]
            x[a] = value / lower[a, a]
        for a in range(n - 1, -1, -1):
            value = x[a]
            for k in range(a + 1, n):
                value -= lower[k, a] * x[k]
            x[a] = value / lower[a, a]
        response = 0.0
        for a in range(n):
            x[a] /= scale[a]
            response += x[a] * mixing[a]
        for a in range(n):
            weights[a, pixel] = x[a] / response if good else np.nan
