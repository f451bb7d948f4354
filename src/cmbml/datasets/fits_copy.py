"""Dataset of a FITS file that is read piece by piece, to be held against another copy."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from kedro.io.core import AbstractDataset, DatasetError
from numpy.typing import NDArray

from cmbml.datasets.checksum_ledger import digest
from cmbml.datasets.fits_table import open_tables

PIECE_BYTES = 64_000_000
"""Rows are read in pieces of about this size."""


@dataclass(frozen=True)
class FitsCopy:
    """Tables of a FITS file on disk; nothing is read before it is asked for.

    Parameters
    ----------
    path
        The file.
    """

    path: Path

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.path.stat().st_size

    def sha256(self) -> str:
        """Return the checksum of the file."""
        return digest(self.path, "sha256")

    def cards(self) -> list[dict[str, str]]:
        """Return the header cards {key: value} of each HDU; a key that stands often has all its values."""
        with fits.open(self.path, memmap=True) as hdus:
            return [_cards(hdu.header) for hdu in hdus]

    def pieces(self, hdu: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Yield the columns {name: values} of a table, some rows at a time; scaled as the header says.

        Raises
        ------
        ValueError
            If the HDU is no table, or is cut short.
        """
        with open(self.path, "rb") as file, open_tables(file, hdu) as (table,):
            rows = max(1, PIECE_BYTES // int(table.header["NAXIS1"]))
            for start in range(0, int(table.header["NAXIS2"]), rows):
                piece = table.data[start : start + rows]
                yield {name: np.asarray(piece.field(name)) for name in table.columns.names}


class FitsCopyDataset(AbstractDataset[None, FitsCopy]):
    """A FITS file, loaded as a `FitsCopy`, which reads it piece by piece; never saved.

    Parameters
    ----------
    filepath
        The file, on a local disk.
    metadata
        Any, as in Kedro's own datasets.
    """

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._filepath = Path(filepath)
        self.metadata = metadata

    def load(self) -> FitsCopy:
        """Return the file, closed.

        Raises
        ------
        DatasetError
            If there is none.
        """
        if not self._exists():
            raise DatasetError(f"{self._filepath}: no such file")
        return FitsCopy(self._filepath)

    def save(self, data: None) -> None:
        """Refuse: this is a raw input.

        Raises
        ------
        DatasetError
            Always.
        """
        raise DatasetError(f"{self._filepath}: a copy of a raw input is only read")

    def _exists(self) -> bool:
        return self._filepath.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._filepath)}


def _cards(header: fits.Header) -> dict[str, str]:
    cards: dict[str, str] = {}
    for card in header.cards:
        cards[card.keyword] = (
            f"{cards[card.keyword]}\n{card.value}" if card.keyword in cards else str(card.value)
        )
    return cards
