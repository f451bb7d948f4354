"""Nodes of the spherical network."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from cmbml.learning.checkpoints import history_rows
from cmbml.learning.figures import losses_figure
from cmbml.learning.inference import chosen_checkpoint
from cmbml.learning.scaling import fit_transforms, scaling_table
from cmbml.learning.settings import LearningSettings, TrainingSettings
from cmbml.learning.transform_settings import ScalingSettings
from cmbml.partitions import (
    Loader,
    Partition,
    Recorded,
    check_origin,
    fingerprint_of,
    lift,
    load,
    made_from,
    restrict,
)
from cmbml.pipelines.petroff.corrections import correction_table, fit_errors, fit_spectrum
from cmbml.pipelines.petroff.features import (
    FEATURES_VERSION,
    feature_names,
    inputs_fwhm,
    make_features,
    make_target,
    ordered_channels,
    used_channels,
)
from cmbml.pipelines.petroff.prediction import (
    clean_simulation,
    cut_simulation,
    error_simulation,
    predict_simulation,
)
from cmbml.pipelines.petroff.published import keep_published
from cmbml.pipelines.petroff.settings import NetworkSettings, Petroff, SamplingSettings
from cmbml.pipelines.petroff.training import (
    CleanerSettings,
    check_kinds,
    data_facts,
    gives_errors,
    train_cleaner,
)
from cmbml.science.instrument import Instrument
from cmbml.science.skymap import SkyMap

TRAINING_VERSION = 1
"""Raised when a training gives other weights for equal settings."""

IMPORT_VERSION = 1
"""Raised when published weights become another network."""

PREDICTION_VERSION = 1
"""Raised when predictions, or what is made of them, change for equal weights."""

_ASKED_BY = {"spectrum": "correct_spectrum", "errors": "calibrate_errors"}


def prepare_features(
    observations: Mapping[str, Loader], instrument: Instrument, petroff: Petroff
) -> dict[str, Partition]:
    """Lay out what the network sees of every simulation of a split.

    Returns
    -------
    dict
        {simulation: lazy array (n_features, npix), NESTED, uK_CMB}.

    Raises
    ------
    ValueError
        If observations were made with another instrument.
    """
    _check_instrument(observations, instrument)
    return lift(
        make_features,
        version=FEATURES_VERSION,
        partitioned={"observations": _seen(observations, instrument, petroff)},
        shared={"instrument": used_channels(instrument, petroff)},
        parameters={"settings": _resolved(petroff, instrument)},
    )


def prepare_targets(cmb: Mapping[str, Loader], petroff: Petroff) -> dict[str, Partition]:
    """Lay out what the network is to find in every simulation of a split.

    Returns
    -------
    dict
        {simulation: lazy array (1, npix), NESTED, uK_CMB}.
    """
    return lift(
        make_target,
        version=FEATURES_VERSION,
        partitioned={"truth": restrict(cmb, stokes="I")},
        parameters={"settings": petroff.of_targets},
    )


def fit_scaling(
    features: Mapping[str, Loader],
    targets: Mapping[str, Loader],
    instrument: Instrument,
    petroff: Petroff,
    petroff_scaling: ScalingSettings,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Fit the scaling of features and target to the training split.

    Petroff et al. fit it to maps before noise is added; here it is fitted to what is observed.

    Returns
    -------
    dict
        States of the transforms, see `cmbml.learning.scaling.fit_transforms`.
    pandas.DataFrame
        The fitted numbers, one row per feature and one for the target.

    Raises
    ------
    ValueError
        If the split is empty, a pixel is not finite, a feature is constant, or features are those of other
        channels.
    """
    check_origin(
        features,
        what="features",
        remedy="make them anew, with --params on_mismatch=recompute",
        instrument=used_channels(instrument, petroff),
    )
    names = feature_names(instrument, petroff)
    scaling = fit_transforms(features, targets, names, settings=petroff_scaling, stokes="I")
    return scaling, scaling_table(scaling)


