"""Dataset of all channels of one sky."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Literal

from kedro.io.core import AbstractDataset, DatasetError, get_filepath_str, get_protocol_and_path
from kedro_datasets._typing import ImagePreview

from cmbml.datasets.healpix_layout import MapLayout
from cmbml.datasets.healpix_reading import decode_map, fields_of_map
from cmbml.datasets.healpix_writing import encode_map
from cmbml.datasets.observations_layout import Choice, ObservationsLayout, as_observations
from cmbml.datasets.picture import sky_picture
from cmbml.datasets.storage import check_writable, open_filesystem, publish_files, read_file, stage_files
from cmbml.science.instrument import Observations
from cmbml.science.skymap import HeaderValue

UNFINISHED = ".unfinished"
"""File that lies in a folder while its maps get their final names."""


class ObservationsDataset(AbstractDataset[Observations, Observations]):
    """The maps of all channels of one sky, a FITS file each, as one object.

    The layout is that of published CMB-ML simulations, which can be read by
    pointing an entry at them: `sim0000/obs_100_map.fits` with the columns
    I_STOKES (Q_STOKES, U_STOKES). Channels without polarisation hold one field.

    Saving first writes all files under temporary names and then renames them;
    while it renames, a marker in the folder tells that it does not count yet.
    Files of channels that are not saved are removed: the folder is the object.

    Parameters
    ----------
    filepath
        Folder of one simulation.
    pattern
        File name of a channel, with `{channel}` where its nominal GHz stands.
    channels
        Channels to read: a named set, a range such as "100-353", or a list, as
        `cmbml.science.instrument.channel_names` reads it; by default all there are.
    stokes
        "IQU" for all Stokes fields a channel has, or "I": then Q and U are not read.
    unit, nside, ordering, polcconv, nan
        As for `HealpixMapDataset`, for every channel.
    header
        Facts to write into every file, by FITS key: where the maps come from.
    read_only
        Whether saving is refused, for raw inputs.
    credentials, fs_args, metadata
        As in Kedro's own datasets.

    Raises
    ------
    DatasetError
        On construction, if an option has a value it cannot have.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        pattern: str = "obs_{channel}_map.fits",
        channels: Choice = None,
        stokes: Literal["I", "IQU"] = "IQU",
        unit: str | None = None,
        nside: int | None = None,
        ordering: Literal["RING", "NESTED"] | None = None,
        polcconv: Literal["COSMO", "IAU"] | None = None,
        nan: Literal["error", "unseen"] = "error",
        header: Mapping[str, HeaderValue] | None = None,
        read_only: bool = False,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        protocol, path = get_protocol_and_path(filepath)
        self._folder = PurePosixPath(path)
        self._protocol = protocol
        self._fs = open_filesystem(protocol, credentials, fs_args)
        self.metadata = metadata
        if pattern.count("{channel}") != 1 or "/" in pattern:
            raise DatasetError(f"pattern {pattern!r}: must be a file name that holds {{channel}} once")
        try:
            maps = MapLayout(1, None, unit, nside, ordering, polcconv, nan)
            self._layout = ObservationsLayout(channels, stokes, maps)
        except ValueError as error:
            raise DatasetError(f"{filepath}: {error}") from error
        self._pattern = pattern
        self._read_only = read_only
        self._header = deepcopy(dict(header or {}))

    def load(self) -> Observations:
        """Return the maps of the chosen channels, in order of nominal frequency.

        Raises
        ------
        DatasetError
            If a channel is missing, a file is damaged, or the channels have
            different resolutions.
        """
        maps = {
            name: read_file(self._fs, path, partial(decode_map, layout=self._layout.maps))
            for name, path in self._chosen().items()
        }
        with self._named_errors():
            return as_observations(maps)

    def stokes_there(self) -> dict[str, str]:
        """Return {channel: Stokes fields} of what `load` would return; only headers are read.

        Raises
        ------
        DatasetError
            If a channel is missing, or a file is damaged.
        """
        return {
            name: read_file(self._fs, path, partial(fields_of_map, layout=self._layout.maps))
            for name, path in self._chosen().items()
        }

    def restricted(self, *, channels: Sequence[str], stokes: Literal["I", "IQU"]) -> "ObservationsDataset":
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
        part._read_only = True  # a folder is whole or not there
        return part

    def with_pattern(self, pattern: str) -> "ObservationsDataset":
        """Return the dataset of files with other names in the same folder."""
        other = copy(self)
        other._pattern = pattern
        return other

    def contents(self, data: Observations) -> list[tuple[str, Callable[[], bytes]]]:
        """Return the path of each file that saving writes, and a function that returns its bytes.

        Raises
        ------
        DatasetError
            If these are no observations, or they do not agree with the catalog.
        """
        if not isinstance(data, Observations):
            raise DatasetError(f"{self._folder}: a {type(data).__name__} cannot be saved; give Observations")
        with self._named_errors():
            self._layout.check(data)
        return [(self._path(name), self._encoder(data, name)) for name in data.maps]

    def save(self, data: Observations) -> None:
        """Write a file per channel.

        Raises
        ------
        DatasetError
            If the dataset is read-only, or the maps do not agree with the catalog,
            have no unit, or are not finite.
        """
        check_writable(str(self._folder), read_only=self._read_only)
        staged = stage_files(self._fs, self.contents(data))
        marker = self._file(UNFINISHED)
        self._fs.pipe_file(marker, b"")
        publish_files(self._fs, staged)
        for name, path in self._maps_among(self._listing()).items():
            if name not in data.maps:
                self._fs.rm_file(path)
        self._fs.rm_file(marker)
        self._invalidate_cache()

    def preview(self) -> ImagePreview:
        """Return the intensity of every channel in a Mollweide projection."""
        layout = replace(self._layout.maps, fields=("I",))
        maps = {
            name: read_file(self._fs, path, partial(decode_map, layout=layout))
            for name, path in self._chosen().items()
        }
        return ImagePreview(
            sky_picture({f"{name} GHz [{sky_map.unit}]": sky_map.values[0] for name, sky_map in maps.items()})
        )

    # ---- Files ----------------------------------------------------------------

    def _file(self, name: str) -> str:
        return get_filepath_str(self._folder / name, self._protocol)

    def _path(self, channel: str) -> str:
        return self._file(self._pattern.replace("{channel}", channel))

    def _listing(self) -> list[str]:
        """Return the names of all files in the folder."""
        self._invalidate_cache()
        try:
            entries = self._fs.ls(self._file(""), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries]

    def _maps_among(self, names: list[str]) -> dict[str, str]:
        """Return {channel: path} of the maps among file names, in order of nominal frequency."""
        before, after = (re.escape(part) for part in self._pattern.split("{channel}"))
        matches = (re.match(rf"^{before}([1-9]\d*){after}$", name) for name in names)
        return {channel: self._path(channel) for channel in sorted((m[1] for m in matches if m), key=int)}

    def _chosen(self) -> dict[str, str]:
        """Return {channel: path} of what is to be read."""
        names = self._listing()
        files = self._maps_among(names)
        if UNFINISHED in names:
            raise DatasetError(
                f"{self._folder}: saving was interrupted while the files got their names; make it again"
            )
        if not files:
            raise DatasetError(f"{self._folder}: no map there; files must be called {self._pattern}")
        missing = self._layout.absent(tuple(files))
        if missing:
            raise DatasetError(
                f"{self._folder}: no map of channel {', '.join(missing)} ({self._path(missing[0])}); "
                f"there are the channels {', '.join(files)}"
            )
        with self._named_errors():
            return {name: files[name] for name in self._layout.fitting(tuple(files))}

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        """Put the folder's name before what is wrong with its maps."""
        try:
            yield
        except ValueError as error:
            raise DatasetError(f"{self._folder}: {error}") from error

    def _encoder(self, data: Observations, name: str) -> Callable[[], bytes]:
        return partial(_encode_channel, data, name, self._layout, header=self._header)

    # ---- Kedro's side -----------------------------------------------------------

    def _exists(self) -> bool:
        try:
            return bool(self._chosen())
        except DatasetError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {
            "filepath": self._folder,
            "protocol": self._protocol,
            "pattern": self._pattern,
            "channels": self._layout.channels,
            "stokes": self._layout.stokes,
            "unit": self._layout.maps.unit,
            "nside": self._layout.maps.nside,
            "read_only": self._read_only,
        }

    def _release(self) -> None:
        self._invalidate_cache()

    def _invalidate_cache(self) -> None:
        self._fs.invalidate_cache(self._file(""))


def _encode_channel(
    data: Observations, name: str, layout: ObservationsLayout, *, header: Mapping[str, HeaderValue]
) -> bytes:
    """Return one channel as a FITS file."""
    channel_map = layout.channel_map(data, name, header)
    try:
        return encode_map(channel_map, layout.maps)
    except ValueError as error:
        raise ValueError(f"channel {name}: {error}") from error
