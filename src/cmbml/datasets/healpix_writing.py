"""Writing HEALPix maps to FITS files."""

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cmbml.datasets.fits_table import encode_tables
from cmbml.datasets.healpix_layout import (
    COLUMN_NAMES,
    LAYOUT_KEY,
    LEGAL_KEY,
    SIGN_OF_U,
    MapLayout,
    check_finite,
    check_size,
)
from cmbml.science.skymap import UNSEEN, HeaderValue, SkyMap

_ROW = 1024
"""Pixels in a row of the table, as HEALPix's own programs write them."""

_PRINTABLE = re.compile(r"^[ -~]*$")


def encode_map(
    sky_map: SkyMap,
    layout: MapLayout,
    *,
    column_names: tuple[str, ...] | None = None,
    header: Mapping[str, HeaderValue] | None = None,
) -> bytes:
    """Return a map as a FITS file: RING, float32, COSMO, Galactic, HDU 1.

    Parameters
    ----------
    sky_map
        The map; its header goes over `header`.
    layout
        What the catalog says about it; the map has to agree.
    column_names
        One per field; by default I_STOKES, II_COV, ... or the field's own name.
    header
        Further cards.

    Raises
    ------
    TypeError
        If `sky_map` is no SkyMap.
    ValueError
        If the map and the catalog contradict each other, pixels are NaN or
        infinite in float32, or a card is not legal in FITS.
    """
    values = written_values(sky_map, layout)
    names = column_names or tuple(COLUMN_NAMES.get(name, (name,))[0] for name in sky_map.fields)
    if len(names) != len(values):
        raise ValueError(f"column_names {', '.join(names)}: the map has {len(values)} fields")
    width = _ROW if sky_map.npix % _ROW == 0 else 1
    table = np.empty(
        sky_map.npix // width, dtype=[(name, ">f4", (width,) if width > 1 else ()) for name in names]
    )
    for name, row in zip(names, values, strict=True):
        table[name] = row.reshape(table[name].shape)
    cards = {**layout_cards(sky_map), **fact_cards({**(header or {}), **sky_map.header})}
    return encode_tables([table], units=[sky_map.unit] * len(names), cards=[cards])


def written_values(sky_map: SkyMap, layout: MapLayout) -> NDArray[np.float32]:
    """Return the pixels of a map as they are written: float32, and checked.

    Raises
    ------
    TypeError
        If `sky_map` is no SkyMap.
    ValueError
        If the map and the catalog contradict each other, or pixels are NaN or
        infinite in float32.
    """
    if not isinstance(sky_map, SkyMap):
        raise TypeError(
            f"a {type(sky_map).__name__} cannot be saved as a map; give a cmbml.science.skymap.SkyMap"
        )
    _check_agreement(sky_map, layout)
    with np.errstate(over="ignore"):  # found below, with its pixel
        values = np.asarray(sky_map.values, dtype=np.float32)
    check_finite(values, sky_map.fields, remedy="mark pixels that were not observed with healpy.UNSEEN")
    return values


def _check_agreement(sky_map: SkyMap, layout: MapLayout) -> None:
    if layout.ordering == "NESTED" or layout.polcconv == "IAU" or layout.hdu != 1:
        raise ValueError(
            "maps are saved in RING order, COSMO convention and HDU 1; this entry states otherwise "
            "and can only be read"
        )
    check_size(sky_map.npix, layout.nside)
    if layout.unit not in (None, sky_map.unit):
        raise ValueError(
            f"the map is in {sky_map.unit!r}, the catalog entry states unit {layout.unit!r}; "
            "convert it before saving"
        )


def layout_cards(sky_map: SkyMap) -> dict[str, tuple[HeaderValue, str]]:
    """Return the cards {key: (value, comment)} that describe a map as we write it."""
    cards: dict[str, tuple[HeaderValue, str]] = {
        "EXTNAME": ("MAP", "name of this table"),
        "PIXTYPE": ("HEALPIX", "HEALPix pixels"),
        "ORDERING": ("RING", "order of the pixels"),
        "NSIDE": (sky_map.nside, "resolution of the map"),
        "FIRSTPIX": (0, "number of the first pixel"),
        "LASTPIX": (sky_map.npix - 1, "number of the last pixel"),
        "INDXSCHM": ("IMPLICIT", "all pixels, in order"),
        "OBJECT": ("FULLSKY", "the map covers the full sky"),
        "COORDSYS": ("G", "Galactic"),
        "BAD_DATA": (UNSEEN, "value of pixels not observed"),
    }
    if any(name in SIGN_OF_U for name in sky_map.fields):
        cards["POLCCONV"] = ("COSMO", "sign convention of U")
    return cards


def fact_cards(facts: Mapping[str, HeaderValue]) -> dict[str, tuple[HeaderValue, str]]:
    """Return facts about a map as cards.

    Raises
    ------
    ValueError
        If a key or a value is not legal in FITS.
    """
    for key, value in facts.items():
        if not LEGAL_KEY.match(key) or LAYOUT_KEY.match(key):
            raise ValueError(
                f"header key {key!r}: must be up to 8 of A-Z, 0-9, - and _, and none that describes the table"
            )
        text_fits = _PRINTABLE.match(value) if isinstance(value, str) else isinstance(value, int | float)
        if not text_fits or (isinstance(value, float) and not np.isfinite(value)):
            raise ValueError(
                f"header key {key}: {value!r} must be ASCII text, a finite number or a truth value"
            )
    return {key: (value, "") for key, value in facts.items()}
