"""Transforms that scale every feature by numbers of its own."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cmbml.learning.features import label
from cmbml.learning.statistics import extremes, moments, robust_moments
from cmbml.learning.transform import Row, Transform

Numbers = tuple[float, ...]

SINGLE_PRECISION = float(np.finfo(np.float32).eps)
"""Relative spread below which a feature counts as constant."""


class PerFeature(Transform):
    """Base of the transforms (x - shift) * scale, with two numbers for each feature."""

    @abstractmethod
    def line(self) -> tuple[Numbers, Numbers]:
        """Return shift and scale of every feature; a single number stands for all features."""

    def apply(self, sky: Any) -> Any:
        """Subtract, then multiply."""
        shift, scale = (_column(numbers, sky, self.kind) for numbers in self.line())
        if any(self.line()[0]):
            sky -= shift
        sky *= scale
        return sky

    def undo(self, sky: Any) -> Any:
        """Divide, then add."""
        shift, scale = (_column(numbers, sky, self.kind) for numbers in self.line())
        sky /= scale
        if any(self.line()[0]):
            sky += shift
        return sky

    def _fitted(self, numbers: Numbers | None) -> Numbers:
        if numbers is None:
            raise ValueError(f"{self.kind}: not fitted yet; fit it to the skies of the training split")
        return numbers


@dataclass(frozen=True, eq=False)
class Factor(PerFeature):
    """Divides all features by one number.

    Parameters
    ----------
    factor
        The number; CMBNNCS divides its inputs by 1 and its target by 5.

    Raises
    ------
    ValueError
        If it is 0.

    References
    ----------
    Wang et al. 2022, ApJS 260, 13, arXiv:2204.01820, section 3.
    """

    factor: float

    kind = "factor"

    def __post_init__(self) -> None:
        if self.factor == 0:
            raise ValueError("factor 0: nothing can be divided by it; give another number")

    def line(self) -> tuple[Numbers, Numbers]:
        """Return shift and scale."""
        return (0.0,), (1 / self.factor,)

    def _numbers(self, number: int, names: Sequence[str]) -> Row:
        return {"factor": self.factor}


@dataclass(frozen=True, eq=False)
class UnitConversion(PerFeature):
    """Multiplies every feature by the number that turns its unit into another one.

    Parameters
    ----------
    factors
        A number per feature, none of them 0.

    Raises
    ------
    ValueError
        If one is 0.
    """

    factors: Numbers

    kind = "unit_conversion"

    def __post_init__(self) -> None:
        if 0 in self.factors:
            raise ValueError(f"factors {list(self.factors)}: no unit is 0 times another one")

    def line(self) -> tuple[Numbers, Numbers]:
        """Return shift and scale."""
        return (0.0,), self.factors

    def _numbers(self, number: int, names: Sequence[str]) -> Row:
        return {"unit_factor": self.factors[number]}


@dataclass(frozen=True, eq=False)
class MaxAbs(PerFeature):
    """Scales every feature so that +-(its largest absolute value) become the ends of a range.

    Parameters
    ----------
    low, high
        The range; with 0 and 1 this is x / (2 max|x|) + 1/2, as Petroff et al. scale their target.
    largest
        By feature, the largest absolute value; None before it is fitted.

    Raises
    ------
    ValueError
        If `low` is not below `high`.

    References
    ----------
    Petroff et al. 2020, ApJ 903, 104, arXiv:2004.11507, section 3.
    """

    low: float
    high: float
    largest: Numbers | None = None

    kind = "max_abs"
    needs_fit = True

    def __post_init__(self) -> None:
        _check_range(self.low, self.high)

    def fit(self, skies: Iterable[Any], *, names: Sequence[str] = ()) -> "MaxAbs":
        """Return the transform with the largest absolute values of these skies."""
        largest = np.maximum(*(np.abs(values) for values in extremes(skies, names)))
        _check_spread(largest, largest, names)
        return replace(self, largest=tuple(largest.tolist()))

    def line(self) -> tuple[Numbers, Numbers]:
        """Return shift and scale."""
        largest = self._fitted(self.largest)
        return _to_range([(-value, value) for value in largest], self.low, self.high)

    def _numbers(self, number: int, names: Sequence[str]) -> Row:
        return {"max_abs": self._fitted(self.largest)[number]}


@dataclass(frozen=True, eq=False)
class MinMax(PerFeature):
    """Scales every feature so that its smallest and its largest value become the ends of a range.

    Parameters
    ----------
    low, high
        The range.
    smallest, largest
        By feature; None before it is fitted.

    Raises
    ------
    ValueError
        If `low` is not below `high`.
    """

    low: float
    high: float
    smallest: Numbers | None = None
    largest: Numbers | None = None

    kind = "min_max"
    needs_fit = True

    def __post_init__(self) -> None:
        _check_range(self.low, self.high)

    def fit(self, skies: Iterable[Any], *, names: Sequence[str] = ()) -> "MinMax":
        """Return the transform with the extremes of these skies."""
        smallest, largest = extremes(skies, names)
        _check_spread(largest - smallest, np.maximum(abs(smallest), abs(largest)), names)
        return replace(self, smallest=tuple(smallest.tolist()), largest=tuple(largest.tolist()))

    def line(self) -> tuple[Numbers, Numbers]:
        """Return shift and scale."""
        ends = zip(self._fitted(self.smallest), self._fitted(self.largest), strict=True)
        return _to_range(list(ends), self.low, self.high)

    def _numbers(self, number: int, names: Sequence[str]) -> Row:
        return {"min": self._fitted(self.smallest)[number], "max": self._fitted(self.largest)[number]}


@dataclass(frozen=True, eq=False)
class Standardise(PerFeature):
    """Divides every feature by its spread, after subtracting its centre if asked to.

    Parameters
    ----------
    centre
        Whether the centre is subtracted.
    robust
        Whether centre and spread are median and scaled median absolute deviation, which the
        bright pixels of the Galaxy do not set, instead of mean and standard deviation.
    middle, spread
        By feature, centre and spread; None before it is fitted.
    """

    centre: bool
    robust: bool
    middle: Numbers | None = None
    spread: Numbers | None = None

    kind = "standardise"
    needs_fit = True

    def fit(self, skies: Iterable[Any], *, names: Sequence[str] = ()) -> "Standardise":
        """Return the transform with centre and spread of these skies."""
        middle, spread = (robust_moments if self.robust else moments)(skies, names)
        _check_spread(spread, abs(middle), names)
        return replace(self, middle=tuple(middle.tolist()), spread=tuple(spread.tolist()))

    def line(self) -> tuple[Numbers, Numbers]:
        """Return shift and scale."""
        spread = self._fitted(self.spread)
        return self._fitted(self.middle) if self.centre else (0.0,), tuple(1 / value for value in spread)

    def _numbers(self, number: int, names: Sequence[str]) -> Row:
        middle, spread = ("median", "robust_std") if self.robust else ("mean", "std")
        return {middle: self._fitted(self.middle)[number], spread: self._fitted(self.spread)[number]}


def _check_range(low: float, high: float) -> None:
    if not low < high:
        raise ValueError(f"range from {low} to {high}: low must be below high")


def _to_range(ends: Sequence[tuple[float, float]], low: float, high: float) -> tuple[Numbers, Numbers]:
    """Return the shifts and scales that bring pairs of ends to `low` and `high`."""
    scale = [(high - low) / (upper - lower) for lower, upper in ends]
    shift = [lower - low / factor for (lower, _), factor in zip(ends, scale, strict=True)]
    return tuple(shift), tuple(scale)


def _check_spread(spread: Any, size: Any, names: Sequence[str]) -> None:
    """Refuse a feature that does not vary by more than single precision can tell."""
    constant = spread <= SINGLE_PRECISION * size
    if constant.any():
        number = int(np.argmax(constant))
        raise ValueError(
            f"feature {label(number, names)} is constant over the skies to fit, its spread is "
            f"{spread[number]:g}; leave that channel out, or simulate it"
        )


def _column(numbers: Numbers, sky: Any, kind: str) -> Any:
    """Return a number per feature as an array like the sky's, shape (n_features or 1, 1, ...)."""
    if len(numbers) not in (1, len(sky)):
        raise ValueError(f"{kind}: fitted to {len(numbers)} features, but this sky has {len(sky)}")
    column = np.array(numbers).reshape(-1, *[1] * (sky.ndim - 1))
    return column.astype(sky.dtype) if isinstance(sky, np.ndarray) else sky.new_tensor(column.tolist())
