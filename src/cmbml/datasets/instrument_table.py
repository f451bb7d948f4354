"""Dataset of an instrument's table of channels."""

import io
import math
import os
from collections.abc import Sequence
from functools import partial
from typing import Any, BinaryIO, Literal

import astropy.units as u
import numpy as np
from astropy.table import Column, MaskedColumn, Table
from kedro.io.core import DatasetError, Version
from kedro_datasets._typing import TablePreview

from cmbml.datasets.storage import AtomicFileDataset, settle
from cmbml.science.bandpasses import Bandpass
from cmbml.science.instrument import Channel, Instrument

_ASTROPY_FORMATS = {"ecsv": "ascii.ecsv", "ipac": "ascii.ipac"}
_FORMAT_OF_SUFFIX = {".ecsv": "ecsv", ".tbl": "ipac", ".ipac": "ipac"}

_NOISE_UNIT = u.uK * u.arcmin
"""K is K_CMB here; astropy has no unit of its own for it in these formats."""

_UNITS = {
    "center_frequency": u.GHz,
    "fwhm": u.arcmin,
    "noise_temperature": _NOISE_UNIT,
    "noise_polarisation": _NOISE_UNIT,
    "noise_brightness": u.kJy / u.sr * u.arcmin,
}
_BAND = {"bandpass_frequency": u.GHz, "bandpass_weight": u.dimensionless_unscaled}
_OPTIONAL = ("noise_temperature", "noise_polarisation", "noise_brightness")
_COMMENT = "noise_temperature, noise_polarisation: white noise, K is thermodynamic (K_CMB)"


