"""Transforms that combine others, or features, or that move pixels."""

import base64
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.learning.transform import Row, Transform, transform_from_state


@dataclass(frozen=True, eq=False)
class ReferenceDifference(Transform):
    """Subtracts from every feature the one of a reference channel, which stays as it is.

    At one beam the CMB cancels in all differences: what is left there are foregrounds and noise.

    Parameters
    ----------
    references
        By feature, the number of the feature that is subtracted from it; its own number for one
        that stays.

    Raises
    ------
    ValueError
        If one is no number of a feature, or is subtracted and does not stay.
    """

    references: tuple[int, ...]

    kind = "reference_difference"

    def __post_init__(self) -> None:
        n = len(self.references)
        if not all(0 <= number < n and self.references[number] == number for number in self.references):
            raise ValueError(
                f"references {list(self.references)}: each must be the number of a feature, below {n}, "
                "that stays"
            )

    def apply(self, sky: Any) -> Any:
        """Subtract."""
        for feature, reference in self._differences(sky):
            sky[feature] -= sky[reference]
        return sky

    def undo(self, sky: Any) -> Any:
        """Add."""
        for feature, reference in self._differences(sky):
            sky[feature] += sky[reference]
        return sky

    def _differences(self, sky: Any) -> list[tuple[int, int]]:
        if len(sky) != len(self.references):
            raise ValueError(
                f"{self.kind}: made for {len(self.references)} features, but this sky has {len(sky)}"
            )
        return [(number, other) for number, other in enumerate(self.references) if number != other]

    def _numbers(self, number: int, names: Sequence[str]) -> Row:
        other = self.references[number]
        return {"minus": "" if other == number else names[other]}


@dataclass(frozen=True, eq=False)
class Rearrange(Transform):
    """Moves the pixels of maps to other places, each to one.

    Parameters
    ----------
    index
        Which pixel of a map goes where, any shape, such as `cmbml.science.planes.plane_index`: maps
        (n_features, npix) become ``(n_features, *index.shape)``. Or the text by which `state` tells it.
    shape
        Shape of the index; needed with a text only.

    Raises
    ------
    ValueError
        If a pixel is left out or occurs twice.
    """

    index: NDArray[Any] | str
    shape: tuple[int, ...] | None = None

    kind = "rearrange"

    def __post_init__(self) -> None:
        index = self.index
        if isinstance(index, str):
            index = _decoded(index).reshape(self.shape or -1)
        places = np.asarray(index, dtype=np.int64)
        if not np.array_equal(np.sort(places, axis=None), np.arange(places.size)):
            raise ValueError(
                f"an index of shape {places.shape} must hold every number from 0 to {places.size - 1} once"
            )
        object.__setattr__(self, "index", places)
        object.__setattr__(self, "shape", places.shape)

    @cached_property
    def _back(self) -> NDArray[np.int64]:
        return np.argsort(self.index, axis=None)

    def apply(self, sky: Any) -> Any:
        """Rearrange (n_features, npix)."""
        return _gathered(sky, np.asarray(self.index), kind=self.kind)

    def arrange(self, pixels: Any) -> Any:
        """Rearrange (n, npix)."""
        return self.apply(pixels)

    def undo(self, sky: Any) -> Any:
        """Rearrange back."""
        return _gathered(sky.reshape(len(sky), -1), self._back, kind=self.kind)

    def state(self) -> dict[str, Any]:
        """Return the state, with the index as a text."""
        return {"kind": self.kind, "index": _encoded(np.asarray(self.index)), "shape": list(self.shape or ())}


def _gathered(flat: Any, index: NDArray[np.int64], *, kind: str) -> Any:
    if flat.ndim != 2 or flat.shape[1] != index.size:
        raise ValueError(f"{kind}: made for maps of {index.size} pixels, but got shape {tuple(flat.shape)}")
    return np.take(flat, index, axis=1) if isinstance(flat, np.ndarray) else flat[:, np.array(index)]


def _encoded(index: NDArray[np.int64]) -> str:
    """Return an index as text: its differences, little-endian, compressed."""
    steps = np.diff(index.ravel(), prepend=0).astype("<i4")
    return base64.b64encode(zlib.compress(steps.tobytes(), level=6)).decode("ascii")


def _decoded(text: str) -> NDArray[np.int64]:
    steps = np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i4")
    return np.cumsum(steps, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Compose(Transform):
    """Several transforms, one after the other.

    Parameters
    ----------
    transforms
        The transforms, or their states, in the order in which they are applied.
    """

    transforms: Sequence[Any]

    kind = "compose"

    def __post_init__(self) -> None:
        made = (
            item if isinstance(item, Transform) else transform_from_state(item) for item in self.transforms
        )
        object.__setattr__(self, "transforms", tuple(made))

    def fit(self, skies: Iterable[Any], *, names: Sequence[str] = ()) -> "Compose":
        """Return the transforms, each fitted to what the ones before it make of the skies.

        The skies are passed through once for each transform that has to be fitted.

        Raises
        ------
        ValueError
            If several have to be fitted and the skies can be passed through only once, or one cannot
            be fitted.
        """
        to_fit = [transform for transform in self.transforms if _needs_fit(transform)]
        if len(to_fit) > 1 and iter(skies) is skies:
            raise ValueError(
                f"{len(to_fit)} transforms have to be fitted, but the skies can be passed through only once; "
                "give a list or another collection, not a generator"
            )
        fitted: list[Transform] = []
        for transform in self.transforms:
            before = _Transformed(skies, tuple(fitted))
            fitted.append(transform.fit(before, names=names) if _needs_fit(transform) else transform)
        return Compose(tuple(fitted))

    def apply(self, sky: Any) -> Any:
        """Apply them in their order."""
        return reduce(lambda partly, transform: transform.apply(partly), self.transforms, sky)

    def arrange(self, pixels: Any) -> Any:
        """Move pixels as they do, one after the other."""
        return reduce(lambda partly, transform: transform.arrange(partly), self.transforms, pixels)

    def undo(self, sky: Any) -> Any:
        """Undo them from the last one on."""
        return reduce(lambda partly, transform: transform.undo(partly), reversed(self.transforms), sky)

    def state(self) -> dict[str, Any]:
        """Return the states of all."""
        return {"kind": self.kind, "transforms": [transform.state() for transform in self.transforms]}

    def _numbers(self, number: int, names: Sequence[str]) -> Row:
        row: Row = {}
        for place, transform in enumerate(self.transforms, start=1):
            own = transform._numbers(number, names)
            row |= {(f"{key}_{place}" if key in row else key): value for key, value in own.items()}
        return row


def _needs_fit(transform: Transform) -> bool:
    return transform.needs_fit or any(_needs_fit(inner) for inner in getattr(transform, "transforms", ()))


@dataclass(frozen=True)
class _Transformed:
    """Skies after some transforms; can be passed through as often as the skies themselves."""

    skies: Iterable[Any]
    transforms: tuple[Transform, ...]

    def __iter__(self) -> Iterator[Any]:
        for sky in self.skies:
            yield reduce(lambda partly, transform: transform(partly), self.transforms, sky)
