"""What every transform of the features of one sky is.

A transform acts on an array or tensor (n_features, ...) of one sky. What it was
fitted to is a few plain numbers, which are saved beside the network.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np

from cmbml.learning.features import split_name

Row = dict[str, Any]

_TRANSFORMS: dict[str, type["Transform"]] = {}


class Transform(ABC):
    """Base of the transforms; frozen dataclasses whose fields are plain numbers.

    Calling a transform, and `inverse`, leave what they are given as it is. Both
    work on NumPy arrays and on tensors, and keep their type.
    """

    kind: ClassVar[str]
    """What settings and states call it."""

    needs_fit: ClassVar[bool] = False
    """Whether it has to see the training split."""

    def __init_subclass__(cls) -> None:
        """Make the class known by its kind."""
        if "kind" in cls.__dict__:
            _TRANSFORMS[cls.kind] = cls

    def fit(self, skies: Iterable[Any], *, names: Sequence[str] = ()) -> "Transform":
        """Return the transform fitted to skies, of which one at a time is held.

        Parameters
        ----------
        skies
            Arrays (n_features, ...), of the training split only.
        names
            Names of the features, for messages.

        Raises
        ------
        ValueError
            If there is no sky, pixels are not finite, or a feature is constant.
        """
        return self

    def __call__(self, sky: Any) -> Any:
        """Return the transformed features of one sky."""
        return self.apply(_copy(sky))

    def inverse(self, sky: Any) -> Any:
        """Return the features of which this is the transform."""
        return self.undo(_copy(sky))

    @abstractmethod
    def apply(self, sky: Any) -> Any:
        """Transform an array that nobody else needs, in place where possible, and return the result."""

    def arrange(self, pixels: Any) -> Any:
        """Move pixels to where `apply` moves them, and leave their values, such as weights, as they are."""
        return pixels

    @abstractmethod
    def undo(self, sky: Any) -> Any:
        """Do the inverse of `apply`, in the same way."""

    def state(self) -> dict[str, Any]:
        """Return all there is to know about it, in JSON's types; see `transform_from_state`."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        plain: dict[str, Any] = json.loads(json.dumps(own))
        return {"kind": self.kind, **plain}

    def table(self, names: Sequence[str]) -> list[Row]:
        """Return a row per feature, with its channel, its Stokes field and the numbers that apply to it."""
        return [
            dict(zip(("channel", "stokes"), split_name(name), strict=True)) | self._numbers(number, names)
            for number, name in enumerate(names)
        ]

    def _numbers(self, number: int, names: Sequence[str]) -> Row:
        """Return what the table says of one feature."""
        return {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transform) and self.state() == other.state()

    __hash__ = None  # type: ignore[assignment]


def transform_from_state(state: Mapping[str, Any]) -> Transform:
    """Return the transform that `Transform.state` described.

    Raises
    ------
    ValueError
        If it is not the state of a transform.
    """
    arguments = {key: _frozen(value) for key, value in state.items() if key != "kind"}
    cls = _TRANSFORMS.get(str(state.get("kind")))
    if cls is None:
        raise ValueError(f"kind {state.get('kind')!r}: no transform; there are {', '.join(_TRANSFORMS)}")
    try:
        return cls(**arguments)
    except TypeError as error:
        raise ValueError(f"not the state of a {cls.kind}: {error}") from error


@dataclass(frozen=True, eq=False)
class Identity(Transform):
    """Leaves everything as it is."""

    kind = "identity"

    def apply(self, sky: Any) -> Any:
        """Return the sky."""
        return sky

    def undo(self, sky: Any) -> Any:
        """Return the sky."""
        return sky


def _copy(sky: Any) -> Any:
    return np.array(sky) if isinstance(sky, np.ndarray) else sky.clone()


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value
