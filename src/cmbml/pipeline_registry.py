"""Which pipelines there are, and which of them `kedro run` runs."""

from kedro.framework.project import find_pipelines
from kedro.pipeline import Pipeline

from cmbml.pipelines import method_names


def main_job() -> tuple[str, ...]:
    """Return the names of the pipelines that `kedro run` runs, in their order."""
    return ("simulation", *method_names(), "analysis")


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by name.

    `__default__`, which is what `kedro run` runs, is the simulation, every
    cleaning method, and the analysis; everything else runs only by name. When
    pipelines are asked for by name, Kedro imports no others, and they alone are
    here.
    """
    pipelines: dict[str, Pipeline] = find_pipelines(raise_errors=True)
    main = (pipelines[name] for name in main_job() if name in pipelines)
    pipelines["__default__"] = sum(main, Pipeline([]))
    return pipelines
