"""A map of the sky that knows its unit and its fields."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.science.pixels import npix_to_nside
from cmbml.science.units import parse_unit, unit_factor

UNSEEN = hp.UNSEEN
"""Value of a pixel that was not observed, as HEALPix marks it."""

_UNSEEN_TOLERANCE = 1e-5
"""Relative; healpy's `mask_bad` takes the same, wide enough for UNSEEN kept in single precision."""

_PURE_NUMBERS = ("", "1", "none", "unitless", "dimensionless")
_DEFAULT_FIELDS = {1: ("I",), 3: ("I", "Q", "U")}

HeaderValue = str | int | float | bool

_BEAM_CARD, _LMAX_CARD = "FWHMARC", "LMAX"
_ROUNDING = 1e-6


def map_unit(text: str) -> str:
    """Return the one spelling of a map's unit; "" for a pure number (a mask).

    Raises
    ------
    ValueError
        If `text` is neither a unit that `parse_unit` reads nor one of "", "1",
        "none", "unitless", "dimensionless".
    """
    return "" if text.strip().lower() in _PURE_NUMBERS else str(parse_unit(text))


def is_unseen(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a map holds HEALPix's UNSEEN, in the map's shape."""
    seen_as: NDArray[np.bool_] = np.abs(values - values.dtype.type(UNSEEN)) <= -UNSEEN * _UNSEEN_TOLERANCE
    return seen_as


@dataclass(frozen=True, eq=False)
class SkyMap:
    """Fields of one sky, RING order, Galactic, polarisation in the COSMO convention.

    Parameters
    ----------
    values
        Shape (n_fields, npix); pixels that were not observed hold UNSEEN.
    unit
        Unit of all fields, in any spelling `map_unit` reads; kept in its one spelling.
    fields
        What each row is: a Stokes field ("I", "Q", "U"), a (co)variance ("II",
        "QU", ...) or another quantity by its name. By default ("I",) for one row
        and ("I", "Q", "U") for three.
    header
        Further facts, by FITS key: where the map comes from.

    Raises
    ------
    ValueError
        If the shape is not that of full skies, the number of names differs from
        the number of rows, or the unit cannot be read.
    """

    values: NDArray[Any]
    unit: str
    fields: tuple[str, ...] = ()
    header: Mapping[str, HeaderValue] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if np.ndim(self.values) != 2:
            raise ValueError(
                f"a sky map has shape (n_fields, npix), also with one field; got {np.shape(self.values)}"
            )
        npix_to_nside(self.npix)
        fields = tuple(self.fields) or _DEFAULT_FIELDS.get(len(self.values), ())
        if len(fields) != len(self.values) or len(set(fields)) != len(fields):
            raise ValueError(
                f"a sky map of {len(self.values)} rows needs as many different field names; got {fields}"
            )
        object.__setattr__(self, "fields", fields)
        object.__setattr__(self, "unit", map_unit(self.unit))

    @property
    def npix(self) -> int:
        """Number of pixels."""
        return int(self.values.shape[-1])

    @property
    def nside(self) -> int:
        """Resolution."""
        return npix_to_nside(self.npix)

    @property
    def stokes(self) -> str:
        """Stokes fields it holds, such as "I" or "IQU"; "" for a map of other things."""
        return "".join(name for name in self.fields if name in ("I", "Q", "U"))

    def in_unit(self, unit: str, *, frequency_ghz: float | None = None) -> "SkyMap":
        """Return the map in another unit; UNSEEN stays UNSEEN.

        Parameters
        ----------
        unit
            Unit of the same power: of a map, or of a variance.
        frequency_ghz
            Centre frequency of the channel; needed between K_CMB, K_RJ and Jy/sr.

        Raises
        ------
        ValueError
            If the unit cannot become the other one (see `unit_factor`).
        """
        factor = unit_factor(self.unit, unit, frequency_ghz=frequency_ghz)
        values = np.array(self.values)
        np.multiply(values, factor, out=values, where=~is_unseen(values))
        return replace(self, values=values, unit=unit)


def beam_header(fwhm_arcmin: float, lmax: int) -> dict[str, HeaderValue]:
    """Return the cards by which a map says its beam (FWHM in arcmin) and its band limit."""
    return {_BEAM_CARD: float(fwhm_arcmin), _LMAX_CARD: int(lmax)}


def check_beam(sky: SkyMap, *, fwhm_arcmin: float, lmax: int, name: str) -> SkyMap:
    """Return the map if it is at this beam and band limit, or does not say.

    Parameters
    ----------
    sky
        The map, whose header may hold what `beam_header` writes.
    fwhm_arcmin, lmax
        What it is to have.
    name
        What the error calls the map.

    Raises
    ------
    ValueError
        If its header says another beam, or another band limit.
    """
    for (key, wanted), unit in zip(beam_header(fwhm_arcmin, lmax).items(), (" arcmin", ""), strict=True):
        stated = float(sky.header.get(key, wanted))
        if abs(stated - float(wanted)) > _ROUNDING * float(wanted):
            what = "beam" if key == _BEAM_CARD else "lmax"
            raise ValueError(
                f"{name}: made at {what} {stated:g}{unit}, to be compared at {wanted:g}{unit}; make it again "
                f"with this {what}, or restore the {what} it was made with"
            )
    return sky
