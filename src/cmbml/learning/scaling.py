"""The scaling of features and target, fitted to the training split."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from cmbml.learning.map_datasets import LoadedArrays, Loaders
from cmbml.learning.transform import transform_from_state
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
