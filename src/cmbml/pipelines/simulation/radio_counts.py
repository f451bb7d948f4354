"""How many radio sources there are of which flux: published counts, their integrals, and draws from them."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

REFERENCE_GHZ = 148.0
"""Frequency of all fluxes here."""

COUNTS = (
    (1.00e-4, 1.16e9),
    (1.58e-4, 5.02e8),
    (2.51e-4, 2.30e8),
    (3.98e-4, 9.99e7),
    (6.31e-4, 4.38e7),
    (1.00e-3, 1.85e7),
    (1.58e-3, 7.64e6),
    (2.51e-3, 3.17e6),
    (3.98e-3, 1.25e6),
    (6.31e-3, 4.94e5),
    (1.00e-2, 1.98e5),
    (1.58e-2, 7.29e4),
    (2.51e-2, 2.85e4),
    (3.98e-2, 1.10e4),
    (6.31e-2, 4310.0),
    (0.100, 1710.0),
    (0.158, 669.0),
    (0.251, 259.0),
    (0.398, 102.0),
    (0.631, 38.9),
    (1.00, 14.0),
    (1.58, 4.85),
    (2.51, 1.62),
    (3.98, 0.503),
    (6.31, 0.144),
    (10.0, 0.0407),
    (15.8, 0.0115),
)
"""Flux in Jy and dN/dS in 1/Jy/sr at 148 GHz, power laws in between.

Model C2Ex of Tucci et al. 2011, A&A 533, A57, which fits the counts of ACT, SPT and
Planck; sources outside of the table are left out, fainter ones have 1e-4 of the power.
"""


@lru_cache(maxsize=1)
def _segments() -> tuple[Array, Array, Array]:
    """Return edges of the power laws, and of each its dN/dS at the lower edge and its slope."""
    flux, density = np.array(COUNTS).T
    slope = np.diff(np.log(density)) / np.diff(np.log(flux))
    return flux, density[:-1], slope


def moment(order: int, low: float, high: float) -> float:
    """Return the integral of S^order dN/dS between two fluxes.

    Parameters
    ----------
    order
        0 for the number of sources, 1 for their brightness, 2 for their shot noise.
    low, high
        Fluxes in Jy.

    Returns
    -------
    float
        In Jy^order / sr.
    """
    edges, density, slope = _segments()
    lower, upper = np.clip(edges[:-1], low, high), np.clip(edges[1:], low, high)
    power = slope + order + 1
    parts = density * edges[:-1] ** -slope * (upper**power - lower**power) / power
    return float(parts.sum())


def draw_fluxes(generator: np.random.Generator, number: int, low: float) -> Array:
    """Draw fluxes above a lowest one.

    Parameters
    ----------
    generator
        Of these draws alone.
    number
        How many.
    low
        Lowest flux in Jy.

    Returns
    -------
    numpy.ndarray
        Shape (number,), Jy at `REFERENCE_GHZ`.
    """
    edges, density, slope = _segments()
    lower = np.maximum(edges[:-1], low)
    power = slope + 1
    scale = density * edges[:-1] ** -slope / power  # the number below S in a segment is scale S^power + const
    numbers = np.where(edges[1:] > low, scale * (edges[1:] ** power - lower**power), 0)
    cumulated = np.concatenate([[0], np.cumsum(numbers)])
    wanted = generator.random(number) * cumulated[-1]
    segment = np.searchsorted(cumulated, wanted, side="right") - 1
    rest = wanted - cumulated[segment]
    fluxes: Array = (lower[segment] ** power[segment] + rest / scale[segment]) ** (1 / power[segment])
    return fluxes
