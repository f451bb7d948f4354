"""A grid of parameters: every combination of their values, with a name of its own."""

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

LONGEST = 100
"""Characters of a name; file systems allow 255, and other folders stand beside it in a path."""

SHARED = ("data", "results")
"""What all combinations have in common: where they are looked for, and the name that tells them apart."""

_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*(/[A-Za-z0-9][A-Za-z0-9._+-]*)*")


@dataclass(frozen=True)
class Axis:
    """A parameter and the values it takes.

    Parameters
    ----------
    key
        Name of the parameter, as on the command line: "channels", "pyilc.bias_tolerance".
    values
        At least one; no two are equal.
    """

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Combination:
    """One value for each parameter of a grid.

    Parameters
    ----------
    name
        Name of its folder: letters, digits and ``. + - _``.
    values
        {parameter: value}, as on the command line.
    """

    name: str
    values: Mapping[str, Any]

    def parameters(self, given: Mapping[str, Any], *, results: str) -> dict[str, Any]:
        """Return the parameters of its run: those given to all, its own, and the name of its results."""
        merged = OmegaConf.create({**given, "results": results})
        for key, value in self.values.items():
            OmegaConf.update(merged, key, value)
        return cast(dict[str, Any], OmegaConf.to_container(merged))


def read_axis(text: str) -> Axis:
    """Return a parameter and its values from ``key=value,value``.

    Where there is a semicolon, values are separated by semicolons and may hold
    commas; a list alone is written with one at its end. Each value is read as
    that of `kedro run --params` is.

    Raises
    ------
    ValueError
        If there is no key or no value, a value is empty, no YAML or there twice,
        or the key is one of `SHARED`.

    Examples
    --------
    >>> read_axis("pyilc.channels=all;100+143").values
    ('all', '100+143')
    >>> read_axis("pyilc.peaks=[6,16,33];").values
    ([6, 16, 33],)
    """
    key, _, listed = (part.strip() for part in text.partition("="))
    if not key or not listed:
        raise ValueError(f"{text!r}: is no grid of a parameter; write key=value,value or key=value;value")
    if key in SHARED:
        raise ValueError(f"{key}: is the same for a whole grid; give data to --params and a name to --name")
    words = listed.removesuffix(";").split(";") if ";" in listed else listed.split(",")
    values = tuple(_read_value(key, word.strip()) for word in words)
    texts = [_readable(value) for value in values]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise ValueError(f"{key}: has the value {twice} twice; give every value once")
    return Axis(key, values)


def _read_value(key: str, word: str) -> Any:
    if not word:
        raise ValueError(f"{key}: has an empty value; write key=value,value or key=value;value")
    try:
        return cast(dict[str, Any], OmegaConf.to_container(OmegaConf.from_dotlist([f"value={word}"])))[
            "value"
        ]
    except (YAMLError, OmegaConfBaseException) as error:
        raise ValueError(
            f"{key}: {word!r} is no value; separate values by ; where one of them holds a comma"
        ) from error


def combinations(axes: Sequence[Axis], given: Mapping[str, Any]) -> tuple[Combination, ...]:
    """Return every combination of the values; the last parameter changes fastest.

    A combination's name follows from its own values alone, so that a grid may
    grow without losing what there is.

    Parameters
    ----------
    axes
        The parameters and their values.
    given
        Parameters that all combinations have in common, in groups.

    Raises
    ------
    ValueError
        If there is no parameter, one is given twice, or two names differ in nothing
        but capitals.
    """
    if not axes:
        raise ValueError("a grid needs a parameter that varies; give one with --over key=value,value")
    _check_keys([axis.key for axis in axes], given)
    labels = _labels([axis.key for axis in axes])
    found: dict[str, Combination] = {}
    for values in itertools.product(*(axis.values for axis in axes)):
        name = _name(dict(zip(labels, values, strict=True)))
        combination = Combination(name, {axis.key: value for axis, value in zip(axes, values, strict=True)})
        other = found.setdefault(name.casefold(), combination)
        if other is not combination:
            raise ValueError(
                f"combinations {other.name} and {name} would share a folder where capitals do not count; "
                "put them into grids of different names"
            )
    return tuple(found.values())


def _check_keys(keys: Sequence[str], given: Mapping[str, Any]) -> None:
    """Raise ValueError if a parameter, or the group it belongs to, is given twice."""
    for one, other in itertools.combinations([*keys, *_flat(given)], 2):
        if f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}."):
            which = one if one == other else f"{one} and {other}"
            raise ValueError(f"{which}: given twice; name a parameter once, in --over or in --params")


def _flat(given: Mapping[str, Any], prefix: str = "") -> list[str]:
    keys = []
    for key, value in given.items():
        keys += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [f"{prefix}{key}"]
    return keys


def _labels(keys: Sequence[str]) -> list[str]:
    """Return short names of the parameters: without the group, unless two would have the same."""
    short = [key.rsplit(".", 1)[-1] for key in keys]
    return [key if short.count(label) > 1 else label for key, label in zip(keys, short, strict=True)]


def _name(values: Mapping[str, Any]) -> str:
    """Return the name of a folder; what is lost of the values for safety stands in a checksum."""
    exact = "_".join(f"{label}-{_readable(value)}" for label, value in values.items())
    safe = "_".join(f"{label}-{_UNSAFE.sub('-', _readable(value))}" for label, value in values.items())
    if safe == exact and len(safe) <= LONGEST:
        return safe
    return f"{safe[: LONGEST - 9]}_{hashlib.sha256(exact.encode()).hexdigest()[:8]}"


def _readable(value: Any) -> str:
    if isinstance(value, Mapping):
        return "+".join(f"{key}:{_readable(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return "+".join(map(_readable, value))
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)


def check_name(name: str) -> str:
    """Return the name of a grid or of results.

    Raises
    ------
    ValueError
        If it has other characters than letters, digits, ``. _ + -`` and, between
        folders, ``/``, or a part of it begins with none of the first two.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"name {name!r}: becomes a folder; write letters, digits and . _ + -, with / between folders, "
            "each beginning with a letter or a digit"
        )
    return name
