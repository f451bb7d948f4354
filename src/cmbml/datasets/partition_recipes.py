"""Recipes of partitions: what tells whether two results are the same thing."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Protocol

from kedro.io.core import DatasetError

ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
"""What a partition may be called."""

LISTED = 5
"""Most names that an error message lists."""


class Lazy(Protocol):
    """What a node returns per partition; `cmbml.partitions.Partition` is one."""

    @property
    def recipe(self) -> dict[str, Any]:
        """All that determines the result, in JSON's types."""

    def __call__(self) -> Any:
        """Compute."""


def recipe_of(name: str, item: object) -> dict[str, Any]:
    """Return the recipe of a partition in JSON's types.

    Raises
    ------
    DatasetError
        If the id cannot be a file name, or the partition has no recipe.
    """
    if not ID.match(name):
        raise DatasetError(f"partition {name!r}: an id has only letters, digits, - and _, such as sim0000")
    recipe = getattr(item, "recipe", None)
    if recipe is None or not callable(item):
        raise DatasetError(
            f"partition {name}: a {type(item).__name__} has no recipe, so that it could not be told "
            "apart from an older one; make partitions with cmbml.partitions.lift"
        )
    plain: dict[str, Any] = json.loads(json.dumps(recipe))
    return plain


def fingerprint(recipe: Mapping[str, Any]) -> str:
    """Return the hash of a recipe."""
    text = json.dumps(recipe, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, list):
        value = {str(place): item for place, item in enumerate(value)}
    if isinstance(value, Mapping) and value:
        return {
            key: leaf
            for k, v in value.items()
            for key, leaf in _flat(v, f"{prefix}.{k}" if prefix else k).items()
        }
    return {prefix: value}


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say in words how two recipes differ."""
    before, now = _flat(old), _flat(new)
    lines = []
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) == now.get(key):
            continue
        short = key.removeprefix("parameters.").removeprefix("inputs.")
        if short != key and key == f"inputs.{short}" and "." not in short:
            lines.append(f"input {short} has changed")  # known by its fingerprint only
        else:
            lines.append(f"{short} was {before.get(key, 'absent')}, is now {now.get(key, 'absent')}")
    return lines


def some(names: list[str]) -> str:
    """Return the first names of a list, for a message."""
    return ", ".join(names[:LISTED]) + (" ..." if len(names) > LISTED else "")
