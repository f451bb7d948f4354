"""Soft edges of masks."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.science.harmonics import analyse, filter_alm, synthesise
from cmbml.science.masks import check_mask
from cmbml.science.pixels import npix_to_nside

Array = NDArray[Any]
Taper = Literal["C1", "C2", "smooth"]

TAPERS = ("C1", "C2", "smooth")

_EDGES: Mapping[str, Callable[[Array], Array]] = {
    "C1": lambda x: x - np.sin(2 * np.pi * x) / (2 * np.pi),
    "C2": lambda x: (1 - np.cos(np.pi * x)) / 2,
}

_GROWTH = 2.5
"""By how many widths the taper "smooth" widens the holes before it smooths (NaMaster's choice)."""

_NEGLIGIBLE = 1e-3
"""The taper "smooth" has no end: a weight this close to 1 counts as 1. That is 5.6 widths from the hole."""

_LAST_WINDOW = 1e-8
"""Multipoles that the smoothing leaves less of are not computed."""


def apodise(mask: Array, width_deg: float, *, taper: Taper = "C1") -> NDArray[np.float64]:
    """Return the mask tapered towards its holes; it only shrinks.

    "C1" and "C2" multiply each pixel by a function of its distance theta to the
    nearest pixel of weight 0 (between the centres), which rises from 0 to 1
    over theta_* = `width_deg`:

        C1: f = x - sin(2 pi x) / (2 pi)
        C2: f = (1 - cos(pi x)) / 2
        x = sqrt[(1 - cos theta) / (1 - cos theta_*)], and f = 1 for x >= 1.

    "smooth" also leaves out all pixels within 2.5 theta_* of a hole, smooths
    what is left with a Gaussian of standard deviation theta_*, and multiplies
    the mask by it; what is within 1e-3 of 1 counts as 1.

    Parameters
    ----------
    mask
        Shape (npix,), RING, between 0 and 1. It is not changed.
    width_deg
        Width theta_* of the taper in degrees, between 0 (no taper) and 180.
    taper
        "C1", "C2" or "smooth".

    Returns
    -------
    numpy.ndarray
        Shape (npix,), nowhere above `mask`. Equal to it beyond theta_* (C1, C2)
        or about 5.6 theta_* (smooth) from the holes.

    Raises
    ------
    ValueError
        If `mask` leaves the range from 0 to 1, or `width_deg` the range from 0
        to 180, or the taper is not known, or "smooth" is to be narrower than a
        pixel.

    References
    ----------
    Grain, Tristram & Stompor 2009, Phys. Rev. D 79, 123515 (the functions C1
    and C2); Alonso, Sanchez & Slosar 2019, MNRAS 484, 4127 (the variable x on
    the sphere, and "smooth", as in NaMaster's `mask_apodization`).
    """
    if taper not in TAPERS:
        raise ValueError(f"taper {taper!r}: must be one of {', '.join(TAPERS)}")
    if not 0 <= width_deg <= 180:
        raise ValueError(f"apodisation of {width_deg} deg: must lie between 0 and 180")
    whole = check_mask(mask).astype(np.float64)  # a copy
    if width_deg == 0 or whole.all():
        return whole
    width = math.radians(width_deg)
    if taper == "smooth":
        return whole * _smooth_edge(whole == 0, width)
    distance = distance_to_holes(whole == 0, furthest=width)
    x = np.sin(np.minimum(distance, width) / 2) / math.sin(width / 2)  # the x above: 1 - cos is 2 sin^2
    return whole * _EDGES[taper](x)


def distance_to_holes(holes: NDArray[np.bool_], *, furthest: float) -> NDArray[np.float64]:
    """Return how far the centre of every pixel is from that of the nearest hole.

    Parameters
    ----------
    holes
        Shape (npix,), RING: True where a pixel is left out.
    furthest
        Distance in radians up to which the result is exact; beyond it is
        anything that is not below.

    Returns
    -------
    numpy.ndarray
        Shape (npix,), radians, 0 in the holes.
    """
    if not holes.any():
        return np.full(holes.size, np.pi)
    distance: NDArray[np.float64] = hp.dist2holes(holes, maxdist=furthest)
    if distance[holes].any():
        # HEALPix marks a hole by 0; healpy 1.19 and 1.20 take anything else for one.
        distance = hp.dist2holes(~holes, maxdist=furthest)
    return distance


def _smooth_edge(holes: NDArray[np.bool_], width: float) -> NDArray[np.float64]:
    """Return the weights by which the taper "smooth" multiplies a mask."""
    nside = npix_to_nside(holes.size)
    if width < hp.nside2resol(nside):
        raise ValueError(
            f"taper smooth of {math.degrees(width):.3g} deg: must not be narrower than a pixel, "
            f"{math.degrees(hp.nside2resol(nside)):.3g} deg at nside {nside}; widen it or take C1"
        )
    furthest = _GROWTH * width
    grown = distance_to_holes(holes, furthest=min(furthest, np.pi)) < furthest
    if grown.all():
        return np.zeros(holes.size)
    lmax = min(3 * nside - 1, math.ceil(math.sqrt(-2 * math.log(_LAST_WINDOW)) / width))
    ell = np.arange(lmax + 1)
    # The holes are smoothed, not the sky: a constant is what one quadrature gets wrong near the poles.
    alm = filter_alm(
        analyse(grown.astype(np.float64), lmax, iterations=0), np.exp(-ell * (ell + 1) * width**2 / 2)
    )
    weights = np.clip(1 - synthesise(alm, nside), 0, 1)
    return np.where(weights > 1 - _NEGLIGIBLE, 1.0, weights)
