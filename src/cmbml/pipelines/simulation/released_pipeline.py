"""From a released dataset to what cleaning and analysis read."""

from kedro.pipeline import Node, Pipeline

from cmbml.pipelines.simulation.pipeline import create_pipeline
from cmbml.pipelines.simulation.released_nodes import bring_truth


def create_released_pipeline() -> Pipeline:
    """Return the pipeline that makes instrument, mask and truth of the test split.

    The observations are read where the dataset has them.
    """
    shared = create_pipeline().filter(node_names=["make_instrument", "make_mask"])
    return shared + Pipeline([_truth_node("test")])


def create_released_training_pipeline() -> Pipeline:
    """Return the pipeline of the splits to learn from: their truth."""
    return Pipeline([_truth_node(split) for split in ("train", "valid")])


def _truth_node(split: str) -> Node:
    inputs = [f"released_{split}_cmb", "instrument", "params:target", "params:released_truth"]
    return Node(bring_truth, inputs, f"{split}_cmb", name=f"bring_truth_{split}")
