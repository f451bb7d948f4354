"""Training of the network: what it is built from, shown, and told apart by."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.learning.checkpoints import check_checkpoint
from cmbml.learning.map_datasets import Loaders, scaled_splits
from cmbml.learning.networks import NetworkSpec
from cmbml.learning.scaling import reference_gains
from cmbml.learning.settings import LearningSettings, TrainingSettings
from cmbml.learning.starting_weights import StartingWeights
from cmbml.learning.symmetry import SphereSymmetry
from cmbml.learning.training import train
from cmbml.learning.transform import transform_from_state
from cmbml.pipelines.petroff.deepsphere import bayesian_start
from cmbml.pipelines.petroff.features import (
    FEATURES_VERSION,
    feature_names,
    inputs_fwhm,
    nested,
    ordered_channels,
)
from cmbml.pipelines.petroff.settings import NetworkSettings, Petroff
from cmbml.science.instrument import Instrument
from cmbml.science.pixels import nside_to_npix
from cmbml.science.skymap import SkyMap

_FACTORIES = {
    "published": "cmbml.pipelines.petroff.cleaner:PetroffNetwork",
    "correcting": "cmbml.pipelines.petroff.cleaner:CorrectingNetwork",
    "deepsphere": "cmbml.pipelines.petroff.deepsphere:DeepSphereNetwork",
}


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

    data: Petroff
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
    start: Mapping[str, Any] | None,
    settings: CleanerSettings,
    directory: Path,
) -> None:
    """Train the network, or go on with a training that was ended before.

    Parameters
    ----------
    train_features, train_targets, valid_features, valid_targets
        By simulation, what loads an array (n_features or 1, npix), NESTED, uK_CMB.
    scaling
        States of the fitted transforms, see `cmbml.learning.scaling.fit_transforms`.
    instrument
        The channels that were simulated.
    mask
        What is compared later, by which the pixels of the loss are weighed; None to weigh all alike.
    start
        Checkpoint of the network whose weights this one begins with; None to draw them. With the weights
        comes the scaling that they belong to.
    settings
        All of them.
    directory
        Where the checkpoints go.

    Raises
    ------
    ValueError, RuntimeError, DatasetError
        See `cmbml.learning.training.train`.
    """
    facts = data_facts(instrument, settings.data)
    if start is not None:
        check_checkpoint(start, facts)
        scaling = start["facts"]["scaling"]
    weights = None if mask is None else pixel_weights(mask, settings.learning)
    symmetry = _symmetry(settings) if settings.learning.symmetries else None
    train_data, valid_data = scaled_splits(
        (train_features, train_targets),
        (valid_features, valid_targets),
        scaling=scaling,
        weights=weights,
        symmetry=symmetry,
    )
    spec = network_spec(scaling, settings, skies=len(train_data))
    begin = None if start is None else StartingWeights(_starting(start, spec, settings))
    train(
        spec,
        train_data,
        valid_data,
        settings.training,
        directory,
        {**facts, "scaling": scaling},
        start_weights=begin,
    )


def network_spec(scaling: Mapping[str, Any], settings: CleanerSettings, *, skies: int) -> NetworkSpec:
    """Return the network that these settings and this scaling mean.

    Parameters
    ----------
    scaling
        States of the fitted transforms, and names of the features.
    settings
        All of them.
    skies
        Number of skies of the training split.

    Raises
    ------
    ValueError
        If the kinds of network and inputs do not go together, or a reference's scaling is not along a line.
    """
    network = settings.network
    check_kinds(settings.data, network)
    n = skies if network.prior_skies == "train" else network.prior_skies
    if network.kind == "deepsphere":  # whose published likelihood is a sum over pixels, not a mean
        n *= nside_to_npix(network.nside)
    arguments: dict[str, Any] = {
        "channels": len(scaling["names"]),
        "nside": network.nside,
        "depth": network.steps,
        "filters": network.filters,
        "order": network.order,
        "initial_dropout": network.initial_dropout,
        "weight_strength": network.length_scale**2 / n,
        "dropout_strength": network.dropout_strength / n,
        "uncertain": settings.training.loss == "gaussian",
    }
    if network.kind != "deepsphere":
        arguments["pooling"] = network.pooling
    if network.kind == "published":
        arguments["output"] = network.output
    if network.kind == "correcting":
        arguments["compress"] = network.compress
        features, target = (transform_from_state(scaling[key]) for key in ("features", "target"))
        (arguments["gains"],) = reference_gains(
            features, target, n_features=len(scaling["names"]), n_outputs=1, group="petroff_scaling"
        )
    return NetworkSpec(_FACTORIES[network.kind], arguments, how={"recompute": network.recompute})


def _starting(start: Mapping[str, Any], spec: NetworkSpec, settings: CleanerSettings) -> Mapping[str, Any]:
    """Return the weights to begin with: those of a checkpoint, or what a Bayesian network makes of them."""
    weights: Mapping[str, Any] = start["weights"]
    deterministic = not start["network"]["arguments"].get("uncertain", True)
    if settings.network.kind == "deepsphere" and spec.arguments["uncertain"] and deterministic:
        return bayesian_start(
            weights, initial_dropout=settings.network.initial_dropout, seed=settings.training.seed
        )
    return weights


def gives_errors(network: NetworkSettings, training: TrainingSettings) -> bool:
    """Return whether a network says how far it may be wrong: by its loss, by dropout, or both."""
    return training.loss == "gaussian" or network.initial_dropout > 0


def check_kinds(data: Petroff, network: NetworkSettings) -> None:
    """Check that a network gets the inputs that it is for.

    Raises
    ------
    ValueError
        If a correcting network is to see plain maps, or another one differences, or an option is given that
        the network does not have.
    """
    needed = "differences" if network.kind == "correcting" else "maps"
    if data.inputs != needed:
        raise ValueError(
            f"petroff_network.kind {network.kind}: needs petroff.inputs {needed}, not {data.inputs}"
        )
    if network.output != "linear" and network.kind != "published":
        raise ValueError(
            f"petroff_network.output {network.output}: only kind published can have it; take linear"
        )
    if network.pooling != "max" and network.kind == "deepsphere":
        raise ValueError(
            f"petroff_network.pooling {network.pooling}: kind deepsphere takes the largest; take max"
        )


def data_facts(instrument: Instrument, data: Petroff) -> dict[str, Any]:
    """Return what a checkpoint says of the data, and what observations to be cleaned must agree with."""
    channels = ordered_channels(instrument, data)
    beam = inputs_fwhm(instrument, data)
    facts: dict[str, Any] = {
        "features_version": FEATURES_VERSION,
        "channels": [channel.name for channel in channels],
        "features": list(feature_names(instrument, data)),
        "nside": data.nside,
        "lmax": data.lmax,
        "inputs": data.inputs,
        "inputs_fwhm_arcmin": "none" if beam is None else round(beam, 6),
        "target_fwhm_arcmin": data.fwhm_arcmin,
    }
    if beam is None:
        facts["fwhm_arcmin"] = [round(float(channel.fwhm_arcmin), 6) for channel in channels]
    return facts


def pixel_weights(mask: SkyMap, learning: LearningSettings) -> NDArray[np.float32]:
    """Return the weight of every pixel in the loss, shape (npix,), NESTED: 1 where the mask keeps it."""
    kept = np.clip(nested(mask.values[:1])[0], 0.0, 1.0)
    weights = learning.masked_weight + (1 - learning.masked_weight) * kept
    return np.asarray(weights, dtype=np.float32)


def _symmetry(settings: CleanerSettings) -> SphereSymmetry:
    nside = settings.data.nside
    layout = hp.nest2ring(nside, np.arange(nside_to_npix(nside)))
    return SphereSymmetry(
        nside, seed=settings.training.seed, layout=layout, feature_flips=(), target_flips=()
    )
