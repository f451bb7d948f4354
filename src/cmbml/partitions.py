"""Lift a function of one simulation to the partitions of a split.

A node that works on a split is a pure function of one simulation, lifted:
`lift` turns {id: loader} into {id: partition}, where a partition computes
nothing until it is called, in whichever process. It also carries its recipe,
from which the dataset that stores it can tell whether what already lies there
is the same thing.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from pydantic import BaseModel

LONGEST_SPELT = 8000
"""Characters of JSON up to which a shared input is written into recipes as it is."""

RECIPE = {"recipe": True}
"""Context in which models are spelt out for recipes; those with settings of how the work is done leave them
out."""

MOST_TOLD = 32
"""How many loaders of one input a recipe tells one by one: more than there are channels."""


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
        return plain(value.model_dump(mode="json", context=RECIPE))
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()[:32]
        return f"array {value.dtype} {list(value.shape)} {digest}"
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and math.isnan(value):
        return "nan"  # which JSON lacks, and which would differ from itself
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
        By argument name, a loader, a plain value, or {simulation: loader} of a whole split, which the
        function gets as it is.
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
            "inputs": {name: _spelt(value) for name, value in self.inputs.items()},
        }

    @property
    def fingerprint(self) -> str:
        """Hash of the recipe."""
        return fingerprint_of(self.recipe)

    def __call__(self, **place: Any) -> Any:
        """Load the inputs and compute.

        Parameters
        ----------
        **place
            Where to work, for functions that keep files themselves; it does not determine the result.
        """
        loaded = {name: load(value) for name, value in self.inputs.items()}
        return self.function(**loaded, **self.parameters, **place)


@dataclass(frozen=True)
class Known:
    """A value whose fingerprint is worked out once, for inputs that all partitions share.

    Parameters
    ----------
    value
        What calling it returns.
    fingerprint
        Its hash.
    spelt
        The value in JSON's types, where it is small enough to be told in a message.
    """

    value: Any
    fingerprint: str
    spelt: Any = None

    def __call__(self) -> Any:
        """Return the value."""
        return self.value


@dataclass(frozen=True)
class Recorded:
    """An input that a result goes back to by way of others: a recipe names it, and nothing is loaded.

    Parameters
    ----------
    fingerprint
        Of what it stands for.
    """

    fingerprint: str

    def __call__(self) -> None:
        """Return nothing."""


def known(value: Any) -> Loader:
    """Return a value that partitions share as a loader; a loader as it is.

    Of many loaders, such as a split, a recipe tells their number and one fingerprint.
    """
    if isinstance(value, Loader):
        return value
    spelt = plain(value)
    many = isinstance(value, Mapping) and len(value) > MOST_TOLD
    if many and all(isinstance(item, Loader) for item in value.values()):
        spelt = {"count": len(value), "fingerprint": fingerprint_of(spelt)}
    text = json.dumps(spelt, sort_keys=True, separators=(",", ":"))
    small = isinstance(spelt, dict) and len(text) <= LONGEST_SPELT
    return Known(value, fingerprint_of(value), spelt if small else None)


def _spelt(value: Any) -> Any:
    """Return what a recipe says of an input: the value where it is small, else its fingerprint."""
    own = known(value)
    spelt = getattr(own, "spelt", None)
    return own.fingerprint if spelt is None else spelt


def made_from(loader: Any) -> Mapping[str, str]:
    """Return {argument: fingerprint} of what a partition was made from; empty where that is not recorded."""
    inputs = loader.recipe["inputs"] if isinstance(loader, Partition) else getattr(loader, "inputs", {})
    return {
        name: value if isinstance(value, str) else fingerprint_of(value) for name, value in inputs.items()
    }


def check_origin(partitions: Mapping[str, Any], *, what: str, remedy: str, **shared: Any) -> None:
    """Refuse partitions that were made from another thing than the one at hand.

    Parameters
    ----------
    partitions
        {id: loader}.
    what
        What the partitions are, for the message.
    remedy
        What to do about it, for the message.
    **shared
        By the argument under which partitions record it: the thing at hand, or
        {id: loader} for one that differs between simulations.

    Raises
    ------
    ValueError
        If the fingerprint that a partition recorded is not that of the thing at hand.
    """
    for argument, thing in shared.items():
        partitioned = isinstance(thing, Mapping)
        fingerprint = "" if partitioned else fingerprint_of(thing)
        for name, loader in partitions.items():
            recorded = made_from(loader).get(argument)
            at_hand = thing[name].fingerprint if partitioned else fingerprint
            if recorded is not None and recorded != at_hand:
                raise ValueError(
                    f"{what} {name}: made from another {argument} than the one at hand; {remedy}"
                )


def load(value: Any) -> Any:
    """Return what a loader loads, or the value itself if it is none."""
    return value() if isinstance(value, Loader) else value


def restrict(partitions: Mapping[str, Any], **options: Any) -> dict[str, Any]:
    """Return loaders that read no more of each partition than is needed.

    Parameters
    ----------
    partitions
        {id: loader}.
    **options
        What the dataset of a partition is restricted to, such as `channels` and
        `stokes` of observations. Loaders of what is in memory stay as they are.
    """
    return {
        name: loader.restricted(**options) if hasattr(loader, "restricted") else loader
        for name, loader in partitions.items()
    }


def load_part(loader: Loader, **options: Any) -> Any:
    """Return what a loader loads, and read no more than is needed; the options are those of `restrict`."""
    return restrict({"": loader}, **options)[""]()


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
    common = {key: known(value) for key, value in (shared or {}).items()}
    return {
        name: Partition(
            id=name,
            function=function,
            version=version,
            inputs={key: value[name] for key, value in partitioned.items()} | common,
            parameters=dict(parameters or {}),
        )
        for name in ids
    }
