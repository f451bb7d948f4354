"""The scaling of features and target, fitted to the training split."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import torch

from cmbml.learning.map_datasets import LoadedArrays, Loaders
from cmbml.learning.transform import Transform, transform_from_state
from cmbml.learning.transform_settings import ScalingSettings, build_transform


def fit_transforms(
    features: Loaders, targets: Loaders, names: tuple[str, ...], *, settings: ScalingSettings, stokes: str
) -> dict[str, Any]:
    """Fit the transforms of features and target.

    Parameters
    ----------
    features, targets
        By simulation of the training split, what loads an array (n_features or n_fields, ...).
    names
        What each feature is.
    settings
        The transforms.
    stokes
        Fields of the target.

    Returns
    -------
    dict
        `features` and `target`: states of the fitted transforms; `names` and `target_names`: what they are.

    Raises
    ------
    ValueError
        If there are no skies, a pixel is not finite, or a feature is constant.
    """
    found = target_names(stokes)
    fitted = {
        key: build_transform(transforms, of).fit(LoadedArrays(loaders), names=of).state()
        for key, transforms, loaders, of in (
            ("features", settings.features, features, names),
            ("target", settings.target, targets, found),
        )
    }
    return {**fitted, "names": list(names), "target_names": list(found)}


def target_names(stokes: str) -> tuple[str, ...]:
    """Return the names of the fields that a network is to find, such as "CMB I"."""
    return tuple(f"CMB {field}" for field in stokes)


def scaling_table(scaling: Mapping[str, Any]) -> pd.DataFrame:
    """Return the fitted numbers, one row per feature and per field of the target."""
    rows = [
        row
        for key, names in (("features", "names"), ("target", "target_names"))
        for row in transform_from_state(scaling[key]).table(scaling[names])
    ]
    return pd.DataFrame(rows)


def reference_gains(
    features: Transform, target: Transform, *, n_features: int, n_outputs: int, group: str
) -> list[list[float]]:
    """Return factor and offset that turn the reference's scaled fields into the output's scale.

    Parameters
    ----------
    features, target
        Transforms of features and target; each feature by itself, and along a line.
    n_features, n_outputs
        How many there are of each.
    group
        Parameters that the scaling comes from, for the message.

    Raises
    ------
    ValueError
        If a transform is no line: a reference could not be corrected in its scale.
    """
    ends = []
    for probe in (0.0, 1.0, 2.0):
        maps = features.inverse(torch.full((n_features, 1, 1), probe, dtype=torch.float64))[:n_outputs]
        ends.append(target(maps).reshape(n_outputs))
    zero, one, two = ends
    if not torch.allclose(two - one, one - zero, rtol=1e-9, atol=1e-12):
        raise ValueError(
            f"{group}: with inputs 'differences' features and target are scaled along a line each; "
            "take factor, max_abs, min_max or standardise"
        )
    return [[float(a), float(b)] for a, b in zip(one - zero, zero, strict=True)]
