"""Dataset of a figure."""

import os
from functools import partial
from typing import Any, BinaryIO

from kedro.io.core import Version
from kedro_datasets._typing import ImagePreview
from matplotlib.figure import Figure

from cmbml.datasets.picture import figure_png, small_png_text
from cmbml.datasets.storage import AtomicFileDataset

_FIRST_BYTES = b"\x89PNG\r\n\x1a\n"
_LAST_BYTES = b"IEND\xaeB`\x82"


class FigureDataset(AtomicFileDataset[Figure, bytes]):
    """A matplotlib figure as a PNG file; equal figures give equal files.

    Loading returns the bytes of the PNG, which a notebook shows with
    `IPython.display.Image`.

    Parameters
    ----------
    filepath
        The file.
    dpi
        Dots per inch; by default the figure's own.
    read_only, version, credentials, fs_args, metadata
        See `AtomicFileDataset`.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        dpi: float | None = None,
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
        self._dpi = dpi

    def load(self) -> bytes:
        """Return the PNG.

        Raises
        ------
        DatasetError
            If the file is missing, or no whole PNG.
        """
        return self._read(_decode)

    def save(self, data: Figure) -> None:
        """Write the figure.

        Raises
        ------
        DatasetError
            If the dataset is read-only, or `data` is no figure.
        """
        self._write(partial(_encode, data, self._dpi))

    def preview(self) -> ImagePreview:
        """Return the figure at reduced size, as Kedro-Viz shows it."""
        return ImagePreview(small_png_text(self.load()))

    def _describe(self) -> dict[str, Any]:
        return {**super()._describe(), "dpi": self._dpi}


def _decode(file: BinaryIO, path: str) -> bytes:
    png = file.read()
    if not png.startswith(_FIRST_BYTES) or not png.endswith(_LAST_BYTES):
        raise ValueError("no PNG, or one that is cut short; make it again")
    return png


def _encode(figure: Figure, dpi: float | None) -> bytes:
    if not isinstance(figure, Figure):
        raise TypeError(f"a {type(figure).__name__} cannot be saved; give a matplotlib.figure.Figure")
    return figure_png(figure, dpi="figure" if dpi is None else dpi)
