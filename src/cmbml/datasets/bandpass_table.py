"""Dataset of the bandpasses of an instrument's channels."""

import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, BinaryIO, Literal, get_args

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table import Table
from kedro.io.core import DatasetError, Version
from kedro_datasets._typing import TablePreview
from numpy.typing import NDArray

from cmbml.datasets.storage import AtomicFileDataset, read_file, settle
from cmbml.science.bandpasses import Bandpass

Array = NDArray[np.float64]
Response = Literal["Jy/sr", "K_RJ"]
Bandpasses = Mapping[str, Bandpass]

_PLANCK = re.compile(r"BANDPASS_(?P<hfi>F?)(?P<ghz>\d{3})$")
"""Extensions of Planck's instrument models with the bandpass of a channel: BANDPASS_F143, BANDPASS_030.

HFI tabulates the response to surface brightness over wavenumbers in 1/cm, LFI the
response to brightness temperature over frequencies in GHz.
"""

_RESPONSE = "Jy/sr"
"""What the weights of `Bandpass` respond to."""


class BandpassTableDataset(AtomicFileDataset[Bandpasses, dict[str, Bandpass]]):
    """Bandpasses of channels, as {channel: `Bandpass`}.

    Two formats are read, and told apart by their content: an ECSV table with the
    columns `band` (nominal GHz), `frequency` with a unit, and `weight`, a row for
    each frequency of each band, whose meta data or catalog entry says what the
    `response` is to; and Planck's instrument models in FITS (HFI_RIMO_R3.00.fits,
    LFI_RIMO_R3.31.fits), of which the extensions of whole channels are taken.
    Saved is ECSV.

    Parameters
    ----------
    filepath
        The file.
    further_files
        Files of the same formats whose channels are added, such as the model of
        Planck's other instrument.
    response
        "Jy/sr" for weights that respond to surface brightness, "K_RJ" for weights
        that respond to brightness temperature, if the file does not say it.
    cut
        Share of a band's highest weight: what lies beyond the first and the last
        frequency that reach it is left out; with 0, what is negative there.
        Negative weights between become 0.
    frequencies
        Number of equally spaced frequencies that finer bandpasses are reduced to,
        see `Bandpass.on_grid`: every frequency costs an emission map.
    read_only, version, credentials, fs_args, metadata
        See `AtomicFileDataset`.

    Raises
    ------
    DatasetError
        On construction, if the response is not known, the cut is not from 0 to
        below 1, or there are fewer than two frequencies.

    References
    ----------
    .. [1] Planck 2018 Explanatory Supplement, "The RIMO".
    .. [2] Planck 2015 results X, A&A 594, A10 (the conventions of LFI and HFI).
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        further_files: Sequence[str] = (),
        response: Response | None = None,
        cut: float = 0.0,
        frequencies: int | None = None,
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
        if response not in (None, *get_args(Response)):
            raise DatasetError(f"{filepath}: response {response!r}: must be Jy/sr or K_RJ")
        if not 0 <= cut < 1:
            raise DatasetError(
                f"{filepath}: cut {cut}: must be from 0 to below 1, a share of the highest weight"
            )
        if frequencies is not None and frequencies < 2:
            raise DatasetError(f"{filepath}: frequencies {frequencies}: a bandpass needs at least two")
        self._further_files = tuple(str(file) for file in further_files)
        self._options: dict[str, Any] = {"response": response, "cut": cut, "frequencies": frequencies}

    def load(self) -> dict[str, Bandpass]:
        """Return the bandpass of each channel.

        Raises
        ------
        DatasetError
            If a file is missing, damaged or of neither format, a column or a unit
            is missing, it is not said what the response is to, a bandpass is
            impossible, or two files hold the same channel.
        """
        decode = partial(decode_bandpasses, **self._options)
        found = self._read(decode)
        for file in self._further_files:
            others = read_file(self._fs, file, decode)
            twice = sorted(set(found) & set(others))
            if twice:
                raise DatasetError(
                    f"{file}: channels {', '.join(twice)} are in {self._filepath} too; leave out a file"
                )
            found |= others
        return dict(sorted(found.items(), key=lambda item: int(item[0])))

    def save(self, data: Bandpasses) -> None:
        """Write an ECSV table.

        Raises
        ------
        DatasetError
            If the dataset is read-only, or `data` is no mapping of bandpasses.
        """
        self._write(partial(encode_bandpasses, data))

    def preview(self) -> TablePreview:
        """Return the range of each band, as Kedro-Viz shows it."""
        bands = self.load()
        rows = [
            [int(name), band.frequencies_ghz[0], band.frequencies_ghz[-1], len(band.weights)]
            for name, band in bands.items()
        ]
        columns = ["band", "lowest_ghz", "highest_ghz", "frequencies"]
        return TablePreview({"index": list(range(len(rows))), "columns": columns, "data": rows})

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "further_files": self._further_files, **self._options}


def decode_bandpasses(
    file: BinaryIO, path: str, *, response: Response | None, cut: float, frequencies: int | None
) -> dict[str, Bandpass]:
    """Read bandpasses from an open file.

    Parameters
    ----------
    file, path
        The open file; its name is not needed.
    response, cut, frequencies
        See `BandpassTableDataset`.

    Raises
    ------
    ValueError
        If the file is of neither format, a column or a unit is missing, it is not
        said what the response is to, or a bandpass is impossible.
    """
    is_fits = file.read(6) == b"SIMPLE"
    file.seek(0)
    bands = _fits_bands(file) if is_fits else _ecsv_bands(file)
    found = {}
    for name, stated, ghz, weights in bands:
        convention = settle("response", in_file=stated, in_catalog=response)
        band = _bandpass(ghz, weights, convention=convention, cut=cut)
        found[name] = (
            band if frequencies is None or len(band.weights) <= frequencies else band.on_grid(frequencies)
        )
    if not found:
        raise ValueError(
            "the file has no bandpass of a channel; of a FITS file the extensions BANDPASS_F100, "
            "BANDPASS_030 and their like are read"
        )
    return found


def _fits_bands(file: BinaryIO) -> Iterator[tuple[str, str | None, Array, Array]]:
    """Yield name, response, frequencies in GHz and weights of the channels of one of Planck's models."""
    with fits.open(file, memmap=False) as hdus:
        for hdu in hdus:
            match = _PLANCK.match(hdu.name)
            if match is None:
                continue
            missing = {"WAVENUMBER", "TRANSMISSION"} - set(hdu.columns.names)
            if missing:
                raise ValueError(f"HDU {hdu.name}: column {', '.join(sorted(missing))} is missing")
            unit = hdu.columns["WAVENUMBER"].unit or ("1/cm" if match["hfi"] else "GHz")
            place = np.asarray(hdu.data["WAVENUMBER"], float) * u.Unit(unit)
            ghz = place.to_value(u.GHz, equivalencies=u.spectral())
            stated = "Jy/sr" if match["hfi"] else "K_RJ"
            yield str(int(match["ghz"])), stated, ghz, np.asarray(hdu.data["TRANSMISSION"], float)


