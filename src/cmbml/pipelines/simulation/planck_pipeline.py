"""From Planck's maps to what cleaning and analysis read."""

from kedro.pipeline import Node, Pipeline

from cmbml.pipelines.simulation.pipeline import create_pipeline
from cmbml.pipelines.simulation.planck_nodes import make_planck_truth, observe_planck


def create_planck_sky_pipeline() -> Pipeline:
    """Return the pipeline that puts Planck's sky where the test split of a simulation stands."""
    shared = create_pipeline().filter(node_names=["make_instrument", "make_mask"])
    observed = {
        "planck_maps": "planck_maps",
        "planck_instrument": "planck_instrument",
        "instrument": "instrument",
        "planck": "params:planck",
        "maps": "params:maps",
    }
    truth = ["planck_nilc", "instrument", "params:planck", "params:target"]
    return shared + Pipeline(
        [
            Node(observe_planck, observed, "test_observations", name="observe_planck"),
            Node(make_planck_truth, truth, "test_cmb", name="make_planck_truth"),
        ]
    )
