"""From what is asked for to verified files on disk."""

from kedro.pipeline import Node, Pipeline

from cmbml.pipelines.assets.nodes import order_assets, report_assets


def create_pipeline() -> Pipeline:
    """Return the pipeline; the files are fetched when `raw_assets` is loaded."""
    asked_for = {
        "assets": "params:assets",
        "foregrounds": "params:foregrounds",
        "instrument_table": "instrument_table",
        "instrument": "params:instrument",
        "bandpass_table": "bandpass_table",
        "dataset_record": "dataset_record",
    }
    return Pipeline(
        [
            Node(order_assets, asked_for, "raw_assets", name="order_assets"),
            Node(report_assets, "raw_assets", "report_assets", name="report_assets"),
        ]
    )
