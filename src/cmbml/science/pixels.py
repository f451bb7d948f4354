"""HEALPix pixel numbers and their checks."""

import healpy as hp
import numpy as np
from numpy.typing import NDArray


def check_nside(nside: int) -> int:
    """Return `nside` if it is a resolution HEALPix knows in both orderings.

    Raises
    ------
    ValueError
        If `nside` is not a power of two between 1 and 2**29.
    """
    if nside < 1 or nside > 2**29 or nside & (nside - 1):
        raise ValueError(f"nside {nside}: must be a power of two, such as 64, 128 or 512")
    return nside


def nside_to_npix(nside: int) -> int:
    """Return the number of pixels of a full-sky map, 12 nside^2."""
    return 12 * check_nside(nside) ** 2


def npix_to_nside(npix: int) -> int:
    """Return the resolution of a full-sky map of `npix` pixels.

    Raises
    ------
    ValueError
        If no power of two `nside` has that many pixels.
    """
    nside: int = round((npix / 12) ** 0.5)
    if npix < 12 or 12 * nside**2 != npix or nside & (nside - 1):
        raise ValueError(f"a map of {npix} pixels is no full HEALPix sky (12 nside^2 pixels)")
    return nside


def check_band_limit(lmax: int, nside: int) -> int:
    """Return `lmax` if a map of resolution `nside` can carry it.

    Raises
    ------
    ValueError
        If `lmax` is below 2 or above 3 nside - 1.
    """
    if not 2 <= lmax <= 3 * nside - 1:
        raise ValueError(
            f"lmax {lmax}: must lie between 2 and 3 nside - 1 = {3 * nside - 1} at nside {nside}; "
            "lower lmax or raise nside"
        )
    return lmax


def galactic_latitude(nside: int) -> NDArray[np.float64]:
    """Return the latitude of every pixel centre in radians, RING order.

    Returns
    -------
    numpy.ndarray
        Shape (npix,), between -pi/2 and pi/2.
    """
    colatitude, _ = hp.pix2ang(nside, np.arange(nside_to_npix(nside)))
    latitude: NDArray[np.float64] = np.pi / 2 - colatitude
    return latitude
