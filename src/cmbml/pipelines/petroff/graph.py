"""The sphere as a graph: pixels, their neighbours, and the Laplacian that networks filter with.

Pixels are in NESTED order, so that the four children of pixel p are 4 p ... 4 p + 3, and neighbours lie close
to each other in memory.

A Laplacian of the sphere has at most nine entries in a row: the pixel itself and its eight neighbours. It is
kept as such a table, which a product can run through without looking anything up.

References
----------
Perraudin et al. 2019, Astronomy and Computing 27, 130, arXiv:1810.12186, section 3 (HEALPix as a graph).
Petroff et al. 2020, ApJ 903, 104, arXiv:2004.11507, section 2 (its weighting).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import healpy as hp
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from cmbml.pipelines.petroff.eigenvalues import LARGEST, largest_eigenvalue
from cmbml.science.pixels import check_nside, nside_to_npix

Array = NDArray[Any]

Weighting = Literal["petroff", "deepsphere"]

_WIDTHS = {32: 0.025, 64: 0.01228, 128: 0.00614, 256: 0.00307, 512: 0.00154, 1024: 0.00077}
"""Widths of Petroff et al.'s weighting, in radians of chord, by nside."""

_SAFETY = 1.02
"""Petroff et al. take the largest eigenvalue a little larger than it is found to be."""

_SPREAD = 0.75
"""Petroff et al. bring the spectrum to [-1, 2 * 0.75 / 1.02 - 1]."""


@dataclass(frozen=True, eq=False)
class SphereGraph:
    """A sparse symmetric matrix over the pixels of a resolution, nine entries to a row.

    Parameters
    ----------
    nside
        Resolution.
    columns
        Shape (npix, 9), int32, NESTED: the pixel itself, then its neighbours; where one is missing, the pixel
        itself with the value 0.
    values
        Shape (npix, 9), float32.
    """

    nside: int
    columns: Array
    values: Array

    @property
    def npix(self) -> int:
        """Number of pixels."""
        return len(self.columns)

    def matrix(self) -> "csr_array[Any]":
        """Return it as a sparse matrix, shape (npix, npix)."""
        start = np.arange(0, self.columns.size + 1, self.columns.shape[1])
        entries = (self.values.flatten(), self.columns.flatten(), start)
        matrix = csr_array(entries, shape=(self.npix, self.npix))
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        return matrix


def neighbours(nside: int) -> Array:
    """Return the eight neighbours of every pixel, -1 where there is none.

    Returns
    -------
    numpy.ndarray
        Shape (npix, 8), int64, NESTED. At nside 1 and 2 a neighbour may be listed twice.
    """
    pixels = np.arange(nside_to_npix(nside))
    return np.ascontiguousarray(hp.get_all_neighbours(nside, pixels, nest=True).T)


def kernel_width(nside: int) -> float:
    """Return the width w of Petroff et al.'s weighting, in radians.

    The published table has nside 32 to 1024. Elsewhere it is continued by the straight line in log w and
    log nside that fits the table best.
    """
    if nside in _WIDTHS:
        return _WIDTHS[nside]
    line = np.polyfit(np.log(list(_WIDTHS)), np.log(list(_WIDTHS.values())), 1)
    return float(np.exp(np.polyval(line, np.log(nside))))


@lru_cache(maxsize=32)
def scaled_laplacian(nside: int, weighting: Weighting) -> SphereGraph:
    """Return the Laplacian of a resolution, its spectrum scaled to what Chebyshev polynomials take.

    Parameters
    ----------
    nside
        Resolution, a power of two.
    weighting
        "petroff": weights exp(-d^2 ln 2 / w^2) of pairs of neighbours at the chord d, normalised Laplacian
        L = 1 - D^-1/2 W D^-1/2, scaled to 1.5 L / (1.02 lambda_max) - 1. "deepsphere": weights
        exp(-d^2 / (2 mean(d^2))), combinatorial Laplacian L = D - W, scaled to 2 L / (1.01 lambda_max) - 1.

    Returns
    -------
    SphereGraph
        Single precision; it must not be changed.

    Raises
    ------
    ValueError
        If `nside` is no power of two.
    """
    graph = laplacian(nside, weighting)
    largest = LARGEST.get((weighting, nside)) or largest_eigenvalue(graph.matrix())
    values = graph.values  # nobody else's: changed in place, at nside 512 they are 226 MB
    values *= 2 * _SPREAD / (_SAFETY * largest) if weighting == "petroff" else 2 / (1.01 * largest)
    values[:, 0] -= 1
    return _frozen(SphereGraph(nside, graph.columns, values.astype(np.float32)))


def laplacian(nside: int, weighting: Weighting) -> SphereGraph:
    """Return the Laplacian before it is scaled, see `scaled_laplacian`, double precision."""
    check_nside(nside)
    return _normalised(nside) if weighting == "petroff" else _combinatorial(nside)


def _normalised(nside: int) -> SphereGraph:
    columns, square = _pairs(nside)
    weights = np.exp(-square * np.log(2) / kernel_width(nside) ** 2) * (columns != columns[:, :1])
    scale = weights.sum(axis=1) ** -0.5
    for number, column in enumerate(columns.T):
        weights[:, number] *= -scale * scale[column]
    weights[:, 0] = 1
    return SphereGraph(nside, columns, weights)


def _combinatorial(nside: int) -> SphereGraph:
    columns, square = _pairs(nside)
    paired = columns != columns[:, :1]
    values = -np.exp(-square / (2 * square[paired].mean())) * paired
    values[:, 0] = -values.sum(axis=1)
    return SphereGraph(nside, columns, values)


def _pairs(nside: int) -> tuple[Array, Array]:
    """Return columns as a `SphereGraph` has them, and squares of the chords to them, shapes (npix, 9)."""
    pixels = np.arange(nside_to_npix(nside))
    found = neighbours(nside)
    around = np.where(found < 0, pixels[:, None], found)
    columns = np.concatenate([pixels[:, None], around], axis=1).astype(np.int32)
    places = np.stack(hp.pix2vec(nside, pixels, nest=True), axis=-1)  # (npix, 3)
    square = np.empty(columns.shape)
    for number in range(columns.shape[1]):
        square[:, number] = np.square(places - places[columns[:, number]]).sum(axis=1)
    return columns, square


def _frozen(graph: SphereGraph) -> SphereGraph:
    graph.columns.flags.writeable = graph.values.flags.writeable = False
    return graph
