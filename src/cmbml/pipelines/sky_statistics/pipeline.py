"""From foreground settings to a table of statistics."""

from kedro.pipeline import Pipeline

from cmbml.pipelines.simulation import create_sky_statistics_pipeline


def create_pipeline() -> Pipeline:
    """Return the pipeline."""
    return create_sky_statistics_pipeline()
