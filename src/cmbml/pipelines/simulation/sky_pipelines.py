"""Further pipelines of the simulation, which look at the sky component by component."""

from kedro.pipeline import Node, Pipeline

from cmbml.pipelines.simulation.nodes import SPLITS
from cmbml.pipelines.simulation.pipeline import instrument_node, sky_inputs
from cmbml.pipelines.simulation.sky_nodes import measure_sky, observe_components


def create_sky_components_pipeline() -> Pipeline:
    """Return the pipeline that takes simulations apart into their components."""
    return Pipeline(
        [
            Node(
                observe_components,
                sky_inputs(split),
                f"{split}_components",
                name=f"observe_components_{split}",
            )
            for split in SPLITS
        ]
    )


def create_sky_statistics_pipeline() -> Pipeline:
    """Return the pipeline that measures every foreground component in every channel."""
    inputs = ["params:foregrounds", "instrument", "params:maps", "params:sky_statistics"]
    return Pipeline(
        [
            instrument_node(),
            Node(measure_sky, inputs, "report_sky_statistics", name="measure_sky"),
        ]
    )
