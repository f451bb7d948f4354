"""What happens around a run: threads, checks before it, where the results are after it."""

import difflib
import logging
import os
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from omegaconf import OmegaConf

from cmbml.science.instrument import Instrument, channel_names
from cmbml.science.threads import available_cores, set_thread_count, thread_environment

LOGGER = logging.getLogger(__name__)


class ThreadHooks:
    """The main process may use all cores; workers get their number from the catalog."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Set thread counts once, before anything is computed."""
        for variable, value in thread_environment(available_cores()).items():
            os.environ.setdefault(variable, value)
        set_thread_count(available_cores())


class CheckHooks:
    """Conflicts that no single group of parameters can see, found before the first node."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note which parameter groups and command-line keys there are."""
        # Not by a second config loader: resolvers belong to the process, and it would take them over.
        base = Path(context.config_loader.conf_source) / "base"
        files = [*base.glob("parameters*.yml"), *base.glob("globals*.yml")]
        self._known = {str(key) for file in files for key in OmegaConf.load(file)}

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Raise one error that names every conflict.

        Raises
        ------
        ValueError
            If a parameter is unknown, or parameters contradict one another.
        """
        parameters = catalog["parameters"].load()
        problems = [
            *unknown_keys(parameters, self._known),
            *instrument_conflicts(parameters, pipeline, catalog),
        ]
        if problems:
            raise ValueError("the configuration cannot work:\n- " + "\n- ".join(problems))


def unknown_keys(parameters: dict[str, Any], known: set[str]) -> list[str]:
    """Return a sentence for each top-level parameter that base does not have."""
    sentences = []
    for key in sorted(set(parameters) - known):
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
        sentences.append(f"parameter {key}: not known; {hint}")
    return sentences


def instrument_conflicts(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence for each choice of channels that the instrument table cannot serve."""
    table_is_used = "instrument_table" in pipeline.inputs()
    choice = _channels_of(parameters.get("instrument"))
    if not table_is_used or choice is None:
        return []
    table: Instrument = catalog["instrument_table"].load()
    try:
        simulated = channel_names(choice, table.names)
    except ValueError as error:
        return [f"instrument.channels: {error}"]
    sentences = []
    for group, values in parameters.items():
        choice = _channels_of(values)
        if group == "instrument" or choice is None or not _is_used(group, pipeline):
            continue
        try:
            channel_names(choice, simulated)
        except ValueError as error:
            sentences.append(f"{group}.channels: {error}".replace("in the instrument table", "simulated"))
    return sentences


def _channels_of(group: Any) -> Any:
    """Return what a group of parameters says of channels; groups are models once they are validated."""
    return group.get("channels") if isinstance(group, dict) else getattr(group, "channels", None)


def _is_used(group: str, pipeline: Pipeline) -> bool:
    return any(name.removeprefix("params:").split(".")[0] == group for name in pipeline.inputs())


class ReportHooks:
    """Say at the end where the results lie."""

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Log the path of every report that the pipeline wrote."""
        for name in sorted(pipeline.all_outputs()):
            if not name.startswith("report_"):
                continue
            description = catalog[name]._describe()
            place = description.get("filepath") or description.get("path")
            LOGGER.info("%s: %s", name.removeprefix("report_").replace("_", " "), place)
