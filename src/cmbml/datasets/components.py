"""Dataset of the components of one sky, each as its channels see it."""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import PurePosixPath
from typing import Any, Literal

from kedro.io.core import AbstractDataset, DatasetError, get_filepath_str, get_protocol_and_path
from kedro_datasets._typing import ImagePreview

from cmbml.datasets.observations import UNFINISHED, ObservationsDataset
from cmbml.datasets.storage import check_writable, publish_files, stage_files
from cmbml.science.instrument import Observations
from cmbml.science.skymap import HeaderValue

_NAME = r"[A-Za-z][A-Za-z0-9_]*"
_FILE = re.compile(rf"^({_NAME})_[1-9]\d*_map\.fits$")

Components = Mapping[str, Observations] | Iterable[tuple[str, Observations]]


class ComponentsDataset(AbstractDataset[Components, dict[str, Observations]]):
    """The maps of every component of one sky in every channel, a FITS file each.

    The files of one simulation lie in one folder: `sim0000/dust_100_map.fits`.
    Each component is what `ObservationsDataset` reads and writes.

    Saving takes a mapping, or pairs of name and observations, of which it holds
    one at a time. All files are written under temporary names first and then
    renamed; files that are not saved are removed: the folder is the object.

    Parameters
    ----------
    filepath
        Folder of one simulation.
    components
        Components to read; by default all there are.
    channels, stokes, unit, nside, ordering, polcconv, nan
        As for `ObservationsDataset`.
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
        components: Sequence[str] | None = None,
        header: Mapping[str, HeaderValue] | None = None,
        read_only: bool = False,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        **maps: Any,
    ) -> None:
        self._maps = ObservationsDataset(
            filepath=filepath, header=header, credentials=credentials, fs_args=fs_args, **maps
        )
        protocol, path = get_protocol_and_path(filepath)
        self._folder, self._protocol = PurePosixPath(path), protocol
        self._fs = self._maps._fs
        self._components = None if components is None else list(components)
        self._read_only = read_only
        self.metadata = metadata

    def load(self) -> dict[str, Observations]:
        """Return the maps of each chosen component, by name.

        Raises
        ------
        DatasetError
            If a component is missing, or `ObservationsDataset` cannot read one.
        """
        return {name: self._dataset(name).load() for name in self._chosen()}

    def restricted(self, *, channels: Sequence[str], stokes: Literal["I", "IQU"]) -> "ComponentsDataset":
        """Return the dataset of fewer channels and fields, see `ObservationsDataset.restricted`."""
        part = copy(self)
        part._maps = self._maps.restricted(channels=channels, stokes=stokes)
        part._read_only = True
        return part

    def save(self, data: Components) -> None:
        """Write a file per component and channel.

        Raises
        ------
        DatasetError
            If the dataset is read-only, the name of a component cannot be part of a
            file name, or `ObservationsDataset` cannot save one.
        """
        check_writable(str(self._folder), read_only=self._read_only)
        if not isinstance(data, Iterable) or isinstance(data, str):
            raise DatasetError(
                f"{self._folder}: a {type(data).__name__} cannot be saved; give Observations by component"
            )
        staged = stage_files(self._fs, self._contents(data))
        written = {path for _, path in staged}
        marker = self._file(UNFINISHED)
        self._fs.pipe_file(marker, b"")
        publish_files(self._fs, staged)
        for name in self._listing():
            if _FILE.match(name) and self._file(name) not in written:
                self._fs.rm_file(self._file(name))
        self._fs.rm_file(marker)
        self._invalidate_cache()

    def preview(self) -> ImagePreview:
        """Return the intensity of the first component in every channel."""
        return self._dataset(self._chosen()[0]).preview()

    # ---- Files ----------------------------------------------------------------

    def _contents(self, data: Components) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """Yield path and encoder of every file, one component after the other."""
        for name, observations in data.items() if isinstance(data, Mapping) else data:
            if not re.fullmatch(_NAME, str(name)):
                raise DatasetError(
                    f"{self._folder}: component {name!r} cannot be saved: a name has only letters, digits "
                    "and _, and begins with a letter"
                )
            yield from self._dataset(name).contents(observations)

    def _dataset(self, component: str) -> ObservationsDataset:
        return self._maps.with_pattern(f"{component}_{{channel}}_map.fits")

    def _chosen(self) -> list[str]:
        """Return the names of the components to read."""
        names = self._listing()
        found = sorted({match[1] for match in map(_FILE.match, names) if match})
        if UNFINISHED in names:
            raise DatasetError(f"{self._folder}: saving was interrupted; make the components again")
        if not found:
            raise DatasetError(
                f"{self._folder}: no map there; files must be called {{component}}_{{channel}}_map.fits"
            )
        missing = [name for name in self._components or () if name not in found]
        if missing:
            raise DatasetError(
                f"{self._folder}: no component {', '.join(missing)}; there are {', '.join(found)}"
            )
        return self._components or found

    def _file(self, name: str) -> str:
        return get_filepath_str(self._folder / name, self._protocol)

    def _listing(self) -> list[str]:
        """Return the names of all files in the folder."""
        self._invalidate_cache()
        try:
            entries = self._fs.ls(self._file(""), detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries]

    # ---- Kedro's side -----------------------------------------------------------

    def _exists(self) -> bool:
        try:
            return bool(self._chosen())
        except DatasetError:
            return False

    def _describe(self) -> dict[str, Any]:
        return {**self._maps._describe(), "components": self._components, "read_only": self._read_only}

    def _release(self) -> None:
        self._invalidate_cache()

    def _invalidate_cache(self) -> None:
        self._fs.invalidate_cache(self._file(""))
