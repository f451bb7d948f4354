"""Dataset of spherical harmonic coefficients."""

import os
from functools import lru_cache, partial
from typing import Any, BinaryIO

import healpy as hp
import numpy as np
from astropy.io import fits
from kedro.io.core import DatasetError, Version
from kedro_datasets._typing import ImagePreview
from numpy.typing import NDArray

from cmbml.datasets.fits_table import encode_tables, open_tables
from cmbml.datasets.picture import curve_picture
from cmbml.datasets.storage import AtomicFileDataset, settle
from cmbml.science.harmonics import alm_lmax, alm_size, alm_to_cl
from cmbml.science.skymap import map_unit

_FIELDS = "TEB"
_UNKNOWN_UNITS = ("", "unknown")
"""What files say that do not know their unit; "unknown" is healpy's."""


class AlmDataset(AtomicFileDataset[NDArray[Any], NDArray[Any]]):
    """Coefficients of one sky in a FITS file, readable by `healpy.read_alm`.

    Loading returns shape (1, alm_size) for T or (3, alm_size) for T, E, B,
    complex64, in healpy's layout with mmax = lmax. On disk one HDU per field with
    the columns index (l^2 + l + m + 1), real and imag in float32, TUNIT the unit,
    and lmax in the header.

    Parameters
    ----------
    filepath
        The file.
    unit
        Unit of the coefficients, "1" for pure numbers; a file that states its
        own must agree.
    lmax
        The band limit it must have.
    read_only, version, credentials, fs_args, metadata
        See `AtomicFileDataset`.

    Raises
    ------
    DatasetError
        On construction, if the unit cannot be read.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        unit: str = "uK_CMB",
        lmax: int | None = None,
        read_only: bool = False,
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            filepath=filepath,
            read_only=read_only,
            version=version,
            credentials=credentials,
            fs_args=fs_args,
            metadata=metadata,
        )
        try:
            self._unit = map_unit(str(unit))
        except ValueError as error:
            raise DatasetError(f"{filepath}: {error}") from error
        self._lmax = lmax

    def load(self) -> NDArray[Any]:
        """Return the coefficients.

        Raises
        ------
        DatasetError
            If the file is missing or damaged, coefficients are missing or not
            finite, or it contradicts the catalog.
        """
        return self._read(partial(decode_alm, unit=self._unit, lmax=self._lmax))

    def save(self, data: NDArray[Any]) -> None:
        """Write coefficients of shape (1, alm_size) or (3, alm_size).

        Raises
        ------
        DatasetError
            If the dataset is read-only, the shape is another, lmax is not that of
            the catalog, or values are not finite.
        """
        self._write(partial(encode_alm, data, unit=self._unit, lmax=self._lmax))

    def preview(self) -> ImagePreview:
        """Return a plot of the auto-spectra, as Kedro-Viz shows it."""
        cl = alm_to_cl(self.load())
        ell = np.arange(cl.shape[-1])
        curves = {name * 2: (ell, row) for name, row in zip(_FIELDS, cl, strict=False)}
        return ImagePreview(
            curve_picture(curves, xlabel="multipole l", ylabel=f"C_l [({self._unit or '1'})^2]")
        )

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "unit": self._unit, "lmax": self._lmax}


def decode_alm(file: BinaryIO, path: str, *, unit: str, lmax: int | None) -> NDArray[np.complex64]:
    """Read the coefficients of all HDUs.

    Parameters
    ----------
    file, path
        The open file; its name is not needed.
    unit, lmax
        What the catalog says about it.

    Raises
    ------
    ValueError
        If the file is damaged, coefficients are missing, twice there or not
        finite, or it contradicts the catalog.
    """
    with open_tables(file) as tables:
        rows = [_read_field(table, unit) for table in tables]
    if len(rows) not in (1, len(_FIELDS)):
        raise ValueError(
            f"the file has {len(rows)} fields after its primary HDU, must be 1 (T) or 3 (T, E, B)"
        )
    if len({len(row) for row in rows}) > 1:
        raise ValueError(
            f"fields of {', '.join(str(len(row)) for row in rows)} coefficients: lmax must be the same"
        )
    alm = np.stack(rows)
    _check(alm, lmax)
    return alm


def _read_field(table: fits.BinTableHDU, unit: str) -> NDArray[np.complex64]:
    found = str(table.header.get("TUNIT2", "")).strip()
    index, real, imag = (np.asarray(table.data.field(number)) for number in range(3))
    values = np.empty(len(index), dtype=np.complex64)
    values.real, values.imag = real, imag
    places = index.astype(np.int64)
    settle("unit", in_file=None if found in _UNKNOWN_UNITS else map_unit(found), in_catalog=unit)
    if places.size and np.array_equal(places, _index(alm_lmax(places))):
        return values
    return _sorted(values, places)


def _sorted(values: NDArray[np.complex64], index: NDArray[np.int64]) -> NDArray[np.complex64]:
    """Bring coefficients in any order into healpy's."""
    ell = np.sqrt(np.maximum(index - 1, 0)).astype(np.int64)
    m = index - ell**2 - ell - 1
    lmax = int(ell.max(initial=0))
    if len(index) != alm_size(lmax) or np.any(m < 0) or len(np.unique(index)) != len(index):
        raise ValueError(
            f"{len(index)} coefficients up to l = {lmax}: need each of {alm_size(lmax)} once (0 <= m <= l); "
            "the file is damaged, or its mmax is below lmax"
        )
    out = np.empty_like(values)
    out[hp.Alm.getidx(lmax, ell, m)] = values
    return out


@lru_cache(maxsize=4)
def _index(lmax: int) -> NDArray[np.int32]:
    """Return l^2 + l + m + 1 of every coefficient in healpy's layout."""
    ell, m = hp.Alm.getlm(lmax)
    return np.asarray(ell**2 + ell + m + 1, dtype=np.int32)


def encode_alm(alm: NDArray[Any], *, unit: str, lmax: int | None) -> bytes:
    """Return coefficients as a FITS file, an HDU per field.

    Raises
    ------
    ValueError
        If the shape is not (1 | 3, alm_size), lmax is not that of the catalog, or
        values are not finite in single precision.
    """
    if np.ndim(alm) != 2 or len(alm) not in (1, len(_FIELDS)):
        raise ValueError(f"coefficients of one sky have shape (1 | 3, alm_size); got {np.shape(alm)}")
    with np.errstate(over="ignore"):  # found by the check
        values = np.asarray(alm, dtype=np.complex64)
    _check(values, lmax)
    band_limit = alm_lmax(values)
    table = np.empty(values.shape[-1], dtype=[("index", ">i4"), ("real", ">f4"), ("imag", ">f4")])
    tables, cards = [], []
    for name, row in zip(_FIELDS, values, strict=False):
        table["index"], table["real"], table["imag"] = _index(band_limit), row.real, row.imag
        tables.append(table.copy())
        cards.append(
            {
                "EXTNAME": (f"ALM_{name}", "field of this table"),
                "MAX-LPOL": (band_limit, "highest l"),
                "MAX-MPOL": (band_limit, "highest m"),
            }
        )
    return encode_tables(tables, units=["l*l+l+m+1", unit, unit], cards=cards)


def _check(alm: NDArray[Any], lmax: int | None) -> None:
    found = alm_lmax(alm)
    if lmax not in (None, found):
        raise ValueError(f"coefficients have lmax {found}, expected {lmax}")
    if not np.all(np.isfinite(alm)):
        raise ValueError(f"{np.count_nonzero(~np.isfinite(alm))} coefficients are NaN or infinite")
