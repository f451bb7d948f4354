"""A part of `simulation` that runs by its own name."""

from kedro.pipeline import Pipeline

from cmbml.pipelines.simulation import create_planck_sky_pipeline


def create_pipeline() -> Pipeline:
    """Return the pipeline."""
    return create_planck_sky_pipeline()
