"""The sixteen symmetries of the HEALPix sphere that move pixels onto pixels."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.science.pixels import nside_to_npix
from cmbml.science.seeds import generator_of

N_SYMMETRIES = 16

_LONGITUDE, _SOUTH = 4, 8
"""What a mirror in longitude, and one that exchanges north and south, add to a symmetry's number."""


def is_mirror(number: int) -> bool:
    """Return whether a symmetry shows the sky in one mirror, so that U changes sign; two undo this."""
    return bool(number & _LONGITUDE) != bool(number & _SOUTH)


@lru_cache(maxsize=4)
def pixel_table(nside: int) -> NDArray[np.int32]:
    """Return where each symmetry takes the value of every pixel from.

    Symmetry k + 4 m + 8 s turns the sky about its axis by k times 90 degrees, then
    mirrors longitudes if m is 1, then exchanges north and south if s is 1. It is
    number 0 that leaves the sky as it is.

    Returns
    -------
    numpy.ndarray
        RING pixel numbers, shape (16, npix), every row a permutation; not to be written to.

    Notes
    -----
    The signs and the order of the coordinates of pixel centres are all that changes: there is no rounding.
    """
    x, y, z = hp.pix2vec(nside, np.arange(nside_to_npix(nside)))
    table = np.empty((N_SYMMETRIES, len(x)), np.int32)
    for number in range(N_SYMMETRIES):
        seen = x, -y if number & _LONGITUDE else y, -z if number & _SOUTH else z
        for _ in range(number % 4):
            seen = seen[1], -seen[0], seen[2]
        table[number] = hp.vec2pix(nside, *seen)
    table.flags.writeable = False
    return table


@dataclass(frozen=True, eq=False)
class SphereSymmetry:
    """Shows every sky in one of its sixteen symmetries, another one in each epoch.

    Foregrounds keep their distance from the Galactic plane, and everything else on
    the sky is as probable as before: sixteen skies from one.

    Parameters
    ----------
    nside
        Resolution.
    seed
        The draws follow from it, the epoch and the sky's id.
    layout
        RING number of the pixel at each place of the arrays, such as
        `cmbml.science.planes.plane_index`; None for maps in RING order.
    feature_flips, target_flips
        Numbers of the features and of the target's fields that change sign in a mirror: those of U.

    Raises
    ------
    ValueError
        If the layout does not hold every pixel once.
    """

    nside: int
    seed: int
    layout: NDArray[Any] | None = None
    feature_flips: tuple[int, ...] = ()
    target_flips: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        npix = nside_to_npix(self.nside)
        if self.layout is not None and not np.array_equal(np.sort(self.layout, axis=None), np.arange(npix)):
            raise ValueError(
                f"a layout of shape {self.layout.shape} must hold each of the {npix} pixels of nside "
                f"{self.nside} once"
            )

    @cached_property
    def table(self) -> NDArray[np.int32]:
        """Which place of the flattened arrays each symmetry takes every value from, shape (16, npix)."""
        pixels = pixel_table(self.nside)
        if self.layout is None:
            return pixels
        layout = self.layout.ravel()
        place = np.empty(layout.size, np.int32)
        place[layout] = np.arange(layout.size, dtype=np.int32)
        return place[pixels[:, layout]]

    def draw(self, epoch: int, sky: str) -> int:
        """Return the number of the symmetry that a sky has in an epoch.

        In sixteen epochs from one that is a multiple of 16, a sky has each of them once.

        Parameters
        ----------
        epoch
            From 0.
        sky
            Id of the sky.
        """
        cycle, place = divmod(epoch, N_SYMMETRIES)
        order = generator_of(self.seed, "symmetry", sky, str(cycle)).permutation(N_SYMMETRIES)
        return int(order[place])

    def apply(self, array: NDArray[Any], number: int, *, flips: tuple[int, ...] = ()) -> NDArray[Any]:
        """Return an array of one sky in another symmetry.

        Parameters
        ----------
        array
            Shape ``(n, *space)``, where ``space`` has one place per pixel.
        number
            Of the symmetry, see `pixel_table`.
        flips
            Rows that change sign in a mirror.

        Returns
        -------
        numpy.ndarray
            Of the same shape, a copy.

        Raises
        ------
        ValueError
            If space does not have the pixels of nside.
        """
        flat = array.reshape(len(array), -1)
        if flat.shape[1] != nside_to_npix(self.nside):
            raise ValueError(
                f"an array of shape {array.shape} has {flat.shape[1]} places in each row, the symmetries are "
                f"those of nside {self.nside} with {nside_to_npix(self.nside)}"
            )
        moved: NDArray[Any] = np.take(flat, self.table[number], axis=1).reshape(array.shape)
        if flips and is_mirror(number):
            for row in flips:
                np.negative(moved[row], out=moved[row])
        return moved

    def __getstate__(self) -> dict[str, Any]:
        """Leave the table behind: a worker makes its own in less time than it takes to send."""
        return {key: value for key, value in self.__dict__.items() if key != "table"}
