"""Power spectra as text, in CAMB's form, and as bare arrays.

A file of ours begins

    #  L  TT  EE  BB  TE
    # scaling=dl lensed=true unit=uK_CMB2 lmax=2500

and has a row per multipole from l = 0. Its numbers have 17 digits, which give
back the same float64. In files of CAMB and Planck the second line is missing:
the catalog states what it would say. Their rows may begin at l = 2.
"""

import io
import re
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from cmbml.datasets.storage import settle
from cmbml.science.skymap import map_unit
from cmbml.science.spectra import PowerSpectra, Scaling
from cmbml.science.units import parse_unit

_SPECTRUM = re.compile(r"^[TEBP]{2}$")
_OUR_NAME = {"ET": "TE", "BT": "TB", "BE": "EB", "TP": "PT", "EP": "PE", "BP": "PB"}
"""Spectra of two fields do not depend on the order of their letters; CAMB writes both."""

_LAST_START = 2
"""Monopole and dipole carry no power and are often left out; a later start is a gap."""


@dataclass(frozen=True)
class SpectraLayout:
    """What a catalog entry says about spectra; see `PowerSpectraDataset`.

    Raises
    ------
    ValueError
        If a choice is none of those there are.
    """

    columns: tuple[str, ...] | None = None
    scaling: Scaling | None = None
    lensed: bool | None = None
    unit: str | None = None

    def __post_init__(self) -> None:
        if self.scaling not in (None, "cl", "dl"):
            raise ValueError(f"scaling {self.scaling!r}: must be 'cl' or 'dl'")
        if self.lensed not in (None, True, False):
            raise ValueError(f"lensed {self.lensed!r}: must be true or false")
        if self.unit is not None:
            object.__setattr__(self, "unit", spectra_unit(str(self.unit)))
        if self.columns is not None:
            object.__setattr__(self, "columns", _names(self.columns))


def spectra_unit(text: str) -> str:
    """Return the one spelling of the unit of spectra; "" for none.

    Raises
    ------
    ValueError
        If it is not the square of a map's unit.
    """
    unit = map_unit(text)
    if unit and parse_unit(unit).power != 2:
        raise ValueError(f"unit {text!r}: spectra have the square of a map's unit, such as uK_CMB2")
    return unit


# ---- Reading ------------------------------------------------------------------


def decode_text(file: BinaryIO, path: str, layout: SpectraLayout) -> PowerSpectra:
    """Read spectra from text.

    Parameters
    ----------
    file, path
        The open file; its name is not needed.
    layout
        What the catalog says about it.

    Raises
    ------
    ValueError
        If the file is cut short, its rows do not fit its columns or leave out
        multipoles, values are not finite, or it leaves open what the catalog
        does not state either, or contradicts it.
    """
    text = file.read().decode("utf-8")
    if not text.endswith("\n"):
        raise ValueError(
            "the last row has no line end: the file is cut short; make it again, or complete the line"
        )
    lines = text.splitlines()
    comments = [line.lstrip("# \t") for line in lines if line.lstrip().startswith("#")]
    statement = _statement(comments)
    names = settle("columns", in_file=_header_names(comments), in_catalog=layout.columns)
    table = _table(lines, names)
    if "lmax" in statement and statement["lmax"] != str(int(table[-1, 0])):
        raise ValueError(
            f"rows end at l = {int(table[-1, 0])}, the header says lmax={statement['lmax']}: cut short"
        )
    values = _fill_start(table)
    lensed = {"true": True, "false": False}.get(statement.get("lensed", ""))
    unit = spectra_unit(statement["unit"]) if "unit" in statement else None
    return PowerSpectra(
        dict(zip(names[1:], values, strict=True)),
        settle("scaling", in_file=_scaling(statement.get("scaling")), in_catalog=layout.scaling),
        settle("lensed", in_file=lensed, in_catalog=layout.lensed),
        settle("unit", in_file=unit, in_catalog=layout.unit),
    )


def decode_array(file: BinaryIO, path: str, layout: SpectraLayout) -> PowerSpectra:
    """Read spectra from `.npy`: shape (lmax + 1,) or (n_spectra, lmax + 1), from l = 0.

    Parameters
    ----------
    file, path
        The open file; its name is not needed.
    layout
        What the catalog says about it: everything, as an array says nothing.

    Raises
    ------
    ValueError
        If the catalog leaves something open, or the array has another shape or
        values that are not finite.
    """
    values = np.atleast_2d(np.load(file, allow_pickle=False))
    names = settle("columns", in_file=None, in_catalog=layout.columns)
    names = names[1:] if names[:1] == ("L",) else names
    if values.ndim != 2 or len(values) != len(names):
        raise ValueError(
            f"array of shape {values.shape} does not hold the spectra {', '.join(names)}, one per row"
        )
    _check_finite(values, names)
    return PowerSpectra(
        dict(zip(names, values.astype(np.float64), strict=True)),
        settle("scaling", in_file=None, in_catalog=layout.scaling),
        settle("lensed", in_file=None, in_catalog=layout.lensed),
        settle("unit", in_file=None, in_catalog=layout.unit),
    )