class InstrumentTableDataset(AtomicFileDataset[Instrument, Instrument]):
    """A table of frequency channels, in ECSV or IPAC format, as an `Instrument`.

    Columns: `band` (nominal GHz), `center_frequency`, `fwhm`; optionally `stokes`
    (I or IQU), `noise_temperature` and `noise_polarisation` (noise x angle, where
    K is thermodynamic), `noise_brightness` (of I, as surface brightness x angle, in
    place of its temperature), `bandpass_frequency` and `bandpass_weight` (an array per
    channel, empty for a delta bandpass; only in ECSV, see `Bandpass`). Quantities
    carry their unit and are converted to GHz, arcmin, uK arcmin and kJy/sr arcmin. Other columns
    are left alone.

    Parameters
    ----------
    filepath
        The file.
    format
        "ecsv" or "ipac"; by default what the suffix says (.ecsv, .tbl, .ipac).
    intensity_only
        Channels without polarisation, for a table without a column `stokes`; an
        empty list if all have it.
    read_only, version, credentials, fs_args, metadata
        See `AtomicFileDataset`.

    Raises
    ------
    DatasetError
        On construction, if the format is not known.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        format: Literal["ecsv", "ipac"] | None = None,
        intensity_only: Sequence[str | int] | None = None,
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
        if format not in (None, *_ASTROPY_FORMATS):
            raise DatasetError(f"{filepath}: format {format!r}: must be ecsv or ipac")
        self._format = format or _FORMAT_OF_SUFFIX.get(self._filepath.suffix, "")
        self._intensity_only = None if intensity_only is None else tuple(str(name) for name in intensity_only)

    def load(self) -> Instrument:
        """Return the instrument, its channels in order of nominal frequency.

        Raises
        ------
        DatasetError
            If the file is missing or damaged, a column or a unit is missing, or
            it is not said which channels have polarisation.
        """
        return self._read(
            partial(decode_instrument, format=self._format, intensity_only=self._intensity_only)
        )

    def save(self, data: Instrument) -> None:
        """Write the table.

        Raises
        ------
        DatasetError
            If the dataset is read-only, or `data` is no instrument.
        """
        self._write(partial(encode_instrument, data, format=self._format))

    def preview(self) -> TablePreview:
        """Return the table, as Kedro-Viz shows it."""
        rows = [_row(channel) for channel in self.load()]
        data = [
            ["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row] for row in rows
        ]
        return TablePreview(
            {"index": list(range(len(data))), "columns": ["band", *_UNITS, "stokes"], "data": data}
        )

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "format": self._format, "intensity_only": self._intensity_only}


def decode_instrument(
    file: BinaryIO, path: str, *, format: str, intensity_only: tuple[str, ...] | None
) -> Instrument:
    """Read a table of channels.

    Parameters
    ----------
    file, path
        The open file; its name is not needed.
    format
        "ecsv" or "ipac".
    intensity_only
        Channels without polarisation, as the catalog states them.

    Raises
    ------
    ValueError
        If the format is not known, the table is damaged, a column or a unit is
        missing, or it is not said which channels have polarisation.
    """
    text = file.read().decode("utf-8")
    table = Table.read(text.splitlines(), format=_astropy_format(format))
    missing = {"band", "center_frequency", "fwhm"} - set(table.colnames)
    if missing:
        raise ValueError(
            f"column {', '.join(sorted(missing))} is missing; the table has {', '.join(table.colnames)}"
        )
    names = [_name(band) for band in table["band"]]
    quantities = [_values(table, column) for column in _UNITS]
    stokes = _stokes(table, names, intensity_only)
    channels = [
        Channel(name, frequency, fwhm, fields, noise_i, noise_p, band, brightness)
        for name, fields, frequency, fwhm, noise_i, noise_p, brightness, band in zip(
            names, stokes, *quantities, _bandpasses(table), strict=True
        )
    ]
    return Instrument(tuple(sorted(channels, key=lambda channel: channel.nominal_ghz)))


def _astropy_format(format: str) -> str:
    if format not in _ASTROPY_FORMATS:
        raise ValueError(
            "the suffix tells no format; name the file .ecsv, .tbl or .ipac, or state `format:` in "
            "the catalog entry"
        )
    return _ASTROPY_FORMATS[format]


def _name(band: Any) -> str:
    try:
        return str(int(str(band)))
    except ValueError as error:
        raise ValueError(f"band {str(band)!r}: must be the nominal frequency in whole GHz") from error


def _values(table: Table, column: str) -> list[float]:
    """Return a column in our unit; NaN where it is empty, and everywhere if it is left out."""
    if column not in table.colnames:
        return [math.nan] * len(table)
    unit = table[column].unit
    if unit is None:
        raise ValueError(f"column {column} has no unit; give it one that converts to {_UNITS[column]}")
    numbers = np.ma.masked_array(np.ma.getdata(table[column]), np.ma.getmaskarray(table[column]), dtype=float)
    try:
        values = (numbers.filled(math.nan) * unit).to_value(_UNITS[column])
    except u.UnitConversionError as error:
        raise ValueError(f"column {column}: unit {unit} does not convert to {_UNITS[column]}") from error
    if column not in _OPTIONAL and not np.all(np.isfinite(values)):
        raise ValueError(f"column {column}: row {int(np.argmin(np.isfinite(values)))} (from 0) is empty")
    return [float(value) if math.isfinite(value) else math.nan for value in values]


def _bandpasses(table: Table) -> list[Bandpass | None]:
    """Return the bandpass of each row; None where there is none."""
    if "bandpass_frequency" not in table.colnames:
        return [None] * len(table)
    if "bandpass_weight" not in table.colnames:
        raise ValueError("column bandpass_weight is missing, but there is a column bandpass_frequency")
    unit = table["bandpass_frequency"].unit
    if unit is None:
        raise ValueError("column bandpass_frequency has no unit; give it one that converts to GHz")
    return [
        Bandpass(
            tuple((np.asarray(frequencies, float) * unit).to_value(u.GHz).tolist()),
            tuple(np.asarray(weights, float).tolist()),
        )
        if len(frequencies)
        else None
        for frequencies, weights in zip(table["bandpass_frequency"], table["bandpass_weight"], strict=True)
    ]


def _stokes(table: Table, names: list[str], intensity_only: tuple[str, ...] | None) -> list[str]:
    """Return the Stokes fields of each channel, from the table or the catalog."""
    unknown = [name for name in intensity_only or () if name not in names]
    if unknown:
        raise ValueError(
            f"intensity_only {', '.join(unknown)}: not in the table, which has {', '.join(names)}"
        )
    in_file = tuple(str(fields).strip() for fields in table["stokes"]) if "stokes" in table.colnames else None
    in_catalog = (
        None if intensity_only is None else tuple("I" if name in intensity_only else "IQU" for name in names)
    )
    if in_file is None and in_catalog is None:
        raise ValueError(
            "the table has no column stokes; state `intensity_only:`, the channels without polarisation, in "
            "the catalog entry ([] if all have it)"
        )
    return list(settle("stokes", in_file=in_file, in_catalog=in_catalog))


def encode_instrument(instrument: Instrument, *, format: str) -> bytes:
    """Return an instrument as the text of a table.

    Raises
    ------
    TypeError
        If `instrument` is none.
    ValueError
        If the format is not known.
    """
    if not isinstance(instrument, Instrument):
        raise TypeError(
            f"a {type(instrument).__name__} cannot be saved; give cmbml.science.instrument.Instrument"
        )
    bands, *quantities, stokes = zip(*(_row(channel) for channel in instrument), strict=True)
    table = Table({"band": [int(band) for band in bands]})
    for (column, unit), values in zip(_UNITS.items(), quantities, strict=True):
        if column not in _OPTIONAL or not np.all(np.isnan(values)):
            table[column] = MaskedColumn(values, mask=np.isnan(values), unit=unit)
    table["stokes"] = list(stokes)
    if instrument.has_bandpasses:
        _add_bandpasses(table, instrument, format)
    table.meta["comments"] = [_COMMENT]
    buffer = io.StringIO()
    table.write(buffer, format=_astropy_format(format))
    return buffer.getvalue().encode("utf-8")


def _add_bandpasses(table: Table, instrument: Instrument, format: str) -> None:
    if format != "ecsv":
        raise ValueError(f"format {format}: has no place for bandpasses; save the table as ecsv")
    for column, attribute in zip(_BAND, ("frequencies_ghz", "weights"), strict=True):
        rows = np.empty(len(instrument), object)
        for place, channel in enumerate(instrument):
            rows[place] = np.array(getattr(channel.bandpass, attribute, ()), float)
        table[column] = Column(rows, unit=_BAND[column])


def _row(channel: Channel) -> tuple[Any, ...]:
    return (
        channel.name,
        channel.frequency_ghz,
        channel.fwhm_arcmin,
        channel.noise_temperature_uk_arcmin,
        channel.noise_polarisation_uk_arcmin,
        channel.noise_brightness_kjy_sr_arcmin,
        channel.stokes,
    )
