"""Dataset of all channels of one sky in one HDF5 file."""

import io
import os
from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import replace
from functools import partial
from typing import Any, BinaryIO, Literal

import h5py
import numpy as np
from kedro.io.core import DatasetError, Version
from kedro_datasets._typing import ImagePreview

from cmbml.datasets.healpix_layout import MapLayout
from cmbml.datasets.healpix_reading import readable_unit, settle_map
from cmbml.datasets.healpix_writing import fact_cards, layout_cards, written_values
from cmbml.datasets.observations_layout import CHANNEL, Choice, ObservationsLayout, as_observations
from cmbml.datasets.picture import sky_picture
from cmbml.datasets.storage import AtomicFileDataset, settle
from cmbml.science.instrument import Observations
from cmbml.science.skymap import HeaderValue, SkyMap

FORMAT, FORMAT_VERSION = "cmbml observations", 1
"""What a file of ours says of itself, and the version of its layout."""

CHUNK = 2**18
"""Most pixels in a chunk: 1 MiB, which HDF5 caches; a field at nside 512 has twelve of them."""

COMPRESSIONS = (None, "lzf", "gzip")
Compression = Literal["lzf", "gzip"] | None


class Hdf5ObservationsDataset(AtomicFileDataset[Observations, Observations]):
    """The maps of all channels of one sky in one HDF5 file.

    One HDF5 dataset per channel, called by its nominal GHz, of shape (n_stokes,
    npix), float32, in chunks that belong to one field: reading intensity reads
    no Q and U. Its attributes say what a FITS file says: `unit`, `stokes`,
    `nside`, `ordering`, `coordsys`, `polcconv`, `bad_data`. The attributes of the
    file hold its format and where the maps come from.

    Takes what `ObservationsDataset` takes, and gives the same maps to the bit.

    Parameters
    ----------
    filepath
        The file of one simulation.
    channels, stokes
        As for `ObservationsDataset`.
    unit, nside, ordering, polcconv, nan
        As for `HealpixMapDataset`, for every channel.
    compression
        "lzf" (fast) or "gzip" (smaller), both without loss and with the bytes of
        the numbers shuffled; by default none.
    header
        Facts to write into the file, by FITS key: where the maps come from.
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
        channels: Choice = None,
        stokes: Literal["I", "IQU"] = "IQU",
        unit: str | None = None,
        nside: int | None = None,
        ordering: Literal["RING", "NESTED"] | None = None,
        polcconv: Literal["COSMO", "IAU"] | None = None,
        nan: Literal["error", "unseen"] = "error",
        compression: Compression = None,
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
        if compression not in COMPRESSIONS:
            raise DatasetError(f"{filepath}: compression {compression!r}: must be lzf or gzip, or left out")
        try:
            maps = MapLayout(1, None, unit, nside, ordering, polcconv, nan)
            self._layout = ObservationsLayout(channels, stokes, maps)
        except ValueError as error:
            raise DatasetError(f"{filepath}: {error}") from error
        self._compression = compression
        self._header = deepcopy(dict(header or {}))

    def load(self) -> Observations:
        """Return the maps of the chosen channels, in order of nominal frequency.

        Raises
        ------
        DatasetError
            If the file is missing or damaged, a channel is missing, what the file
            says contradicts the catalog, or the channels have different resolutions.
        """
        return self._read(partial(decode_observations, layout=self._layout))

    def stokes_there(self) -> dict[str, str]:
        """Return {channel: Stokes fields} of what `load` would return; no map is read.

        Raises
        ------
        DatasetError
            If the file is missing or damaged, or a channel is missing.
        """
        return self._read(partial(stokes_of_channels, layout=self._layout))

    def restricted(
        self, *, channels: Sequence[str], stokes: Literal["I", "IQU"]
    ) -> "Hdf5ObservationsDataset":
        """Return the dataset of fewer channels and fields, which reads no others.

        Parameters
        ----------
        channels
            Names of the channels.
        stokes
            "IQU" for the fields that this dataset reads, or "I".
        """
        part = copy(self)
        part._layout = self._layout.restricted(channels=channels, stokes=stokes)
        part._read_only = True  # a file is whole or not there
        return part

    def save(self, data: Observations) -> None:
        """Write the file.

        Raises
        ------
        DatasetError
            If the dataset is read-only, or the maps do not agree with the catalog,
            have no unit, or are not finite.
        """
        self._write(
            partial(
                encode_observations,
                data,
                self._layout,
                compression=self._compression,
                header=self._header,
            )
        )

    def preview(self) -> ImagePreview:
        """Return the intensity of every channel in a Mollweide projection."""
        observed = self._read(partial(decode_observations, layout=replace(self._layout, stokes="I")))
        return ImagePreview(
            sky_picture(
                {f"{name} GHz [{observed.units[name]}]": row[0] for name, row in observed.maps.items()}
            )
        )

    def _describe(self) -> dict[str, Any]:
        return {
            **super()._describe(),
            "channels": self._layout.channels,
            "stokes": self._layout.stokes,
            "unit": self._layout.maps.unit,
            "nside": self._layout.maps.nside,
            "compression": self._compression,
        }


def encode_observations(
    data: Observations,
    layout: ObservationsLayout,
    *,
    compression: Compression,
    header: Mapping[str, HeaderValue],
) -> bytes:
    """Return all channels of one sky as an HDF5 file.

    Parameters
    ----------
    data
        The maps.
    layout
        What the catalog says of them; they have to agree.
    compression
        "lzf", "gzip" or None.
    header
        Attributes of the file.

    Raises
    ------
    TypeError
        If `data` are no Observations.
    ValueError
        If the maps do not agree with the catalog, have no unit, or are not finite.
    """
    if not isinstance(data, Observations):
        raise TypeError(f"a {type(data).__name__} cannot be saved; give Observations")
    layout.check(data)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        file.attrs.update({"format": FORMAT, "version": FORMAT_VERSION})
        file.attrs.update({key: value for key, (value, _) in fact_cards(header).items()})
        for name in sorted(data.maps, key=int):
            channel_map = layout.channel_map(data, name, {})
            _add_channel(file, name, channel_map, layout=layout.maps, compression=compression)
    return buffer.getvalue()


def _add_channel(
    file: h5py.File, name: str, channel_map: SkyMap, *, layout: MapLayout, compression: Compression
) -> None:
    try:
        values = written_values(channel_map, layout)
    except ValueError as error:
        raise ValueError(f"channel {name}: {error}") from error
    dataset = file.create_dataset(
        name,
        data=values,
        chunks=(1, min(channel_map.npix, CHUNK)),
        compression=compression,
        shuffle=compression is not None,
    )
    cards = layout_cards(channel_map)
    kept = ("NSIDE", "ORDERING", "COORDSYS", "POLCCONV", "BAD_DATA")
    dataset.attrs.update({"unit": channel_map.unit, "stokes": channel_map.stokes})
    dataset.attrs.update({key.lower(): cards[key][0] for key in kept if key in cards})


def decode_observations(file: BinaryIO, path: str, *, layout: ObservationsLayout) -> Observations:
    """Read the chosen channels and fields of an HDF5 file.

    Parameters
    ----------
    file, path
        The open file, and its name for warnings.
    layout
        What the catalog says.

    Raises
    ------
    ValueError
        If this is no HDF5 file of maps or a damaged one, a channel is missing, or
        file and catalog contradict each other.
    """
    with _opened(file) as source:
        names = _chosen(source, layout)
        maps = {name: _read_channel(source, name, path=path, layout=layout) for name in names}
    return as_observations(maps)


def stokes_of_channels(file: BinaryIO, path: str, *, layout: ObservationsLayout) -> dict[str, str]:
    """Return {channel: Stokes fields} of what `decode_observations` would read.

    Raises
    ------
    ValueError
        If this is no HDF5 file of maps or a damaged one, or a channel is missing.
    """
    with _opened(file) as source:
        return {name: _fields_of(source[name], layout) for name in _chosen(source, layout)}


def _opened(file: BinaryIO) -> h5py.File:
    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise ValueError(f"no HDF5 file, or a damaged one ({error})") from error


def _chosen(source: h5py.File, layout: ObservationsLayout) -> tuple[str, ...]:
    """Return the names of the channels to read."""
    there = sorted((name for name in source if CHANNEL.match(name)), key=int)
    if not there:
        raise ValueError("no map there; an HDF5 dataset per channel must be called by its nominal GHz")
    missing = layout.absent(there)
    if missing:
        raise ValueError(f"no map of channel {', '.join(missing)}; there are the channels {', '.join(there)}")
    return layout.fitting(there)


def _fields_of(dataset: Any, layout: ObservationsLayout) -> str:
    """Return the fields of one channel that the catalog asks for."""
    stokes = _stokes_of(dataset)
    return stokes[:1] if layout.stokes == "I" else stokes


def _read_channel(source: h5py.File, name: str, *, path: str, layout: ObservationsLayout) -> SkyMap:
    """Return the fields of one channel that the catalog asks for."""
    dataset = source[name]
    fields = _fields_of(dataset, layout)
    header = {key.upper(): value for key, value in dataset.attrs.items()}
    try:
        unit = settle(
            "unit",
            in_file=readable_unit(header.get("UNIT"), layout.maps.unit, path),
            in_catalog=layout.maps.unit,
        )
        rows = list(np.asarray(dataset[: len(fields)], dtype=np.float32))
        return settle_map(rows, tuple(fields), unit=unit, header=header, layout=layout.maps, path=path)
    except (ValueError, OSError) as error:
        raise ValueError(f"channel {name}: {error}") from error


def _stokes_of(dataset: Any) -> str:
    """Return which fields a channel holds, from its attribute and its shape."""
    shape = getattr(dataset, "shape", None)
    stokes = str(dataset.attrs.get("stokes", "IQU" if shape and shape[0] == 3 else "I"))
    if shape is None or len(shape) != 2 or stokes not in ("I", "IQU") or len(stokes) != shape[0]:
        raise ValueError(
            f"channel {dataset.name.strip('/')}: shape {shape} and stokes {stokes!r}; must be a dataset of "
            "shape (1, npix) with stokes I, or (3, npix) with stokes IQU"
        )
    return stokes
