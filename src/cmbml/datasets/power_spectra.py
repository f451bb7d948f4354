"""Dataset of power spectra."""

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from kedro.io.core import DatasetError, Version
from kedro_datasets._typing import ImagePreview

from cmbml.datasets.picture import curve_picture
from cmbml.datasets.spectra_text import SpectraLayout, decode_array, decode_text, encode_array, encode_text
from cmbml.datasets.storage import AtomicFileDataset
from cmbml.science.spectra import PowerSpectra, Scaling


class PowerSpectraDataset(AtomicFileDataset[PowerSpectra, PowerSpectra]):
    """Power spectra, as text in CAMB's form or as a bare `.npy` array.

    A text file of ours says what it holds. For one of CAMB or Planck the catalog
    has to state `scaling`, `lensed` and `unit`, and `columns` too if the file
    does not name them; columns are found by name, so that their order is free.
    An array (suffix `.npy`, shape (lmax + 1,) or (n_spectra, lmax + 1), from
    l = 0) says nothing: all four are stated in the catalog, also for saving.
    What both state has to agree.

    Parameters
    ----------
    filepath
        The file; `.npy` is an array, everything else is text.
    columns
        Names of the columns: L (text only), then TT, EE, ..., PP, PT.
    scaling
        "cl", or "dl" as `cmbml.science.spectra.dl_factor` defines it, which is CAMB's way.
    lensed
        Whether T, E, B are lensed.
    unit
        uK_CMB2, K_CMB2, or "1" for no unit.
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
        columns: Sequence[str] | None = None,
        scaling: Scaling | None = None,
        lensed: bool | None = None,
        unit: str | None = None,
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
            self._layout = SpectraLayout(tuple(columns) if columns else None, scaling, lensed, unit)
        except ValueError as error:
            raise DatasetError(f"{filepath}: {error}") from error
        self._is_array = self._filepath.suffix == ".npy"

    def load(self) -> PowerSpectra:
        """Return the spectra, from l = 0.

        Raises
        ------
        DatasetError
            If the file is missing or damaged, leaves open what the catalog does
            not state either, or contradicts it.
        """
        return self._read(partial(decode_array if self._is_array else decode_text, layout=self._layout))

    def save(self, data: PowerSpectra) -> None:
        """Write the spectra.

        Raises
        ------
        DatasetError
            If the dataset is read-only, values are not finite, or spectra and
            catalog contradict each other.
        """
        self._write(partial(encode_array if self._is_array else encode_text, data, self._layout))

    def preview(self) -> ImagePreview:
        """Return a plot of the sizes of all D_l, as Kedro-Viz shows it."""
        spectra = self.load()
        ell = np.arange(spectra.lmax + 1)
        curves = {name: (ell, spectra.dl(name)) for name in spectra.values}
        label = f"|D_l| [{spectra.unit or 'no unit'}]"
        return ImagePreview(curve_picture(curves, xlabel="multipole l", ylabel=label))

    def _describe(self) -> dict[str, Any]:
        layout = self._layout
        return {
            **super()._describe(),
            "columns": layout.columns,
            "scaling": layout.scaling,
            "lensed": layout.lensed,
            "unit": layout.unit,
        }
