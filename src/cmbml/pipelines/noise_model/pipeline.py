"""From noise simulations to a noise model per channel."""

from kedro.pipeline import Pipeline

from cmbml.pipelines.simulation import create_noise_model_pipeline


def create_pipeline() -> Pipeline:
    """Return the pipeline."""
    return create_noise_model_pipeline()
