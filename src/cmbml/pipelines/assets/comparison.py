"""Whether two copies of a file hold the same numbers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ColumnDifference:
    """How a column of two tables differs.

    Parameters
    ----------
    count
        Values compared.
    differing
        How many are not the same; two NaN are the same.
    largest
        Largest |one - other| of the values that are finite in both; 0 if there is
        none, NaN for texts.
    """

    count: int
    differing: int
    largest: float


def compare_columns(pieces: Iterable[tuple[Columns, Columns]]) -> dict[str, ColumnDifference]:
    """Compare two tables that come piece by piece.

    Parameters
    ----------
    pieces
        The same rows of both, {column: values}, in any number of pieces.

    Returns
    -------
    dict
        By column, in the order of the first table.

    Raises
    ------
    ValueError
        If the tables do not have the same columns, or a column not the same shape.
    """
    found: dict[str, ColumnDifference] = {}
    for one, other in pieces:
        if list(one) != list(other):
            raise ValueError(f"columns {', '.join(one)} and {', '.join(other)}: not the same")
        for name in one:
            found[name] = _add(found.get(name), _compare(name, one[name], other[name]))
    return found


def compare_cards(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return {key: both values} of the header cards that differ; "" for a card that is not there."""
    keys = dict.fromkeys([*one, *other])
    return {key: (one.get(key, ""), other.get(key, "")) for key in keys if one.get(key) != other.get(key)}


def same_layout(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Return whether two HDUs hold their values in the same rows and columns, by their header cards."""
    return all(one.get(key) == other.get(key) for key in ("XTENSION", "NAXIS", "NAXIS1", "NAXIS2", "TFIELDS"))


def _compare(name: str, one: NDArray[Any], other: NDArray[Any]) -> ColumnDifference:
    if one.shape != other.shape:
        raise ValueError(f"column {name}: shapes {one.shape} and {other.shape} are not the same")
    if one.dtype.kind not in "biuf" or other.dtype.kind not in "biuf":
        return ColumnDifference(one.size, int(np.count_nonzero(one != other)), np.nan)
    first, second = one.astype(np.float64), other.astype(np.float64)
    differing = (first != second) & ~(np.isnan(first) & np.isnan(second))
    with np.errstate(invalid="ignore"):
        sizes = np.abs(first - second)
    largest = np.max(sizes, where=np.isfinite(sizes), initial=0.0)
    return ColumnDifference(one.size, int(np.count_nonzero(differing)), float(largest))


def _add(before: ColumnDifference | None, now: ColumnDifference) -> ColumnDifference:
    if before is None:
        return now
    return ColumnDifference(
        before.count + now.count, before.differing + now.differing, max(before.largest, now.largest)
    )