def train_network(  # noqa: PLR0917 (Kedro hands nodes their inputs by name)
    train_features: Mapping[str, Loader],
    train_targets: Mapping[str, Loader],
    valid_features: Mapping[str, Loader],
    valid_targets: Mapping[str, Loader],
    scaling: Mapping[str, Any],
    instrument: Instrument,
    mask: SkyMap,
    start: Loader,
    petroff: Petroff,
    petroff_network: NetworkSettings,
    petroff_learning: LearningSettings,
    petroff_training: TrainingSettings,
) -> Partition:
    """Return the training, which the folder of its checkpoints runs.

    Parameters
    ----------
    train_features, train_targets, valid_features, valid_targets
        {simulation: loader of an array (n_features or 1, npix), NESTED, uK_CMB}.
    scaling
        Fitted transforms, see `fit_scaling`.
    instrument
        The channels that were simulated.
    mask
        Which part of the sky is compared.
    start
        Loader of the checkpoint whose weights the network begins with, if it begins with such.
    petroff, petroff_network, petroff_learning, petroff_training
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
    check_kinds(petroff, petroff_network)
    settings = CleanerSettings(
        _resolved(petroff, instrument), petroff_network.used, petroff_learning, petroff_training
    )
    return Partition(
        id="petroff",
        function=train_cleaner,
        version=TRAINING_VERSION,
        inputs={
            "train_features": train_features,
            "train_targets": train_targets,
            "valid_features": valid_features,
            "valid_targets": valid_targets,
            "scaling": scaling,
            "instrument": used_channels(instrument, petroff),
            "mask": None if petroff_learning.masked_weight == 1 else mask,
            "start": start if petroff_network.start == "trained" else None,
        },
        parameters={"settings": settings},
    )


def import_published(
    weights: Loader, description: Loader, instrument: Instrument, petroff: Petroff
) -> Partition:
    """Return the import of published weights, which the folder of checkpoints runs.

    Parameters
    ----------
    weights, description
        Loaders of the arrays and of what is said of them, see `cmbml.pipelines.petroff.published`.
    instrument
        The channels that were simulated.
    petroff
        What the network is to see and find.

    Returns
    -------
    Partition
        Lazy; called with a `directory`.
    """
    return Partition(
        id="petroff",
        function=keep_published,
        version=IMPORT_VERSION,
        inputs={"arrays": weights, "description": description},
        parameters={"facts": data_facts(instrument, petroff)},
    )


def report_training(checkpoints: Mapping[str, Loader]) -> tuple[pd.DataFrame, Figure]:
    """Return the losses of every epoch, as a table and as a figure."""
    losses = pd.DataFrame(history_rows(checkpoints["last"]()))
    return losses, losses_figure(losses, title="petroff")


def predict_train(
    observations: Mapping[str, Loader],
    instrument: Instrument,
    checkpoints: Mapping[str, Loader],
    petroff: Petroff,
    petroff_prediction: SamplingSettings,
) -> dict[str, Partition]:
    """Predict the training skies that the bias of the spectrum is fitted to; none if it is not wanted."""
    wanted = petroff_prediction.fitted_skies if petroff_prediction.correct_spectrum else 0
    return _predicted("train", observations, instrument, checkpoints, petroff, petroff_prediction, wanted)


def predict_valid(
    observations: Mapping[str, Loader],
    instrument: Instrument,
    checkpoints: Mapping[str, Loader],
    petroff: Petroff,
    petroff_prediction: SamplingSettings,
) -> dict[str, Partition]:
    """Predict the validation skies that the scale of the errors is fitted to; none if it is not wanted."""
    wanted = petroff_prediction.fitted_skies if petroff_prediction.calibrate_errors else 0
    return _predicted("valid", observations, instrument, checkpoints, petroff, petroff_prediction, wanted)


def predict_test(
    observations: Mapping[str, Loader],
    instrument: Instrument,
    checkpoints: Mapping[str, Loader],
    petroff: Petroff,
    petroff_prediction: SamplingSettings,
) -> dict[str, Partition]:
    """Predict every simulation that is to be cleaned.

    Parameters
    ----------
    observations
        {simulation: loader of its `Observations`}.
    instrument
        The channels that were simulated.
    checkpoints
        {name: loader of a trained network}.
    petroff
        What the network sees.
    petroff_prediction
        Which network it is, and how it is asked.

    Returns
    -------
    dict
        {simulation: lazy `SkyMap` of mean and errors}, see `cmbml.pipelines.petroff.prediction`.

    Raises
    ------
    ValueError
        If observations were made with another instrument, or the checkpoint was not kept.
    """
    wanted = len(observations)
    return _predicted("test", observations, instrument, checkpoints, petroff, petroff_prediction, wanted)


def fit_corrections(  # noqa: PLR0917 (Kedro hands nodes their inputs by name)
    train_predictions: Mapping[str, Loader],
    train_cmb: Mapping[str, Loader],
    valid_predictions: Mapping[str, Loader],
    valid_cmb: Mapping[str, Loader],
    mask: SkyMap,
    petroff: Petroff,
    petroff_prediction: SamplingSettings,
) -> dict[str, Partition]:
    """Fit the bias of the spectrum to training skies, and the scale of the errors to validation skies.

    Returns
    -------
    dict
        {"spectrum", "errors": lazy record}, see `cmbml.pipelines.petroff.corrections`; what is not wanted is
        not there.
    """
    fits: dict[str, Partition] = {}
    if petroff_prediction.correct_spectrum:
        given = _skies_with_truth(train_predictions, train_cmb, mask)
        fits["spectrum"] = Partition(
            "spectrum", fit_spectrum, PREDICTION_VERSION, given, {"lmax": petroff.lmax}
        )
    if petroff_prediction.calibrate_errors:
        given = _skies_with_truth(valid_predictions, valid_cmb, mask) | {"spectrum": fits.get("spectrum", {})}
        fits["errors"] = Partition("errors", fit_errors, PREDICTION_VERSION, given, {"lmax": petroff.lmax})
    return fits


def report_corrections(corrections: Mapping[str, Loader]) -> pd.DataFrame:
    """Return the fitted numbers as a table."""
    return correction_table({name: load(record) for name, record in corrections.items()})


def clean(
    predictions: Mapping[str, Loader],
    observations: Mapping[str, Loader],
    corrections: Mapping[str, Loader],
    petroff: Petroff,
    petroff_prediction: SamplingSettings,
) -> dict[str, Partition]:
    """Make the cleaned map of every simulation of a prediction's mean.

    Returns
    -------
    dict
        {simulation: lazy `SkyMap`}, I at the common beam, uK_CMB.

    Raises
    ------
    ValueError
        If a prediction was made from other observations than those at hand, or the correction is not there or
        was fitted to another network.
    """
    wanted = ("spectrum",) if petroff_prediction.correct_spectrum else ()
    return lift(
        clean_simulation,
        version=PREDICTION_VERSION,
        partitioned={"prediction": predictions, "observations": _origins(predictions, observations)},
        shared=_fitted(corrections, wanted, predictions),
        parameters={"settings": petroff.of_targets},
    )


def map_errors(  # noqa: PLR0917 (Kedro hands nodes their inputs by name)
    predictions: Mapping[str, Loader],
    observations: Mapping[str, Loader],
    corrections: Mapping[str, Loader],
    petroff_network: NetworkSettings,
    petroff_training: TrainingSettings,
    petroff_prediction: SamplingSettings,
) -> dict[str, Partition]:
    """Make the error map of every simulation of a prediction's errors.

    Returns
    -------
    dict
        {simulation: lazy `SkyMap`}, one standard deviation at the beam of the cleaned map, uK_CMB; none of a
        network that says nothing of its errors.

    Raises
    ------
    ValueError
        If a prediction was made from other observations than those at hand, or the factor is not there or was
        fitted to another network.
    """
    if not gives_errors(petroff_network, petroff_training):
        return {}
    wanted = ("errors",) if petroff_prediction.calibrate_errors else ()
    return lift(
        error_simulation,
        version=PREDICTION_VERSION,
        partitioned={"prediction": predictions, "observations": _origins(predictions, observations)},
        shared=_fitted(corrections, wanted, predictions),
    )


def cut_errors(errors: Mapping[str, Loader], petroff_prediction: SamplingSettings) -> dict[str, Partition]:
    """Mark the pixels of every simulation whose error is not too large.

    Returns
    -------
    dict
        {simulation: lazy `SkyMap`, 1 where the error is at most `error_cut_uk`, else 0}.
    """
    return lift(
        cut_simulation,
        version=PREDICTION_VERSION,
        partitioned={"errors": errors},
        parameters={"cut_uk": petroff_prediction.error_cut_uk},
    )


def _predicted(  # noqa: PLR0917 (what all three nodes are given)
    split: str,
    observations: Mapping[str, Loader],
    instrument: Instrument,
    checkpoints: Mapping[str, Loader],
    petroff: Petroff,
    sampling: SamplingSettings,
    wanted: int,
) -> dict[str, Partition]:
    _check_instrument(observations, instrument)
    names = sorted(observations)[:wanted]
    if not names:
        return {}
    seen = _seen({name: observations[name] for name in names}, instrument, petroff)
    checkpoint = chosen_checkpoint(checkpoints, sampling.checkpoint, method="petroff")
    network = Recorded(fingerprint_of([checkpoint, sampling.of_passes]))
    return lift(
        predict_simulation,
        version=PREDICTION_VERSION,
        partitioned={"observations": seen, "simulation": {name: f"{split} {name}" for name in names}},
        shared={"instrument": used_channels(instrument, petroff), "network": network},
        parameters={
            "settings": _resolved(petroff, instrument),
            "sampling": sampling.of_passes,
            "checkpoint": checkpoint,
        },
    )


def _skies_with_truth(
    predictions: Mapping[str, Loader], cmb: Mapping[str, Loader], mask: SkyMap
) -> dict[str, Any]:
    """Return what a correction is fitted to."""
    networks = {made_from(loader).get("network") for loader in predictions.values()}
    if not networks:
        raise ValueError("no skies to fit corrections to: predict some, or ask for no corrections")
    return {
        "predictions": predictions,
        "truth": _of(predictions, cmb),
        "mask": mask,
        "network": Recorded(str(min(map(str, networks)))),
    }


def _fitted(
    corrections: Mapping[str, Loader], wanted: tuple[str, ...], predictions: Mapping[str, Loader]
) -> dict[str, Loader]:
    """Return the corrections that are wanted, if they were fitted to the network that predicts."""
    for name in wanted:
        if name not in corrections:
            raise ValueError(
                f"petroff_corrections: {name} is not there; fit it (kedro run --pipelines=petroff), or set "
                f"petroff_prediction.{_ASKED_BY[name]} to false"
            )
        recorded = made_from(corrections[name]).get("network")
        for simulation, loader in predictions.items():
            if recorded != made_from(loader).get("network"):
                raise ValueError(
                    f"prediction {simulation}: made by another network, or in another way, than {name} of "
                    "petroff_corrections was fitted to; predict and fit both anew, with --params "
                    "on_mismatch=recompute"
                )
    return {name: corrections[name] for name in wanted}


def _origins(predictions: Mapping[str, Loader], observations: Mapping[str, Loader]) -> dict[str, Recorded]:
    """Return what predictions were made from, to be recorded with what is made of them."""
    own = _those_of(predictions, observations, what="observations")
    check_origin(
        predictions,
        what="prediction",
        remedy="predict again, with --params on_mismatch=recompute",
        observations=own,
    )
    return {name: Recorded(loader.fingerprint) for name, loader in own.items()}


def _check_instrument(observations: Mapping[str, Loader], instrument: Instrument) -> None:
    check_origin(
        observations,
        what="observations",
        remedy="make both anew: kedro run --pipeline=simulation",
        instrument=instrument,
    )


def _resolved(settings: Petroff, instrument: Instrument) -> Petroff:
    """Return the settings with all choices spelt out, so that other words for them count alike."""
    reference = ordered_channels(instrument, settings)[0].name if settings.inputs == "differences" else "auto"
    return settings.model_copy(
        update={
            "channels": used_channels(instrument, settings).names,
            "reference": reference,
            "inputs_fwhm_arcmin": inputs_fwhm(instrument, settings) or "native",
        }
    )


def _seen(observations: Mapping[str, Loader], instrument: Instrument, settings: Petroff) -> dict[str, Any]:
    """Return loaders of no more than the network sees."""
    return restrict(observations, channels=used_channels(instrument, settings).names, stokes="I")


def _of(predictions: Mapping[str, Loader], skies: Mapping[str, Loader]) -> dict[str, Any]:
    """Return the skies that were predicted, intensity only."""
    return restrict(_those_of(predictions, skies, what="truth"), stokes="I")


def _those_of(
    predictions: Mapping[str, Loader], skies: Mapping[str, Loader], *, what: str
) -> dict[str, Loader]:
    """Return of skies those that were predicted.

    Raises
    ------
    ValueError
        If one is not there any more.
    """
    gone = [name for name in predictions if name not in skies]
    if gone:
        raise ValueError(
            f"prediction {gone[0]}: {what} not there any more ({len(gone)} of {len(predictions)} skies); "
            "predict again, with as many skies as there are"
        )
    return {name: skies[name] for name in predictions}
