"""Maps at another resolution, through their coefficients."""

from typing import Any

from numpy.typing import NDArray

from cmbml.science.harmonics import alm_lmax, alm_to_map, change_lmax, map_to_alm
from cmbml.science.pixels import npix_to_nside

Array = NDArray[Any]


def resample(maps: Array, nside: int) -> Array:
    """Return maps at another resolution: what their pixels resolve, cut where the new pixels end.

    The maps are analysed up to 3 nside_in - 1 with three iterations, and put together again from the
    multipoles up to 3 nside - 1. No pixel window is divided out or applied.

    Parameters
    ----------
    maps
        Shape (1, npix) for I or (3, npix) for I, Q, U; without holes.
    nside
        Resolution of the result.

    Returns
    -------
    numpy.ndarray
        Shape (1 | 3, 12 nside^2), in the precision of `maps`.

    Raises
    ------
    ValueError
        If there are neither one nor three fields.
    """
    alm = map_to_alm(maps, 3 * npix_to_nside(maps.shape[-1]) - 1)
    return alm_to_map(change_lmax(alm, min(alm_lmax(alm), 3 * nside - 1)), nside)
