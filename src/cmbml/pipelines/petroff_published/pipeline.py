"""From files of published weights to a checkpoint."""

from kedro.pipeline import Pipeline

from cmbml.pipelines.petroff import create_published_pipeline


def create_pipeline() -> Pipeline:
    """Return the pipeline; the instrument has been simulated before."""
    return create_published_pipeline()
