"""Masks of the sky, and what is fitted or averaged under them.

A mask is a map of weights between 0 and 1: 1 keeps a pixel, 0 leaves it out.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import healpy as hp
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from cmbml.science.pixels import galactic_latitude, npix_to_nside

Array = NDArray[Any]
Taper = Literal["C1", "C2"]

_TAPERS: Mapping[str, Callable[[Array], Array]] = {
    "C1": lambda x: x - np.sin(2 * np.pi * x) / (2 * np.pi),
    "C2": lambda x: (1 - np.cos(np.pi * x)) / 2,
}

_NO_VALUE_BELOW = 0.5 * hp.UNSEEN
"""HEALPix marks pixels without a value by -1.6375e30; half of it keeps clear of float32 rounding."""


def galactic_mask(nside: int, latitude_deg: float) -> NDArray[np.float64]:
    """Return the mask that leaves out a band around the Galactic plane.

    Parameters
    ----------
    nside
        Resolution.
    latitude_deg
        Pixels whose centre has abs(b) below this many degrees are left out;
        0 keeps the whole sky.

    Returns
    -------
    numpy.ndarray
        Shape (npix,), RING: 0 in the band, 1 elsewhere.

    Raises
    ------
    ValueError
        If `latitude_deg` is negative, or 90 or more.
    """
    if not 0 <= latitude_deg < 90:
        raise ValueError(
            f"mask latitude {latitude_deg} deg: must be at least 0 and below 90, where nothing would be kept"
        )
    mask: NDArray[np.float64] = (np.abs(galactic_latitude(nside)) >= np.radians(latitude_deg)).astype(float)
    return mask


def apodise(mask: Array, width_deg: float, *, taper: Taper = "C1") -> NDArray[np.float64]:
    """Return the mask tapered towards its holes; it only shrinks.

    Each pixel is multiplied by a function of its distance theta to the nearest
    pixel of weight 0 (between the centres), which rises from 0 to 1 over
    theta_* = `width_deg`:

        C1: f = x - sin(2 pi x) / (2 pi)
        C2: f = (1 - cos(pi x)) / 2
        x = sqrt[(1 - cos theta) / (1 - cos theta_*)], and f = 1 for x >= 1.

    Parameters
    ----------
    mask
        Shape (npix,), RING, between 0 and 1. It is not changed.
    width_deg
        Width theta_* of the taper in degrees, between 0 (no taper) and 180.
    taper
        "C1" or "C2".

    Returns
    -------
    numpy.ndarray
        Shape (npix,), nowhere above `mask`, equal to it beyond theta_*.

    Raises
    ------
    ValueError
        If `mask` leaves the range from 0 to 1, or `width_deg` the range from 0
        to 180, or the taper is not known.

    References
    ----------
    Grain, Tristram & Stompor 2009, Phys. Rev. D 79, 123515 (the functions C1
    and C2); Alonso, Sanchez & Slosar 2019, MNRAS 484, 4127 (the variable x on
    the sphere, as in NaMaster).
    """
    if taper not in _TAPERS:
        raise ValueError(f"taper {taper!r}: must be one of {', '.join(_TAPERS)}")
    if not 0 <= width_deg <= 180:
        raise ValueError(f"apodisation of {width_deg} deg: must lie between 0 and 180")
    tapered = check_mask(mask).astype(np.float64)  # a copy
    holes = tapered == 0
    if width_deg == 0 or not holes.any():
        return tapered
    vectors = np.stack(hp.pix2vec(npix_to_nside(mask.size), np.arange(mask.size)), axis=-1)  # (npix, 3)
    # A chord has length sqrt[2 (1 - cos theta)], so that x is a ratio of chords.
    longest = 2 * np.sin(np.radians(width_deg) / 2)
    chords, _ = KDTree(vectors[holes]).query(vectors[~holes], distance_upper_bound=longest)  # inf beyond
    tapered[~holes] *= _TAPERS[taper](np.minimum(chords / longest, 1))
    return tapered


def check_mask(mask: Array) -> Array:
    """Return the mask if its weights lie between 0 and 1.

    Raises
    ------
    ValueError
        If a weight is below 0, above 1 or not a number.
    """
    if not (np.all(mask >= 0) and np.all(mask <= 1)):
        raise ValueError(
            f"mask: weights range from {np.min(mask):g} to {np.max(mask):g}, must lie between 0 and 1"
        )
    return mask


def fsky(mask: Array) -> float:
    """Return the fraction of the sky that a mask keeps: the mean of its weights."""
    return float(np.mean(mask, dtype=np.float64))


def fsky_power(mask: Array) -> float:
    """Return the fraction of power that a mask keeps: the mean of its squared weights."""
    return float(np.mean(np.square(mask, dtype=np.float64)))


def check_values(maps: Array, mask: Array, *, name: str) -> Array:
    """Return the maps if every pixel that the mask keeps has a value.

    Parameters
    ----------
    maps
        Shape (n_stokes, npix) or (npix,).
    mask
        Shape (npix,); a pixel is kept where it is above 0.
    name
        What the error calls the maps.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a kept pixel is NaN, infinite or UNSEEN.
    """
    if maps.shape[-1] != mask.shape[-1]:
        raise ValueError(
            f"{name}: map has npix {maps.shape[-1]}, the mask has {mask.shape[-1]}; bring both to one nside"
        )
    with_value = np.isfinite(maps) & (maps > _NO_VALUE_BELOW)
    bad = np.any(~np.atleast_2d(with_value), axis=0) & (mask > 0)
    if bad.any():
        raise ValueError(
            f"{name}: {np.count_nonzero(bad)} pixels that the mask keeps have no value "
            f"(NaN, infinite or UNSEEN), the first is pixel {np.argmax(bad)}; mask them or repair the map"
        )
    return maps


def remove_monopole_dipole(maps: Array, mask: Array) -> Array:
    """Return the maps without the monopole and dipole that the kept sky shows.

    The intensity is fitted by a_0 + a . n over the pixels, weighted by the mask
    (least squares), and the fit is subtracted from every pixel, masked ones
    too. Q and U have no monopole or dipole and stay as they are.

    Parameters
    ----------
    maps
        Shape (n_stokes, npix), RING, I first. They are not changed.
    mask
        Shape (npix,), weights between 0 and 1. Where it is 0, the values of
        the maps do not matter.

    Returns
    -------
    numpy.ndarray
        Shape and precision of `maps`.

    Raises
    ------
    ValueError
        If the kept pixels are too few, or lie too special, to tell monopole
        and dipole apart, or one of them has no value.
    """
    check_values(maps[0], mask, name="intensity")
    vectors = hp.pix2vec(npix_to_nside(maps.shape[-1]), np.arange(maps.shape[-1]))
    basis = np.stack([np.ones_like(vectors[0]), *vectors])  # (4, npix)
    kept = np.flatnonzero(mask > 0)
    weighted = basis[:, kept] * mask[kept]  # (4, n_kept)
    normal = weighted @ basis[:, kept].T  # (4, 4)
    if np.linalg.matrix_rank(normal) < len(basis):
        raise ValueError(
            f"monopole and dipole: the mask keeps {kept.size} pixels, "
            "which do not determine the four numbers; take a smaller mask"
        )
    fit = np.linalg.solve(normal, weighted @ maps[0, kept].astype(np.float64))
    cleaned = maps.copy()
    cleaned[0] = maps[0] - fit @ basis
    return cleaned
