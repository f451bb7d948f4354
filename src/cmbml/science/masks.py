"""Masks of the sky, and what is fitted or averaged under them.

A mask is a map of weights between 0 and 1: 1 keeps a pixel, 0 leaves it out.
"""

from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.science.pixels import galactic_latitude, npix_to_nside, nside_to_npix

Array = NDArray[Any]

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


def degrade_mask(mask: Array, nside: int, *, threshold: float) -> NDArray[np.float64]:
    """Return a mask at another resolution, of weights 0 and 1.

    A pixel is kept where the mean of the mask over it is at least the threshold. A finer
    result takes the weight of the pixel around it.

    Parameters
    ----------
    mask
        Shape (npix,), RING, between 0 and 1.
    nside
        Resolution of the result.
    threshold
        Above 0, at most 1; applied at equal resolution as well.

    Returns
    -------
    numpy.ndarray
        Shape (12 nside^2,), RING, 0 or 1.

    Raises
    ------
    ValueError
        If `mask` leaves the range from 0 to 1, or the threshold its own.
    """
    if not 0 < threshold <= 1:
        raise ValueError(
            f"mask threshold {threshold}: must be above 0, where all would be kept, and at most 1"
        )
    npix = nside_to_npix(nside)
    children = hp.reorder(check_mask(mask), r2n=True)  # those of one pixel are neighbours in NESTED order
    if npix < mask.size:
        means = children.reshape(npix, -1).mean(axis=1, dtype=np.float64)
    else:
        means = np.repeat(children, npix // mask.size)
    kept: NDArray[np.float64] = hp.reorder((means >= threshold).astype(np.float64), n2r=True)
    return kept


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


def fsky_modes(mask: Array) -> float:
    """Return the fraction of a sky's modes that is left under a mask.

    mean(w^2)^2 / mean(w^4), in the paper's symbols f_sky w_2^2 / w_4: power in bands that
    are wider than the mask couples multipoles scatters as if there were this times 2l + 1
    modes at every multipole.

    Raises
    ------
    ValueError
        If the mask keeps nothing.

    References
    ----------
    Hivon et al. 2002, Astrophys. J. 567, 2 (the number of degrees of freedom, nu_b).
    """
    squares = np.square(mask, dtype=np.float64)
    if not squares.any():
        raise ValueError("mask: it keeps no pixel; take a smaller cut or a narrower taper")
    return float(np.mean(squares) ** 2 / np.mean(squares**2))


def check_values(maps: Array, mask: Array, *, name: str) -> Array:
    """Return the maps if every pixel that the mask keeps has a value.

    Parameters
    ----------
    maps
        Shape (n_stokes, npix) or (npix,).
    mask
        Shape (npix,), or that of the maps; a pixel is kept where it is above 0.
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
    bad = np.any(np.atleast_2d(~with_value & (mask > 0)), axis=0)
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
