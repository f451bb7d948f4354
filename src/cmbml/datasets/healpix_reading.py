"""Reading HEALPix maps from FITS files, our own and those of others.

What a file does not say about itself has to be said in the catalog, and the two
must not contradict each other: nothing is guessed, except that a map without
COORDSYS is Galactic and polarisation without POLCCONV follows HEALPix's own
convention, COSMO (with a warning).
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import healpy as hp
import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from cmbml.datasets.fits_table import PROGRAM, open_tables
from cmbml.datasets.healpix_layout import (
    FIELD_OF_COLUMN,
    LAYOUT_KEY,
    LEGAL_KEY,
    SIGN_OF_U,
    MapLayout,
    check_finite,
    check_size,
)
from cmbml.datasets.storage import settle
from cmbml.science.pixels import check_nside, npix_to_nside, nside_to_npix
from cmbml.science.skymap import UNSEEN, HeaderValue, SkyMap, is_unseen, map_unit


def decode_map(file: BinaryIO, path: str, layout: MapLayout) -> SkyMap:
    """Read a map; float32, RING, COSMO.

    Parameters
    ----------
    file, path
        The open file, and its name for warnings.
    layout
        What the catalog says about it.

    Raises
    ------
    ValueError
        If the file is damaged, leaves open what the catalog does not state
        either, contradicts it, or holds NaN or infinite pixels.
    """
    with open_tables(file, layout.hdu) as (table,):
        header = table.header
        explicit = _is_explicit(header)
        chosen = _chosen_columns(table, layout.fields, explicit=explicit)
        unit = _unit_of(table, chosen, layout.unit, path)
        pixels = np.asarray(table.data.field(0)).ravel().astype(np.int64) if explicit else None
        rows = [np.asarray(table.data.field(column)).ravel().astype(np.float32) for column in chosen]
    names = tuple(chosen.values())
    return settle_map(rows, names, unit=unit, header=header, layout=layout, path=path, pixels=pixels)


def fields_of_map(file: BinaryIO, path: str, layout: MapLayout) -> str:
    """Return the Stokes fields of the map that `decode_map` would read, such as "I" or "IQU".

    Raises
    ------
    ValueError
        If the file is damaged, or which columns to read is not clear.
    """
    with open_tables(file, layout.hdu) as (table,):
        chosen = _chosen_columns(table, layout.fields, explicit=_is_explicit(table.header))
    return "".join(name for name in chosen.values() if name in ("I", "Q", "U"))


def settle_map(
    rows: Sequence[NDArray[Any]],
    names: tuple[str, ...],
    *,
    unit: str,
    header: Mapping[str, Any],
    layout: MapLayout,
    path: str,
    pixels: NDArray[Any] | None = None,
) -> SkyMap:
    """Return fields as they lie in a file as a map: full sky, RING, COSMO.

    Parameters
    ----------
    rows
        A float32 array per field.
    names
        What each field is.
    unit
        Their unit.
    header
        What the file says, by FITS key.
    layout
        What the catalog says.
    path
        Name of the file, for warnings.
    pixels
        Numbers of the pixels of a partial sky; None for a full one.

    Raises
    ------
    ValueError
        If the file leaves open what the catalog does not state either,
        contradicts it, or holds NaN or infinite pixels.
    """
    nside = _nside_of(header, len(rows[0]), explicit=pixels is not None)
    check_size(nside_to_npix(nside), layout.nside)
    _check_galactic(header)
    nested = _ordering_of(header, layout.ordering) == "NESTED"
    values = np.stack(
        [_ring_map(row, pixels, nside=nside, nested=nested) for row in rows]
    )  # (n_fields, npix)
    _settle_pixels(values, names, nan=layout.nan)
    if any(name in SIGN_OF_U for name in names):
        _settle_sign(values, names, _convention_of(header, layout.polcconv, path))
    return SkyMap(values, unit, names, _facts(header))


def _is_explicit(header: Mapping[str, Any]) -> bool:
    scheme = str(header.get("INDXSCHM", "")).strip()
    return scheme == "EXPLICIT" or (not scheme and str(header.get("OBJECT", "")).strip() == "PARTIAL")


def _chosen_columns(
    table: fits.BinTableHDU, wanted: tuple[int | str, ...] | None, *, explicit: bool
) -> dict[str, str]:
    """Return {column: field} of what is to be read, in that order."""
    columns = [str(name) for name in table.columns.names][1 if explicit else 0 :]
    fields = {column: FIELD_OF_COLUMN.get(column.strip().upper(), column) for column in columns}
    if wanted is not None:
        return {column: fields[column] for column in (_find(one, fields) for one in wanted)}
    if str(table.header.get("CREATOR", "")).startswith(PROGRAM):
        return fields  # a map of ours, with nothing else in the file
    stokes = {column: name for name in "IQU" for column in columns if fields[column] == name}
    if tuple(stokes.values()) in (("I",), ("I", "Q", "U")):
        return stokes
    if len(columns) == 1:
        return fields
    raise ValueError(
        f"columns {', '.join(columns)}: which to read is not clear; state `fields:` in the catalog entry"
    )


def _find(wanted: int | str, fields: Mapping[str, str]) -> str:
    """Return the column that a number, a column's name or a field's name means."""
    columns = list(fields)
    if isinstance(wanted, int) and 0 <= wanted < len(columns):
        return columns[wanted]
    for column in columns:
        if str(wanted).upper() in (column.strip().upper(), fields[column].upper()):
            return column
    raise ValueError(f"no field {wanted!r}; the file has the columns {', '.join(columns)}")


def _unit_of(table: fits.BinTableHDU, chosen: Mapping[str, str], stated: str | None, path: str) -> str:
    found = {column: table.header.get(f"TUNIT{table.columns.names.index(column) + 1}") for column in chosen}
    units = {column: readable_unit(text, stated, path) for column, text in found.items()}
    if len(set(units.values())) > 1:
        listed = ", ".join(f"{column} {text}" for column, text in found.items())
        raise ValueError(
            f"the chosen fields have different units ({listed}); read them by separate catalog entries"
        )
    return settle("unit", in_file=next(iter(units.values())), in_catalog=stated)


def readable_unit(text: str | None, stated: str | None, path: str) -> str | None:
    """Return a file's unit in its one spelling; None if the file leaves it to the catalog.

    Raises
    ------
    ValueError
        If the unit cannot be read, and the catalog does not state it.
    """
    if text is None or (stated is not None and not str(text).strip()):
        return None
    try:
        return map_unit(str(text))
    except ValueError:
        if stated is None:
            raise
        warnings.warn(
            f"{path}: unit {text!r} cannot be read; taken as {stated}, as the catalog says", stacklevel=2
        )
        return None


def _nside_of(header: Mapping[str, Any], length: int, *, explicit: bool) -> int:
    if explicit and "NSIDE" not in header:
        raise ValueError("a partial sky without NSIDE in its header cannot be placed on the sphere")
    nside = check_nside(int(header["NSIDE"])) if "NSIDE" in header else npix_to_nside(length)
    if not explicit:
        check_size(length, nside)
    return nside


def _check_galactic(header: Mapping[str, Any]) -> None:
    coordinates = str(header.get("COORDSYS", "")).strip().upper()
    if coordinates and not coordinates.startswith("G"):
        raise ValueError(
            f"COORDSYS is {coordinates!r}, maps here are Galactic; rotate it "
            "(healpy.Rotator) into a file with COORDSYS 'G'"
        )


def _ordering_of(header: Mapping[str, Any], stated: str | None) -> str:
    found = str(header.get("ORDERING", "")).strip().upper() or None
    ordering = settle("ordering", in_file="NESTED" if found == "NEST" else found, in_catalog=stated)
    if ordering not in ("RING", "NESTED"):
        raise ValueError(f"ORDERING {ordering!r}: must be RING or NESTED")
    return ordering


def _ring_map(row: NDArray[Any], pixels: NDArray[Any] | None, *, nside: int, nested: bool) -> NDArray[Any]:
    """Return a full sky in RING order, UNSEEN where a partial sky has nothing."""
    if pixels is None:
        return np.asarray(hp.reorder(row, n2r=True), dtype=np.float32) if nested else row
    npix = nside_to_npix(nside)
    if np.any((pixels < 0) | (pixels >= npix)):
        raise ValueError(
            f"pixel numbers from {pixels.min()} to {pixels.max()} do not fit on the {npix} of nside {nside}"
        )
    full = np.full(npix, UNSEEN, dtype=np.float32)
    full[hp.nest2ring(nside, pixels) if nested else pixels] = row
    return full


def _settle_pixels(values: NDArray[Any], names: tuple[str, ...], *, nan: str) -> None:
    """Make UNSEEN exact, and refuse (or mark) what is not finite, in place."""
    if nan == "unseen":
        values[~np.isfinite(values)] = UNSEEN
    check_finite(values, names, remedy="state `nan: unseen` to treat them as not observed")
    values[is_unseen(values)] = UNSEEN


def _convention_of(header: Mapping[str, Any], stated: str | None, path: str) -> str:
    found = str(header.get("POLCCONV", "")).strip().upper() or None
    if found is None and stated is None:
        warnings.warn(
            f"{path}: no POLCCONV; polarisation is taken as COSMO. State `polcconv:` in the catalog entry",
            stacklevel=2,
        )
        return "COSMO"
    convention = settle("polcconv", in_file=found, in_catalog=stated)
    if convention not in ("COSMO", "IAU"):
        raise ValueError(f"POLCCONV {convention!r}: must be COSMO or IAU")
    return convention


def _settle_sign(values: NDArray[Any], names: tuple[str, ...], convention: str) -> None:
    """Turn IAU into COSMO, in place."""
    if convention == "IAU":
        for name, row in zip(names, values, strict=True):
            if name in SIGN_OF_U:
                np.negative(row, out=row, where=~is_unseen(row))


def _facts(header: Mapping[str, Any]) -> dict[str, HeaderValue]:
    """Return the cards that are not about the table and that can be written again."""
    return {
        key: value
        for key, value in header.items()
        if not LAYOUT_KEY.match(key) and LEGAL_KEY.match(key) and isinstance(value, str | int | float | bool)
    }
