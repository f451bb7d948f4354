"""What happens around a run: threads, checks before it, where the results are after it."""

import logging
import os
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from omegaconf import OmegaConf

from cmbml.checks import (
    count_conflicts,
    foreground_conflicts,
    instrument_conflicts,
    read_only_conflicts,
    resolution_conflicts,
    resumption_conflicts,
    stokes_conflicts,
    unknown_keys,
    unused_groups,
)
from cmbml.input_checks import (
    cmb_conflicts,
    cosmology_conflicts,
    mask_conflicts,
    noise_conflicts,
    planck_conflicts,
    preset_conflicts,
)
from cmbml.learning_checks import (
    checkpoint_conflicts,
    method_conflicts,
    published_conflicts,
    start_conflicts,
)
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


class ConfigurationError(ValueError):
    """A run cannot work as it is configured; the message says all that the user has to know."""


class CheckHooks:
    """Conflicts that no single group of parameters can see, found before the first node."""

    def __init__(self) -> None:
        self._groups: set[str] = set()
        self._globals: set[str] = set()
        self._given_globals: set[str] = set()
        self._given: set[str] = set()
        self._numbers: dict[str, Any] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note which groups and shared numbers there are, and what this run gives."""
        # Not by a second config loader: resolvers belong to the process, and it would take them over.
        base = Path(context.config_loader.conf_source) / "base"
        self._groups = _keys(base, "parameters*.yml")
        self._globals = _keys(base, "globals*.yml")
        self._given_globals = set(context.config_loader["globals"])
        given = context.config_loader.runtime_params or {}
        self._given = set(given)
        self._numbers = {**context.config_loader["globals"], **given}

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Raise one error that names every conflict.

        Raises
        ------
        ConfigurationError
            If a parameter is unknown or has no effect, parameters contradict one
            another, a product is only read, a foreground preset cannot be built, or noise lacks what it is
            made from.
        """
        only_missing = bool(run_params.get("only_missing_outputs"))
        problems = [
            *resumption_conflicts(self._given, only_missing=only_missing),
            *self.problems(pipeline, catalog),
        ]
        if problems:
            raise ConfigurationError("the configuration cannot work:\n- " + "\n- ".join(problems))

    def problems(self, pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
        """Return a sentence for everything that keeps a pipeline from being run as it is configured."""
        parameters = catalog["parameters"].load()
        return [
            *unknown_keys(self._given, self._groups | self._globals),
            *unknown_keys(set(parameters) - self._given, self._groups),
            *unknown_keys(self._given_globals, self._globals),
            *unused_groups(self._given & self._groups, pipeline),
            *read_only_conflicts(pipeline, catalog),
            *instrument_conflicts(parameters, pipeline, catalog),
            *resolution_conflicts(parameters, pipeline),
            *stokes_conflicts(parameters, pipeline, catalog),
            *count_conflicts(parameters, pipeline, self._numbers),
            *foreground_conflicts(parameters, pipeline),
            *preset_conflicts(parameters, pipeline),
            *mask_conflicts(parameters, pipeline, catalog),
            *noise_conflicts(parameters, pipeline, catalog),
            *cosmology_conflicts(parameters, pipeline, catalog),
            *cmb_conflicts(parameters, pipeline),
            *planck_conflicts(parameters, pipeline, catalog),
            *method_conflicts(parameters, pipeline, catalog),
            *checkpoint_conflicts(parameters, pipeline),
            *start_conflicts(parameters, pipeline, catalog),
            *published_conflicts(pipeline, catalog),
        ]


def _keys(folder: Path, pattern: str) -> set[str]:
    return {str(key) for file in folder.glob(pattern) for key in OmegaConf.load(file)}


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
