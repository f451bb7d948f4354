"""The sphere as a plane: the twelve base pixels of HEALPix laid out side by side.

A plane is an index array and nothing else, so that the same array rearranges
maps of any number of fields, of NumPy or of any library that indexes like it,
and rearranging back is exact.

References
----------
Wang et al. 2022, ApJS 260, 13, arXiv:2204.01820, section 3: sphere to plane.
"""

from functools import lru_cache
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.science.pixels import check_nside, npix_to_nside

BLOCKS = ((2, 6, 9), (3, 7, 10), (0, 4, 11), (1, 5, 8))
"""Base pixels of the plane's blocks, from the top row down: each row a northern, an equatorial and a southern
one."""


@lru_cache(maxsize=8)
def plane_index(nside: int) -> NDArray[np.int64]:
    """Return which pixel of a map lies where in the plane.

    In the block of a base pixel, row r and column c hold its pixel with x = nside - 1 - c and
    y = nside - 1 - r, in the coordinates of the base pixel that NESTED order interleaves.

    Parameters
    ----------
    nside
        Resolution, a power of two.

    Returns
    -------
    numpy.ndarray
        RING pixel numbers, shape (4 nside, 3 nside), each once; not to be written to.

    Raises
    ------
    ValueError
        If `nside` is not a power of two.
    """
    row, column = np.indices((4 * check_nside(nside), 3 * nside))
    face = np.array(BLOCKS)[row // nside, column // nside]
    index: NDArray[np.int64] = hp.xyf2pix(nside, nside - 1 - column % nside, nside - 1 - row % nside, face)
    index.flags.writeable = False
    return index


@lru_cache(maxsize=8)
def sphere_index(nside: int) -> NDArray[np.int64]:
    """Return which place of the flattened plane holds each pixel of a map.

    Returns
    -------
    numpy.ndarray
        Shape (npix,), RING; the inverse permutation of `plane_index`; not to be written to.
    """
    index = np.argsort(plane_index(nside), axis=None)
    index.flags.writeable = False
    return index


def map_to_plane(maps: Any) -> Any:
    """Lay maps out in the plane.

    Parameters
    ----------
    maps
        Array or tensor of shape (..., npix), RING.

    Returns
    -------
    array or tensor
        Shape (..., 4 nside, 3 nside), a copy.

    Raises
    ------
    ValueError
        If the last axis is no full sky.
    """
    return _taken(maps, plane_index(npix_to_nside(maps.shape[-1])))


def plane_to_map(planes: Any) -> Any:
    """Bring planes back to maps.

    Parameters
    ----------
    planes
        Array or tensor of shape (..., 4 nside, 3 nside).

    Returns
    -------
    array or tensor
        Shape (..., npix), RING, a copy.

    Raises
    ------
    ValueError
        If the last two axes are not 4 nside and 3 nside.
    """
    rows, columns = planes.shape[-2:]
    if rows % 4 or columns * 4 != rows * 3:
        raise ValueError(
            f"a plane of {rows} rows and {columns} columns is no sky: it has 4 nside rows and 3 nside columns"
        )
    flat = planes.reshape(*planes.shape[:-2], rows * columns)
    return _taken(flat, sphere_index(rows // 4))


def _taken(maps: Any, index: NDArray[np.int64]) -> Any:
    """Return the pixels of an index along the last axis."""
    if isinstance(maps, np.ndarray):
        return np.take(maps, index, axis=-1)  # in less time than by indexing
    return maps[..., index.copy()]  # torch wants an index that could be written to
