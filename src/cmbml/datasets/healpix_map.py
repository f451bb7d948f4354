"""Dataset of one HEALPix map."""

import os
from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from kedro.io.core import DatasetError, Version
from kedro_datasets._typing import ImagePreview

from cmbml.datasets.healpix_layout import FIELD_OF_COLUMN, MapLayout
from cmbml.datasets.healpix_reading import decode_map
from cmbml.datasets.healpix_writing import encode_map
from cmbml.datasets.picture import sky_picture
from cmbml.datasets.storage import AtomicFileDataset
from cmbml.science.skymap import HeaderValue, SkyMap


class HealpixMapDataset(AtomicFileDataset[SkyMap, SkyMap]):
    """A HEALPix map in a FITS file, as a `SkyMap` with its unit.

    Loading returns float32 in RING order, Galactic, in the COSMO convention of
    polarisation, in the unit of the file: converting it is a node's work, which
    knows the frequency. NESTED maps and partial skies become full skies in RING
    order; a map marked IAU has its U (and IU, QU) sign-flipped.

    Saving writes the same to HDU 1, in float32, readable by `healpy.read_map`.

    Parameters
    ----------
    filepath
        The file.
    hdu
        Number or EXTNAME of the HDU; 1 is the first after the primary one.
    fields
        Which columns to read: numbers from 0 (a partial sky's pixel column not
        counted), column names, or the fields I, Q, U, II, IQ, ... . By default all
        of a file of ours, and I, or I, Q, U, of another one.
    unit
        The unit, where the file does not say it; if it does, they must agree.
        "" or "1" is a pure number, such as a mask.
    nside
        The resolution it must have.
    ordering
        RING or NESTED, where the file does not say it.
    polcconv
        COSMO or IAU, where the file does not say it.
    nan
        What to do with NaN and infinite pixels on loading: "error", or "unseen"
        to mark them as not observed. Saving refuses them always.
    column_names
        Names of the columns on saving; by default I_STOKES, Q_STOKES, U_STOKES.
    header
        Further FITS cards to write, such as where the map comes from; those of
        the map itself go before them.
    read_only, version, credentials, fs_args, metadata
        See `AtomicFileDataset`.

    Raises
    ------
    DatasetError
        On construction, if an option has a value it cannot have.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        hdu: int | str = 1,
        fields: int | str | Sequence[int | str] | None = None,
        unit: str | None = None,
        nside: int | None = None,
        ordering: Literal["RING", "NESTED"] | None = None,
        polcconv: Literal["COSMO", "IAU"] | None = None,
        nan: Literal["error", "unseen"] = "error",
        column_names: Sequence[str] | None = None,
        header: Mapping[str, HeaderValue] | None = None,
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
            self._layout = MapLayout(hdu, _chosen(fields), unit, nside, ordering, polcconv, nan)
        except ValueError as error:
            raise DatasetError(f"{filepath}: {error}") from error
        self._column_names = tuple(column_names) if column_names else None
        self._header = deepcopy(dict(header or {}))

    def load(self) -> SkyMap:
        """Return the map.

        Raises
        ------
        DatasetError
            If the file is missing or damaged, leaves open what the catalog does
            not state either, or contradicts it.
        """
        return self._read(partial(decode_map, layout=self._layout))

    def save(self, data: SkyMap) -> None:
        """Write the map.

        Raises
        ------
        DatasetError
            If the dataset is read-only, pixels are NaN or infinite, or the map and
            the catalog contradict each other.
        """
        self._write(
            partial(encode_map, data, self._layout, column_names=self._column_names, header=self._header)
        )

    def restricted(self, *, stokes: str) -> "HealpixMapDataset":
        """Return the dataset of some Stokes fields, and of their covariances; it is only read.

        Parameters
        ----------
        stokes
            "I" or "IQU". Fields that the entry gives by number, or by a name that is no Stokes field, stay.
        """
        part = copy(self)
        part._read_only = True  # a file is whole or not there
        part._layout = replace(self._layout, fields=_restricted(self._layout.fields, stokes))
        return part

    def preview(self, field: int = 0) -> ImagePreview:
        """Return one field in a Mollweide projection, as Kedro-Viz shows it."""
        sky_map = self.load()
        name = f"{sky_map.fields[field]} [{sky_map.unit or 'no unit'}]"
        return ImagePreview(sky_picture({name: sky_map.values[field]}))

    def _describe(self) -> dict[str, Any]:
        layout = self._layout
        return {
            **super()._describe(),
            "hdu": layout.hdu,
            "fields": layout.fields,
            "unit": layout.unit,
            "nside": layout.nside,
        }


def _chosen(fields: int | str | Sequence[int | str] | None) -> tuple[int | str, ...] | None:
    """Return the fields that an entry names, as a tuple."""
    if fields is None:
        return None
    return (fields,) if isinstance(fields, int | str) else tuple(fields)


def _restricted(fields: tuple[int | str, ...] | None, stokes: str) -> tuple[int | str, ...] | None:
    """Return those of the fields that are made of some Stokes parameters."""
    if fields is None:
        return None if stokes == "IQU" else tuple(stokes)
    other = set("IQU") - set(stokes)
    named = (FIELD_OF_COLUMN.get(str(field).upper(), "") for field in fields)
    return tuple(field for field, name in zip(fields, named, strict=True) if not other & set(name)) or fields