def _names(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return columns as L and our names of spectra."""
    names = tuple("L" if name.lower() in ("l", "ell") else _OUR_NAME.get(name, name) for name in columns)
    unknown = [name for name in names if name != "L" and not _SPECTRUM.match(name)]
    if unknown or len(set(names)) != len(names) or "L" in names[1:]:
        raise ValueError(
            f"columns {', '.join(columns)}: must be L first, and then different spectra "
            "of two letters of T, E, B, P"
        )
    return names


def _header_names(comments: list[str]) -> tuple[str, ...] | None:
    """Return the names of the columns if a comment lists them."""
    for line in comments:
        words = line.split()
        if (
            len(words) > 1
            and words[0].lower() in ("l", "ell")
            and all(_SPECTRUM.match(word) for word in words[1:])
        ):
            return _names(tuple(words))
    return None


def _statement(comments: list[str]) -> dict[str, str]:
    """Return what the second line of our own files says; nothing for those of others."""
    for line in comments:
        if line.startswith("scaling="):
            return dict(word.split("=", 1) for word in line.split() if "=" in word)
    return {}


def _scaling(text: str | None) -> Literal["cl", "dl"] | None:
    if text not in (None, "cl", "dl"):
        raise ValueError(f"scaling {text!r} in the header: must be cl or dl")
    return text  # type: ignore[return-value]  # mypy does not narrow by `in`


def _table(lines: list[str], names: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the rows, shape (n_rows, n_columns), checked."""
    if names[0] != "L":
        raise ValueError(f"columns {', '.join(names)}: the first column of a text file must be L")
    rows = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != len(names):
            raise ValueError(
                f"line {number} has {len(words)} numbers, expected {len(names)} ({', '.join(names)}): "
                "the file is damaged, or `columns:` in the catalog entry is wrong"
            )
        rows.append(words)
    if not rows:
        raise ValueError("the file has no rows")
    table = np.array(rows, dtype=np.float64)
    _check_finite(table.T, names)
    _check_multipoles(table[:, 0])
    return table


def _check_multipoles(ell: NDArray[np.float64]) -> None:
    if np.any(ell != np.round(ell)):
        raise ValueError(f"l = {ell[ell != np.round(ell)][0]:g} is no whole number")
    if not 0 <= ell[0] <= _LAST_START:
        raise ValueError(f"rows begin at l = {ell[0]:.0f}, must begin at 0, 1 or 2")
    jumps = np.flatnonzero(np.diff(ell) != 1)
    if jumps.size:
        raise ValueError(
            f"l goes from {ell[jumps[0]]:.0f} to {ell[jumps[0] + 1]:.0f}: every multipole needs one row"
        )


def _check_finite(rows: NDArray[np.float64], names: tuple[str, ...]) -> None:
    for name, row in zip(names, rows, strict=True):
        if not np.all(np.isfinite(row)):
            raise ValueError(
                f"spectrum {name}: not finite in row {int(np.argmin(np.isfinite(row)))} (from 0)"
            )


def _fill_start(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the spectra from l = 0, shape (n_spectra, lmax + 1); zero below the first row."""
    start = int(table[0, 0])
    values = np.zeros((table.shape[1] - 1, start + len(table)))
    values[:, start:] = table[:, 1:].T
    return values


# ---- Writing ------------------------------------------------------------------


def encode_text(spectra: PowerSpectra, layout: SpectraLayout) -> bytes:
    """Return spectra as text that `numpy.loadtxt` reads too.

    Raises
    ------
    TypeError
        If `spectra` are no PowerSpectra.
    ValueError
        If they contradict the catalog or are not finite.
    """
    names, values = _checked(spectra, layout)
    unit = spectra_unit(spectra.unit) or "1"
    facts = f"scaling={spectra.scaling} lensed={str(spectra.lensed).lower()} unit={unit} lmax={spectra.lmax}"
    header = f"# {'L':>4} " + " ".join(f"{name:>24}" for name in names)
    buffer = io.StringIO()
    buffer.write(f"{header.rstrip()}\n# {facts}\n")
    table = np.column_stack([np.arange(spectra.lmax + 1), *values])
    np.savetxt(buffer, table, fmt=["%6d"] + ["%24.17g"] * len(names))
    return buffer.getvalue().encode("ascii")


def encode_array(spectra: PowerSpectra, layout: SpectraLayout) -> bytes:
    """Return spectra as `.npy`, shape (n_spectra, lmax + 1).

    Raises
    ------
    TypeError
        If `spectra` are no PowerSpectra.
    ValueError
        If the catalog does not state all that the array cannot say, or they
        contradict it or are not finite.
    """
    _, values = _checked(spectra, layout)
    open_facts = [key for key, fact in vars(layout).items() if fact is None]
    if open_facts:
        raise ValueError(
            f"a .npy file cannot say what it holds; state {', '.join(f'`{key}:`' for key in open_facts)} in "
            "the catalog entry, or save as .txt"
        )
    buffer = io.BytesIO()
    np.save(buffer, np.stack(values), allow_pickle=False)
    return buffer.getvalue()


def _checked(spectra: PowerSpectra, layout: SpectraLayout) -> tuple[tuple[str, ...], list[NDArray[Any]]]:
    """Return names and values of the spectra if they agree with the catalog."""
    if not isinstance(spectra, PowerSpectra):
        raise TypeError(
            f"a {type(spectra).__name__} cannot be saved; give cmbml.science.spectra.PowerSpectra"
        )
    names = _names(("L", *spectra.values))[1:]
    settle("scaling", in_file=spectra.scaling, in_catalog=layout.scaling)
    settle("lensed", in_file=spectra.lensed, in_catalog=layout.lensed)
    settle("unit", in_file=spectra_unit(spectra.unit), in_catalog=layout.unit)
    if layout.columns is not None:
        settle("columns", in_file=names, in_catalog=tuple(name for name in layout.columns if name != "L"))
    values = [np.asarray(value, dtype=np.float64) for value in spectra.values.values()]
    _check_finite(np.stack(values), names)
    return names, values
