"""Lift a function of one simulation to the partitions of a split.

A node that works on a split is a pure function of one simulation, lifted:
`lift` turns {id: loader} into {id: partition}, where a partition computes
nothing until it is called, in whichever process. It also carries its recipe,
from which the dataset that stores it can tell whether what already lies there
is the same thing.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel


@runtime_checkable
class Loader(Protocol):
    """Something that is loaded by calling it, and knows where it came from."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that determines what is loaded."""

    def __call__(self) -> Any:
        """Load."""


def plain(value: Any) -> Any:  # noqa: PLR0911 (one return per type)
    """Return `value` in JSON's types, so that equal values give equal text.

    Pydantic models and dataclasses become mappings, tuples become lists, arrays
    the hash of their bytes, loaders their fingerprint.

    Raises
    ------
    TypeError
        If a value of another type occurs.
    """
    if isinstance(value, Loader):
        return value.fingerprint
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()[:32]
        return f"array {value.dtype} {list(value.shape)} {digest}"
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a {type(value).__name__} cannot be part of a fingerprint: {value!r:.80}")


def fingerprint_of(value: Any) -> str:
    """Return the fingerprint of a value that `plain` can spell out."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Partition:
    """One simulation's part of a product, not yet computed.

    Parameters
    ----------
    id
        Name of the simulation, such as "sim0000".
    function
        Function of one simulation; gets `inputs`, loaded, and `parameters` by name.
    version
        Version of the algorithm, raised by hand when its results change.
    inputs
        By argument name, a loader or a plain value.
    parameters
        By argument name, what configures it.
    """

    id: str
    function: Callable[..., Any]
    version: int
    inputs: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recipe(self) -> dict[str, Any]:
        """All that determines the result, in JSON's types."""
        return {
            "partition": self.id,
            "function": self.function.__name__,
            "version": self.version,
            "parameters": plain(self.parameters),
            "inputs": {
                name: value.fingerprint if isinstance(value, Loader) else fingerprint_of(value)
                for name, value in self.inputs.items()
            },
        }

    @property
    def fingerprint(self) -> str:
        """Hash of the recipe."""
        return fingerprint_of(self.recipe)

    def __call__(self) -> Any:
        """Load the inputs and compute."""
        loaded = {name: load(value) for name, value in self.inputs.items()}
        return self.function(**loaded, **self.parameters)


@dataclass(frozen=True)
class Known:
    """A value whose fingerprint is worked out once, for inputs that all partitions share."""

    value: Any
    fingerprint: str

    def __call__(self) -> Any:
        """Return the value."""
        return self.value


def load(value: Any) -> Any:
    """Return what a loader loads, or the value itself if it is none."""
    return value() if isinstance(value, Loader) else value


def lift(
    function: Callable[..., Any],
    *,
    version: int,
    partitioned: Mapping[str, Mapping[str, Any]],
    shared: Mapping[str, Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> dict[str, Partition]:
    """Apply a function of one simulation to every simulation of a split, lazily.

    Parameters
    ----------
    function
        Function of one simulation, importable by name.
    version
        Version of the algorithm, raised by hand when its results change.
    partitioned
        By argument name, {id: loader or value}; all with the same ids.
    shared
        By argument name, inputs that are the same for every simulation.
    parameters
        By argument name, what configures the function.

    Returns
    -------
    dict
        {id: partition} in the order of the ids.

    Raises
    ------
    ValueError
        If two partitioned inputs do not hold the same simulations.
    """
    first, *others = partitioned
    ids = sorted(partitioned[first])
    for other in others:
        apart = sorted(set(ids) ^ set(partitioned[other]))
        if apart:
            raise ValueError(
                f"{function.__name__}: inputs {first} and {other} do not hold the same simulations; "
                f"only one of them has {', '.join(apart[:5])}{' ...' if len(apart) > 5 else ''}"
            )
    known = {
        key: value if isinstance(value, Loader) else Known(value, fingerprint_of(value))
        for key, value in (shared or {}).items()
    }
    return {
        name: Partition(
            id=name,
            function=function,
            version=version,
            inputs={key: value[name] for key, value in partitioned.items()} | known,
            parameters=dict(parameters or {}),
        )
        for name in ids
    }
