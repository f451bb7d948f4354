"""Whether two splits hold the same sky, which would make a validation loss a lie."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

_COMPARED = 256
"""Values of a map that are compared: no two skies have so many in common."""


def check_splits(train: Any, valid: Any) -> None:
    """Refuse splits that cannot be trained on.

    Parameters
    ----------
    train, valid
        Datasets; skies are compared where both have `targets` with `loaders`, as
        `cmbml.learning.map_datasets.ArrayPairs` has. The second may be None.

    Raises
    ------
    ValueError
        If a split has no sky, or both have a sky with the same target.
    """
    for name, split in (("training", train), ("validation", valid)):
        if split is not None and len(split) == 0:
            raise ValueError(f"the {name} split has no skies; simulate some, or choose another split")
    loaders = [getattr(getattr(split, "targets", None), "loaders", None) for split in (train, valid)]
    if loaders[0] is not None and loaders[1] is not None:
        check_no_overlap(loaders[0], loaders[1])


def check_no_overlap(train: Mapping[str, Callable[[], Any]], valid: Mapping[str, Callable[[], Any]]) -> None:
    """Refuse a validation split with a sky that is trained on.

    Parameters
    ----------
    train, valid
        {id: loader of the target's array}.

    Raises
    ------
    ValueError
        If a target is in both; names the skies.
    """
    known = {_mark(load()): name for name, load in train.items()}
    shared = [(known[mark], name) for name, load in valid.items() if (mark := _mark(load())) in known]
    if shared:
        first = ", ".join(f"{one} of training is {other} of validation" for one, other in shared[:3])
        raise ValueError(
            f"the validation split overlaps training in {len(shared)} skies ({first}): its loss would not "
            "show whether the network has learnt anything but these skies; take other skies for validation"
        )


def _mark(target: Any) -> str:
    """Return a hash of values spread over a map, so that little of a mapped file is read."""
    values = np.asarray(target).reshape(-1)
    sample = values[:: max(1, values.size // _COMPARED)]
    return hashlib.sha256(np.ascontiguousarray(sample, np.float32).tobytes()).hexdigest()