def _ecsv_bands(file: BinaryIO) -> Iterator[tuple[str, str | None, Array, Array]]:
    """Yield name, response, frequencies in GHz and weights of the channels of a table."""
    table = Table.read(file.read().decode("utf-8").splitlines(), format="ascii.ecsv")
    missing = {"band", "frequency", "weight"} - set(table.colnames)
    if missing:
        raise ValueError(
            f"column {', '.join(sorted(missing))} is missing; the table has {', '.join(table.colnames)}"
        )
    unit = table["frequency"].unit
    if unit is None:
        raise ValueError("column frequency has no unit; give it one that converts to GHz")
    ghz = (np.asarray(table["frequency"], float) * unit).to_value(u.GHz, equivalencies=u.spectral())
    bands = np.array([str(int(band)) for band in table["band"]])
    for name in dict.fromkeys(bands.tolist()):
        rows = bands == name
        yield name, table.meta.get("response"), ghz[rows], np.asarray(table["weight"], float)[rows]


def _bandpass(ghz: Array, weights: Array, *, convention: str, cut: float) -> Bandpass:
    """Return the part of a table that reaches the cut, as a response to surface brightness."""
    if convention not in get_args(Response):
        raise ValueError(f"response {convention!r}: must be Jy/sr or K_RJ")
    order = np.argsort(ghz)
    ghz, weights = ghz[order], weights[order]
    high = np.flatnonzero((weights >= cut * max(weights.max(), 0)) & (ghz > 0))
    kept = slice(high[0], high[-1] + 1) if len(high) else slice(0)
    ghz, weights = ghz[kept], np.maximum(weights[kept], 0)
    if convention == "K_RJ":
        weights = weights / ghz**2
    return Bandpass(tuple(ghz.tolist()), tuple(weights.tolist()))


def encode_bandpasses(bandpasses: Bandpasses) -> bytes:
    """Return bandpasses as the text of a table.

    Raises
    ------
    TypeError
        If `bandpasses` is no mapping of them.
    """
    if not (isinstance(bandpasses, Mapping) and all(isinstance(b, Bandpass) for b in bandpasses.values())):
        raise TypeError(f"a {type(bandpasses).__name__} cannot be saved; give {{channel: Bandpass}}")
    head = Table(
        names=["band", "frequency", "weight"],
        dtype=[int, float, float],
        units={"frequency": u.GHz},
        meta={"response": _RESPONSE},
    )
    buffer = io.StringIO()
    head.write(buffer, format="ascii.ecsv")
    for name, band in bandpasses.items():
        # with an exponent at the end: a file that is cut there is damaged, and not another number
        rows = zip(band.frequencies_ghz, band.weights, strict=True)
        buffer.writelines(f"{int(name)} {ghz!r} {weight:.17e}\n" for ghz, weight in rows)
    return buffer.getvalue().encode("utf-8")
