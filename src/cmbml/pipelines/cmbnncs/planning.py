"""What can be told of a run of CMBNNCS before it: what contradicts what, and how large things become."""

from collections.abc import Mapping
from typing import Any

from cmbml.learning.scaling import target_names
from cmbml.learning.sizes import LearningSizes, checkpoint_size
from cmbml.learning.transform_settings import build_transform
from cmbml.learning.transforms import Factor
from cmbml.pipelines.cmbnncs.features import feature_names, ordered_channels, used_channels
from cmbml.pipelines.cmbnncs.settings import Cmbnncs
from cmbml.pipelines.cmbnncs.training import CleanerSettings, check_kinds, network_spec
from cmbml.science.instrument import Instrument


def conflicts(parameters: Mapping[str, Any], instrument: Instrument) -> list[str]:
    """Return a sentence for everything that no single group of parameters can see.

    Parameters
    ----------
    parameters
        The validated groups that the run uses, by name; of a run that only cleans there is no network.
    instrument
        The channels that are simulated.
    """
    data, sentences = parameters["cmbnncs"], []
    if "cmbnncs_training" in parameters and parameters["cmbnncs_training"].loss == "gaussian":
        sentences.append("cmbnncs_training.loss gaussian: cmbnncs predicts no errors; take l1, l2 or huber")
    if "cmbnncs_network" in parameters:
        try:
            check_kinds(data, parameters["cmbnncs_network"])
        except ValueError as error:
            sentences.append(str(error))
    return sentences if _is_told_elsewhere(data, instrument) else sentences + _unlike(parameters, instrument)


def _is_told_elsewhere(data: Cmbnncs, instrument: Instrument) -> bool:
    """Return whether channels or fields are not simulated, which is checked of every method alike."""
    try:
        used_channels(instrument, data)
    except ValueError:
        return True
    return data.stokes == "IQU" and not instrument.is_polarised


def _unlike(parameters: Mapping[str, Any], instrument: Instrument) -> list[str]:
    """Return a sentence for what cannot be made of the chosen channels."""
    data, scaling = parameters["cmbnncs"], parameters.get("cmbnncs_scaling")
    try:
        channels = ordered_channels(instrument, data)
        names = feature_names(instrument, data)
    except ValueError as error:
        return [str(error)]
    if data.inputs == "differences" and len(channels) < 2:
        return [
            f"cmbnncs.channels {data.channels}: inputs differences need another channel to differ from "
            f"{channels[0].name}; choose at least two"
        ]
    if scaling is None:
        return []
    sentences = []
    for key, of in (("features", names), ("target", target_names(data.stokes))):
        try:
            build_transform(getattr(scaling, key), of)
        except ValueError as error:
            sentences.append(f"cmbnncs_scaling.{key}: {error}")
    if data.inputs == "differences" and "reference_difference" in {item.kind for item in scaling.features}:
        sentences.append(
            "cmbnncs_scaling.features: reference_difference would bring the CMB back into differences; "
            "leave it out, or set cmbnncs.inputs to maps"
        )
    return sentences


def sizes(parameters: Mapping[str, Any], instrument: Instrument) -> LearningSizes:
    """Return how large what is learnt from and what is learnt become.

    Parameters
    ----------
    parameters
        The validated groups, by name.
    instrument
        The channels that are simulated.

    Raises
    ------
    ValueError
        If the settings contradict each other or what is simulated.
    """
    data, training = parameters["cmbnncs"], parameters["cmbnncs_training"]
    names, plain = feature_names(instrument, data), Factor(1.0).state()
    settings = CleanerSettings(data, parameters["cmbnncs_network"], parameters["cmbnncs_learning"], training)
    spec = network_spec({"names": names, "features": plain, "target": plain}, settings)
    return LearningSizes(
        features=len(names),
        fields=len(data.stokes),
        epochs=training.epochs,
        checkpoints=len(training.kept_epochs()),
        checkpoint_size=checkpoint_size(spec, training),
    )
