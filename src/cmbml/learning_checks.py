"""Checks before a run of methods that learn: what contradicts what in their settings.

Each returns a sentence for everything it finds, and none if all is well. They know of a method no more than
its name: groups of parameters are called after it, and what only the method itself can tell is asked of its
module `planning`, where it has one.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from cmbml.checks import is_used
from cmbml.input_checks import missing_input
from cmbml.pipelines import method_names
from cmbml.pipelines.simulation.nodes import select_channels
from cmbml.science.instrument import Instrument


def planning_of(method: str) -> Any:
    """Return the module by which a method tells of a run before it, or None if it has none."""
    name = f"cmbml.pipelines.{method}.planning"
    return import_module(name) if find_spec(name) else None


def method_conflicts(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return what methods of this run say of their settings, by `conflicts` of their module `planning`."""
    told = [planning_of(method) for method in method_names() if is_used(method, pipeline)]
    asked = [planning for planning in told if planning is not None]
    instrument = _simulated(parameters, pipeline, catalog) if asked else None
    if instrument is None:
        return []
    used = {name: group for name, group in parameters.items() if is_used(name, pipeline)}
    return [sentence for planning in asked for sentence in planning.conflicts(used, instrument)]


def _simulated(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> Instrument | None:
    """Return the channels that this run or an earlier one simulates; None where there are none yet."""
    if "instrument" in pipeline.inputs():
        earlier: Instrument | None = catalog["instrument"].load() if catalog.exists("instrument") else None
        return earlier
    if not is_used("instrument", pipeline) or "instrument_table" not in pipeline.inputs():
        return None
    try:
        return select_channels(catalog["instrument_table"].load(), parameters["instrument"])
    except ValueError:  # which the check of the instrument tells
        return None


def checkpoint_conflicts(parameters: dict[str, Any], pipeline: Pipeline) -> list[str]:
    """Return a sentence for each network that is to clean and that its training does not keep."""
    sentences = []
    for method in method_names():
        prediction, training = (f"{method}_{group}" for group in ("prediction", "training"))
        if not (is_used(prediction, pipeline) and is_used(training, pipeline)):
            continue
        wanted, kept = parameters[prediction].checkpoint, parameters[training].kept_checkpoints()
        if wanted not in kept:
            sentences.append(
                f"{prediction}.checkpoint {wanted}: will not be kept, there will be {', '.join(kept)}; "
                f"choose one of them, or keep more by {training}.checkpoint_every, checkpoint_also and epochs"
            )
    return sentences


def start_conflicts(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence for each network that a training is to begin with and that is not there."""
    return [
        f"{method}_network.start trained: {sentence}"
        for method in method_names()
        if f"{method}_start" in pipeline.inputs()
        and getattr(parameters.get(f"{method}_network"), "start", "") == "trained"
        for sentence in missing_input(f"{method}_start", catalog)
    ]


def published_conflicts(pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence for each file of published weights that is to become a network and is not there."""
    return [
        sentence
        for method in method_names()
        for part in ("weights", "description")
        if f"{method}_published_{part}" in pipeline.inputs()
        for sentence in missing_input(f"{method}_published_{part}", catalog)
    ]
