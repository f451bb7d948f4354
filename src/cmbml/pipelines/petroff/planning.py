"""What can be told of a run of the spherical network before it: contradictions, and sizes."""

from collections.abc import Mapping
from typing import Any

from cmbml.learning.sizes import LearningSizes, checkpoint_size
from cmbml.learning.transform_settings import build_transform
from cmbml.learning.transforms import Factor
from cmbml.pipelines.petroff.corrections import bands_up_to
from cmbml.pipelines.petroff.features import check_beams, feature_names, ordered_channels, used_channels
from cmbml.pipelines.petroff.prediction import ERRORS, PREDICTED
from cmbml.pipelines.petroff.training import CleanerSettings, check_kinds, gives_errors, network_spec
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
    data, network = parameters["petroff"], parameters.get("petroff_network")
    sentences = [] if network is None else _refused(check_kinds, data, network)
    training = parameters.get("petroff_training")
    if network is not None and training is not None:
        sentences += _errors_without_source(parameters)
    try:
        used_channels(instrument, data)
    except ValueError:  # which is checked of every method alike
        return sentences
    unlike = _refused(check_beams, instrument, data)
    if not unlike and data.inputs == "differences" and len(ordered_channels(instrument, data)) < 2:
        unlike = [
            f"petroff.channels {data.channels}: inputs differences need another channel to differ from; "
            "choose at least two"
        ]
    return sentences + (unlike or _scaling_conflicts(parameters, instrument))


def _errors_without_source(parameters: Mapping[str, Any]) -> list[str]:
    """Return a sentence if errors are to be scaled that nothing gives."""
    network, training = parameters["petroff_network"], parameters["petroff_training"]
    prediction = parameters.get("petroff_prediction")
    gives_none = not gives_errors(network, training)
    if prediction is None or not gives_none or not prediction.calibrate_errors:
        return []
    return [
        f"petroff_prediction.calibrate_errors: petroff_training.loss {training.loss} and "
        "petroff_network.initial_dropout 0 give no errors to calibrate; set it to false"
    ]


def _scaling_conflicts(parameters: Mapping[str, Any], instrument: Instrument) -> list[str]:
    scaling, data = parameters.get("petroff_scaling"), parameters["petroff"]
    if scaling is None:
        return []
    sentences = []
    for key, names in (("features", feature_names(instrument, data)), ("target", ("CMB I",))):
        found = _refused(build_transform, getattr(scaling, key), names)
        sentences += [f"petroff_scaling.{key}: {sentence}" for sentence in found]
    if data.inputs == "differences" and "reference_difference" in {item.kind for item in scaling.features}:
        sentences.append(
            "petroff_scaling.features: reference_difference would bring the CMB back into differences; "
            "leave it out, or set petroff.inputs to maps"
        )
    return sentences


def _refused(check: Any, *given: Any) -> list[str]:
    try:
        check(*given)
    except ValueError as error:
        return [str(error)]
    return []


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
    data, training = parameters["petroff"], parameters["petroff_training"]
    asked = parameters["petroff_prediction"]
    names, plain = feature_names(instrument, data), Factor(1.0).state()
    settings = CleanerSettings(data, parameters["petroff_network"], parameters["petroff_learning"], training)
    spec = network_spec({"names": names, "features": plain, "target": plain}, settings, skies=1)
    corrections = {"spectrum": len(bands_up_to(data.lmax))} if asked.correct_spectrum else {}
    if asked.calibrate_errors:
        corrections["errors"] = 1
    return LearningSizes(
        features=len(names),
        fields=1,
        epochs=training.epochs,
        checkpoints=len(training.kept_epochs()),
        checkpoint_size=checkpoint_size(spec, training),
        prediction_fields=len(PREDICTED),
        error_fields=len(ERRORS),
        fitted_skies={
            "train": asked.fitted_skies if asked.correct_spectrum else 0,
            "valid": asked.fitted_skies if asked.calibrate_errors else 0,
        },
        corrections=corrections,
    )
