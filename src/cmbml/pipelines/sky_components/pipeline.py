"""From simulations to their components, one by one."""

from kedro.pipeline import Pipeline

from cmbml.pipelines.simulation import create_sky_components_pipeline


def create_pipeline() -> Pipeline:
    """Return the pipeline."""
    return create_sky_components_pipeline()
