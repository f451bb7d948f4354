"""Nodes of CMBNNCS."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cmbml.learning.checkpoints import history_rows
from cmbml.learning.figures import losses_figure
from cmbml.learning.inference import chosen_checkpoint
from cmbml.learning.scaling import fit_transforms, scaling_table
from cmbml.learning.settings import LearningSettings, PredictionSettings, TrainingSettings
from cmbml.learning.transform_settings import ScalingSettings
from cmbml.partitions import Loader, Partition, check_origin, lift, restrict
from cmbml.pipelines.cmbnncs.cleaning import clean_simulation
from cmbml.pipelines.cmbnncs.features import (
    FEATURES_VERSION,
    feature_names,
    make_features,
    make_target,
    ordered_channels,
    used_channels,
)
from cmbml.pipelines.cmbnncs.settings import Cmbnncs, NetworkSettings
from cmbml.pipelines.cmbnncs.training import CleanerSettings, check_kinds, train_cleaner
from cmbml.science.instrument import Instrument
from cmbml.science.skymap import SkyMap

TRAINING_VERSION = 1
"""Raised when a training gives other weights for equal settings."""

CLEANING_VERSION = 1
"""Raised when cleaned maps change for equal weights."""


def prepare_features(
    observations: Mapping[str, Loader], instrument: Instrument, cmbnncs: Cmbnncs
) -> dict[str, Partition]:
    """Lay out what the network sees of every simulation of a split.

    Returns
    -------
    dict
        {simulation: lazy array (n_features, 4 nside, 3 nside), uK_CMB}.

    Raises
    ------
    ValueError
        If observations were made with another instrument.
    """
    check_origin(
        observations,
        what="observations",
        remedy="make both anew: kedro run --pipeline=simulation",
        instrument=instrument,
    )
    return lift(
        make_features,
        version=FEATURES_VERSION,
        partitioned={"observations": _seen(observations, instrument, cmbnncs)},
        shared={"instrument": used_channels(instrument, cmbnncs)},
        parameters={"settings": _resolved(cmbnncs, instrument).of_features},
    )


def prepare_targets(cmb: Mapping[str, Loader], cmbnncs: Cmbnncs) -> dict[str, Partition]:
    """Lay out what the network is to find in every simulation of a split.

    Returns
    -------
    dict
        {simulation: lazy array (n_fields, 4 nside, 3 nside), uK_CMB}.
    """
    return lift(
        make_target,
        version=FEATURES_VERSION,
        partitioned={"truth": cmb},
        parameters={"settings": cmbnncs.of_targets},
    )


def fit_scaling(
    features: Mapping[str, Loader],
    targets: Mapping[str, Loader],
    instrument: Instrument,
    cmbnncs: Cmbnncs,
    cmbnncs_scaling: ScalingSettings,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Fit the scaling of features and target to the training split.

    Returns
    -------
    dict
        States of the transforms, see `fit_transforms`.
    pandas.DataFrame
        The fitted numbers, one row per feature and per field of the target.

    Raises
    ------
    ValueError
        If the split is empty, a pixel is not finite, or a feature is constant.
    """
    scaling = fit_transforms(
        features,
        targets,
        feature_names(instrument, cmbnncs),
        settings=cmbnncs_scaling,
        stokes=cmbnncs.stokes,
    )
    return scaling, scaling_table(scaling)


def train_network(  # noqa: PLR0917 (Kedro hands nodes their inputs by name)
    train_features: Mapping[str, Loader],
    train_targets: Mapping[str, Loader],
    valid_features: Mapping[str, Loader],
    valid_targets: Mapping[str, Loader],
    scaling: Mapping[str, Any],
    instrument: Instrument,
    mask: SkyMap,
    cmbnncs: Cmbnncs,
    cmbnncs_network: NetworkSettings,
    cmbnncs_learning: LearningSettings,
    cmbnncs_training: TrainingSettings,
) -> Partition:
    """Return the training, which the folder of its checkpoints runs.

    Parameters
    ----------
    train_features, train_targets, valid_features, valid_targets
        {simulation: loader of an array (n_features or n_fields, 4 nside, 3 nside), uK_CMB}.
    scaling
        Fitted transforms, see `fit_scaling`.
    instrument
        The channels that were simulated.
    mask
        Which part of the sky is compared.
    cmbnncs, cmbnncs_network, cmbnncs_learning, cmbnncs_training
        What the network sees and finds, what it is, how it is shown the skies, and how it is trained.

    Returns
    -------
    Partition
        Lazy; called with a `directory`.

    Raises
    ------
    ValueError
        If the kinds of network and inputs do not go together.
    """
    check_kinds(cmbnncs, cmbnncs_network)
    settings = CleanerSettings(
        _resolved(cmbnncs, instrument), cmbnncs_network.used, cmbnncs_learning, cmbnncs_training
    )
    return Partition(
        id="cmbnncs",
        function=train_cleaner,
        version=TRAINING_VERSION,
        inputs={
            "train_features": train_features,
            "train_targets": train_targets,
            "valid_features": valid_features,
            "valid_targets": valid_targets,
            "scaling": scaling,
            "instrument": used_channels(instrument, cmbnncs),
            "mask": None if cmbnncs_learning.masked_weight == 1 else mask,
        },
        parameters={"settings": settings},
    )


def report_training(checkpoints: Mapping[str, Loader]) -> tuple[pd.DataFrame, Figure]:
    """Return the losses of every epoch, as a table and as a figure."""
    losses = pd.DataFrame(history_rows(checkpoints["last"]()))
    return losses, losses_figure(losses, title="cmbnncs")


def clean(
    observations: Mapping[str, Loader],
    instrument: Instrument,
    checkpoints: Mapping[str, Loader],
    cmbnncs: Cmbnncs,
    cmbnncs_prediction: PredictionSettings,
) -> dict[str, Partition]:
    """Clean every simulation of a split.

    Parameters
    ----------
    observations
        {simulation: loader of its `Observations`}.
    instrument
        The channels that were simulated.
    checkpoints
        {name: loader of a trained network}.
    cmbnncs
        What the network sees.
    cmbnncs_prediction
        Which network it is.

    Returns
    -------
    dict
        {simulation: lazy `SkyMap`}, I or I, Q, U at the common beam, uK_CMB.

    Raises
    ------
    ValueError
        If observations were made with another instrument, or the checkpoint was not kept.
    """
    check_origin(
        observations,
        what="observations",
        remedy="make both anew: kedro run --pipeline=simulation",
        instrument=instrument,
    )
    return lift(
        clean_simulation,
        version=CLEANING_VERSION,
        partitioned={"observations": _seen(observations, instrument, cmbnncs)},
        shared={"instrument": used_channels(instrument, cmbnncs)},
        parameters={
            "settings": _resolved(cmbnncs, instrument),
            "checkpoint": chosen_checkpoint(checkpoints, cmbnncs_prediction.checkpoint, method="cmbnncs"),
        },
    )


def _resolved(settings: Cmbnncs, instrument: Instrument) -> Cmbnncs:
    """Return the settings with channels and reference by name, so that other words for them count alike."""
    channels = ordered_channels(instrument, settings)
    reference = channels[0].name if settings.inputs == "differences" else settings.reference
    names = used_channels(instrument, settings).names
    return settings.model_copy(update={"channels": names, "reference": reference})


def _seen(observations: Mapping[str, Loader], instrument: Instrument, settings: Cmbnncs) -> dict[str, Any]:
    """Return loaders of no more than the network sees."""
    names = used_channels(instrument, settings).names
    return restrict(observations, channels=names, stokes=settings.stokes)
