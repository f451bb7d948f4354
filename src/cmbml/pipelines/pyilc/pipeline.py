"""Needlet ILC, from observations to cleaned maps."""

from kedro.pipeline import Node, Pipeline

from cmbml.pipelines.pyilc.nodes import clean


def create_pipeline() -> Pipeline:
    """Return the pipeline: it cleans the test split."""
    return Pipeline(
        [
            Node(
                clean,
                ["test_observations", "instrument", "params:pyilc"],
                "pyilc_cleaned_test",
                name="clean_test",
            )
        ],
        namespace="pyilc",
        inputs={"test_observations", "instrument"},
        outputs={"pyilc_cleaned_test"},
        parameters={"params:pyilc"},
    )
