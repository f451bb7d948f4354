"""From the observations of the train and valid splits to their cleaned maps."""

from kedro.pipeline import Pipeline

from cmbml.pipelines.cmbnncs import create_cleaning_pipeline


def create_pipeline() -> Pipeline:
    """Return the pipeline; the network has been trained before."""
    return create_cleaning_pipeline(("train", "valid"))
