"""What a catalog entry says about a HEALPix map, and how its columns are called."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmbml.science.pixels import check_nside, nside_to_npix
from cmbml.science.skymap import map_unit

SIGN_OF_U = ("U", "IU", "QU")
"""Fields that change sign between the IAU and the COSMO convention (UU does not)."""

COLUMN_NAMES = {
    "I": ("I_STOKES", "STOKES_I", "TEMPERATURE", "T", "I"),
    "Q": ("Q_STOKES", "STOKES_Q", "Q_POLARISATION", "Q_POLARIZATION", "Q-POLARISATION", "Q"),
    "U": ("U_STOKES", "STOKES_U", "U_POLARISATION", "U_POLARIZATION", "U-POLARISATION", "U"),
    **{pair: (f"{pair}_COV", pair) for pair in ("II", "IQ", "IU", "QQ", "QU", "UU")},
}
"""Names in published files of each field; the first one is what we write."""

FIELD_OF_COLUMN = {column: name for name, columns in COLUMN_NAMES.items() for column in columns}

LAYOUT_KEY = re.compile(
    r"^(SIMPLE|XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|EXTEND|TFIELDS|T(?:TYPE|FORM|UNIT|NULL|SCAL|ZERO|DISP|DIM|COMM)\d+|EXTNAME|EXTVER|EXTLEVEL|"
    r"PIXTYPE|ORDERING|NSIDE|FIRSTPIX|LASTPIX|INDXSCHM|OBJECT|OBS_NPIX|COORDSYS|POLCCONV|POLAR|BAD_DATA|"
    r"CREATOR|DATE|CHECKSUM|DATASUM|COMMENT|HISTORY|CONTINUE|END|)$"
)
"""Keys that describe the table itself; the others are facts about the map."""

LEGAL_KEY = re.compile(r"^[A-Z0-9_-]{1,8}$")


@dataclass(frozen=True)
class MapLayout:
    """What a catalog entry says about a map; see `HealpixMapDataset`.

    Raises
    ------
    ValueError
        If a choice is none of those there are.
    """

    hdu: int | str = 1
    fields: tuple[int | str, ...] | None = None
    unit: str | None = None
    nside: int | None = None
    ordering: Literal["RING", "NESTED"] | None = None
    polcconv: Literal["COSMO", "IAU"] | None = None
    nan: Literal["error", "unseen"] = "error"

    def __post_init__(self) -> None:
        choices = {
            "ordering": (None, "RING", "NESTED"),
            "polcconv": (None, "COSMO", "IAU"),
            "nan": ("error", "unseen"),
        }
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                names = ", ".join(str(choice) for choice in allowed if choice)
                raise ValueError(f"{key} {getattr(self, key)!r}: must be one of {names}")
        if self.nside is not None:
            check_nside(self.nside)
        if self.unit is not None:
            object.__setattr__(self, "unit", map_unit(str(self.unit)))


def check_size(npix: int, nside: int | None) -> None:
    """Check that a map of `npix` pixels has resolution `nside`, if one is expected.

    Raises
    ------
    ValueError
        If it has not.
    """
    if nside is not None and npix != nside_to_npix(nside):
        raise ValueError(f"map has npix {npix}, expected {nside_to_npix(nside)} (nside {nside})")


def check_finite(values: NDArray[Any], names: tuple[str, ...], *, remedy: str) -> None:
    """Check that all pixels are finite.

    Parameters
    ----------
    values
        Shape (n_fields, npix).
    names
        Name of each field.
    remedy
        What to do about it, for the message.

    Raises
    ------
    ValueError
        If one is NaN or infinite; says how many and where.
    """
    for name, row in zip(names, values, strict=True):
        finite = np.isfinite(row)
        if not finite.all():
            raise ValueError(
                f"field {name}: {np.count_nonzero(~finite)} pixels are NaN or infinite, the first is pixel "
                f"{int(np.argmin(finite))} (RING); {remedy}"
            )
