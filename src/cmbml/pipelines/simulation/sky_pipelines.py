"""Further pipelines of the simulation, which look at the sky component by component."""

from kedro.pipeline import Node, Pipeline

from cmbml.pipelines.simulation.nodes import SPLITS, make_instrument
from cmbml.pipelines.simulation.pipeline import sky_inputs
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
            Node(
                make_instrument,
                ["instrument_table", "params:instrument"],
                "instrument",
                name="make_instrument",
            ),
            Node(measure_sky, inputs, "report_sky_statistics", name="measure_sky"),
        ]
    )
