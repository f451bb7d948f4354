"""Binary tables of FITS files: headers by astropy, data by numpy."""

import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from cmbml import __version__

PROGRAM = "cmbml"
CREATOR = f"{PROGRAM} {__version__}"
"""Provenance card of every file; without a date, so that equal data give equal files."""

_BLOCK = 2880
"""FITS files consist of blocks of this many bytes."""

_LETTERS = {"f4": "E", "i4": "J"}

Cards = Mapping[str, tuple[Any, str]]


def encode_tables(tables: Sequence[NDArray[Any]], *, units: Sequence[str], cards: Sequence[Cards]) -> bytes:
    """Return a FITS file with one binary table per HDU, from HDU 1.

    Parameters
    ----------
    tables
        Structured arrays of float32 and int32 columns, shape (rows,).
    units
        TUNIT of each column, the same in all tables; "" writes a blank one.
    cards
        Further cards of each table: {key: (value, comment)}.
    """
    parts = [fits.PrimaryHDU().header.tostring().encode("ascii")]
    for table, extra in zip(tables, cards, strict=True):
        data = table.astype(table.dtype.newbyteorder(">"), copy=False).tobytes()
        parts += [_header(table, units, extra).tostring().encode("ascii"), data, bytes(-len(data) % _BLOCK)]
    return b"".join(parts)


def _header(table: NDArray[Any], units: Sequence[str], cards: Cards) -> fits.Header:
    names = table.dtype.names or ()
    columns = [fits.Column(name=name, format=_format(table.dtype[name])) for name in names]
    header = fits.BinTableHDU.from_columns(columns, nrows=0).header
    header["NAXIS2"] = len(table)
    for number, unit in enumerate(units, start=1):
        header.set(f"TUNIT{number}", unit, after=f"TFORM{number}")
    for key, (value, comment) in {**cards, "CREATOR": (CREATOR, "program that wrote the file")}.items():
        header[key] = (value, comment)
    return header


def _format(dtype: np.dtype[Any]) -> str:
    width = int(np.prod(dtype.shape, dtype=int))
    return f"{width if width > 1 else ''}{_LETTERS[dtype.base.str[1:]]}"


@contextmanager
def open_tables(file: BinaryIO, hdu: int | str | None = None) -> Iterator[list[fits.BinTableHDU]]:
    """Open binary tables of a FITS file; their data are read when they are asked for.

    Parameters
    ----------
    file
        Open for reading; a real file is mapped into memory.
    hdu
        Number of the HDU, 0 for the primary one, or EXTNAME; None for all after
        the primary one.

    Raises
    ------
    ValueError
        If this is no FITS file, it has no such HDU or no table there, or it
        ends before the table does.
    """
    with warnings.catch_warnings():
        # astropy only warns at a file cut short; below it is an error
        warnings.simplefilter("ignore", AstropyUserWarning)
        try:
            hdus = fits.open(file, mode="readonly", memmap=not isinstance(file, io.BytesIO))
            tables = list(hdus[1:]) if hdu is None else [hdus[hdu]]
        except (OSError, fits.VerifyError) as error:
            raise ValueError(f"no FITS file, or a damaged one ({error})") from error
        except (IndexError, KeyError) as error:
            raise ValueError(f"the file has no HDU {hdu!r}") from error
    with hdus:
        length = file.seek(0, os.SEEK_END)
        for table in tables:
            _check_table(table, length)
        yield tables


def _check_table(table: Any, length: int) -> None:
    """Check that an HDU is a table, and that it ends within the file's length in bytes."""
    if not isinstance(table, fits.BinTableHDU):
        raise ValueError(
            f"HDU {table.name or 0!r} is no binary table; state another `hdu:` in the catalog entry"
        )
    rows = table.header["NAXIS1"] * table.header["NAXIS2"] + table.header.get("PCOUNT", 0)
    needed = table.fileinfo()["datLoc"] + rows
    if length < needed:
        raise ValueError(
            f"the file is cut short: it has {length} bytes, its table ends at {needed}; make it again"
        )
