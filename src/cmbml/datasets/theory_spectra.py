"""Dataset of the spectra of one cosmology."""

import os
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from kedro.io.core import AbstractDataset, DatasetError, get_filepath_str, get_protocol_and_path
from kedro_datasets._typing import ImagePreview

from cmbml.datasets.picture import curve_picture
from cmbml.datasets.spectra_text import SpectraLayout, decode_text, encode_text
from cmbml.datasets.storage import check_writable, open_filesystem, read_file, write_files
from cmbml.science.spectra import PowerSpectra, TheorySpectra

UNLENSED = "cmb_ps_unlensed.txt"
LENSED = "cmb_ps_fid.txt"
"""The name that published CMB-ML simulations give their lensed spectra."""


class TheorySpectraDataset(AbstractDataset[TheorySpectra, TheorySpectra]):
    """Unlensed and lensed spectra of one simulation, as text in CAMB's form, in a folder.

    Where only lensed spectra are known, there is no file of unlensed ones.

    Parameters
    ----------
    filepath
        Folder of one simulation.
    read_only
        Whether saving is refused, for raw inputs.
    credentials, fs_args, metadata
        As in Kedro's own datasets.
    """

    def __init__(
        self,
        *,
        filepath: str | os.PathLike[str],
        read_only: bool = False,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        self._protocol, path = get_protocol_and_path(filepath)
        self._folder = PurePosixPath(path)
        self._fs = open_filesystem(self._protocol, credentials, fs_args)
        self._read_only = read_only
        self.metadata = metadata

    def load(self) -> TheorySpectra:
        """Return both sets of spectra, None for an unlensed one that was not saved.

        Raises
        ------
        DatasetError
            If a file is missing or damaged, or one is not what its name says.
        """
        lensed = self._one(LENSED, lensed=True)
        has_unlensed = self._fs.isfile(self._file(UNLENSED))
        return TheorySpectra(self._one(UNLENSED, lensed=False) if has_unlensed else None, lensed)

    def save(self, data: TheorySpectra) -> None:
        """Write the sets of spectra that there are.

        Raises
        ------
        DatasetError
            If the dataset is read-only, values are not finite, or `data` is something else.
        """
        check_writable(str(self._folder), read_only=self._read_only)
        if not isinstance(data, TheorySpectra):
            raise DatasetError(f"{self._folder}: a {type(data).__name__} cannot be saved; give TheorySpectra")
        layout = SpectraLayout(None, None, None, None)
        sets = {LENSED: data.lensed}
        if data.unlensed is not None:
            sets = {UNLENSED: data.unlensed, **sets}  # the lensed ones last: with them it is complete
        elif self._fs.isfile(self._file(UNLENSED)):
            self._fs.rm_file(self._file(UNLENSED))
        write_files(
            self._fs,
            [(self._file(name), partial(encode_text, spectra, layout)) for name, spectra in sets.items()],
        )

    def preview(self) -> ImagePreview:
        """Return a plot of the lensed spectra, as Kedro-Viz shows it."""
        lensed = self._one(LENSED, lensed=True)
        ell = np.arange(lensed.lmax + 1)
        curves = {name: (ell, lensed.dl(name)) for name in lensed.values}
        return ImagePreview(
            curve_picture(curves, xlabel="multipole l", ylabel=f"|D_l| [{lensed.unit or 'no unit'}]")
        )

    def _one(self, name: str, *, lensed: bool) -> PowerSpectra:
        layout = SpectraLayout(None, None, lensed, None)
        return read_file(self._fs, self._file(name), partial(decode_text, layout=layout))

    def _file(self, name: str) -> str:
        return get_filepath_str(self._folder / name, self._protocol)

    def _exists(self) -> bool:
        return bool(self._fs.isfile(self._file(LENSED)))

    def _release(self) -> None:
        self._fs.invalidate_cache(get_filepath_str(self._folder, self._protocol))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._folder, "protocol": self._protocol, "read_only": self._read_only}
