"""Training of the network: what it is built from, shown, and told apart by."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.learning.features import sign_flips
from cmbml.learning.map_datasets import Loaders, scaled_splits
from cmbml.learning.networks import NetworkSpec
from cmbml.learning.scaling import reference_gains
from cmbml.learning.settings import LearningSettings, TrainingSettings
from cmbml.learning.symmetry import SphereSymmetry
from cmbml.learning.training import train
from cmbml.learning.transform import transform_from_state
from cmbml.pipelines.cmbnncs.features import FEATURES_VERSION, feature_names, ordered_channels
from cmbml.pipelines.cmbnncs.settings import Cmbnncs, NetworkSettings
from cmbml.science.instrument import Instrument
from cmbml.science.planes import map_to_plane, plane_index
from cmbml.science.skymap import SkyMap

_MODULE = "cmbml.pipelines.cmbnncs.cleaner"


@dataclass(frozen=True)
class CleanerSettings:
    """All that makes a trained network what it is, but the skies.

    Parameters
    ----------
    data
        What it sees and finds.
    network
        What it is.
    learning
        How it is shown the skies.
    training
        How it is trained.
    """

    data: Cmbnncs
    network: NetworkSettings
    learning: LearningSettings
    training: TrainingSettings


def train_cleaner(
    train_features: Loaders,
    train_targets: Loaders,
    valid_features: Loaders,
    valid_targets: Loaders,
    *,
    scaling: Mapping[str, Any],
    instrument: Instrument,
    mask: SkyMap | None,
    settings: CleanerSettings,
    directory: Path,
) -> None:
    """Train the network, or go on with a training that was ended before.

    Parameters
    ----------
    train_features, train_targets, valid_features, valid_targets
        By simulation, what loads an array (n_features or n_fields, 4 nside, 3 nside), uK_CMB.
    scaling
        States of the fitted transforms, see `cmbml.learning.scaling.fit_transforms`.
    instrument
        The channels that were simulated.
    mask
        What is compared later, by which the pixels of the loss are weighed; None to weigh all alike.
    settings
        All of them.
    directory
        Where the checkpoints go.

    Raises
    ------
    ValueError, RuntimeError, DatasetError
        See `cmbml.learning.training.train`.
    """
    weights = None if mask is None else pixel_weights(mask, settings.learning, stokes=settings.data.stokes)
    symmetry = _symmetry(scaling, settings) if settings.learning.symmetries else None
    train_data, valid_data = scaled_splits(
        (train_features, train_targets),
        (valid_features, valid_targets),
        scaling=scaling,
        weights=weights,
        symmetry=symmetry,
    )
    spec = network_spec(scaling, settings)
    facts = {**data_facts(instrument, settings.data), "scaling": scaling}
    train(spec, train_data, valid_data, settings.training, directory, facts)


def network_spec(scaling: Mapping[str, Any], settings: CleanerSettings) -> NetworkSpec:
    """Return the network that these settings and this scaling mean.

    Raises
    ------
    ValueError
        If the kinds of network and inputs do not go together, or the scaling is not along a line.
    """
    network, names = settings.network, scaling["names"]
    check_kinds(settings.data, network)
    n_outputs = len(settings.data.stokes)
    if network.kind == "published":
        arguments: dict[str, Any] = {
            "in_channels": len(names),
            "out_channels": n_outputs,
            "depth": network.steps,
            "max_filters": network.max_filters,
        }
        return NetworkSpec(f"{_MODULE}:published_network", arguments)
    features, target = (transform_from_state(scaling[key]) for key in ("features", "target"))
    arguments = {
        "fields": ["IQU".index(name[-1]) for name in names],
        "depth": network.steps,
        "filters": network.filters,
        "max_filters": network.max_filters,
        "gains": reference_gains(
            features, target, n_features=len(names), n_outputs=n_outputs, group="cmbnncs_scaling"
        ),
        "batch_norm": network.batch_norm,
        "compress": network.compress,
    }
    return NetworkSpec(f"{_MODULE}:correcting_network", arguments)


def check_kinds(data: Cmbnncs, network: NetworkSettings) -> None:
    """Refuse a network for other inputs than it is given.

    Raises
    ------
    ValueError
        If a correcting network is to see plain maps, or the published one differences.
    """
    needed = {"correcting": "differences", "published": "maps"}[network.kind]
    if data.inputs != needed:
        raise ValueError(
            f"cmbnncs_network.kind {network.kind}: needs cmbnncs.inputs {needed}, not {data.inputs}"
        )


def data_facts(instrument: Instrument, data: Cmbnncs) -> dict[str, Any]:
    """Return what a checkpoint says of the data, and what observations to be cleaned must agree with."""
    channels = ordered_channels(instrument, data)
    return {
        "features_version": FEATURES_VERSION,
        "channels": [channel.name for channel in channels],
        "features": list(feature_names(instrument, data)),
        "fwhm_arcmin": [round(float(channel.fwhm_arcmin), 6) for channel in channels],
        "stokes": data.stokes,
        "nside": data.nside,
        "lmax": data.lmax,
        "inputs": data.inputs,
        "target": data.target,
        "target_fwhm_arcmin": data.fwhm_arcmin,
    }


def pixel_weights(mask: SkyMap, learning: LearningSettings, *, stokes: str) -> NDArray[np.float32]:
    """Return the weight of every pixel in the loss, shape (4 nside, 3 nside): 1 where all fields are kept."""
    fields = mask.values[:1] if stokes == "I" else mask.values
    kept = np.clip(fields.min(axis=0), 0.0, 1.0)
    weights = learning.masked_weight + (1 - learning.masked_weight) * kept
    return np.asarray(map_to_plane(weights.astype(np.float32)))


def _symmetry(scaling: Mapping[str, Any], settings: CleanerSettings) -> SphereSymmetry:
    nside = settings.data.nside
    return SphereSymmetry(
        nside,
        seed=settings.training.seed,
        layout=plane_index(nside),
        feature_flips=sign_flips(scaling["names"]),
        target_flips=sign_flips(scaling["target_names"]),
    )
