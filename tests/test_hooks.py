"""What happens around a run."""

import pytest
from kedro.io import DataCatalog
from kedro.pipeline import Node, Pipeline

from cmbml.hooks import CheckHooks, ReportHooks
from tests.run_checks import catalog, keep, pipeline


def test_all_conflicts_come_in_one_message():
    parameters = {"instrument": {"channels": "44"}, "extra": 1}
    with pytest.raises(
        ValueError, match=r"(?s)the configuration cannot work:\n- parameter extra.*- instrument.channels"
    ):
        CheckHooks().before_pipeline_run(run_params={}, pipeline=pipeline(), catalog=catalog(parameters))


def test_reports_are_named_with_their_place(tmp_path, caplog):
    made = Pipeline([Node(keep, "params:a", "report_table", name="keep")])
    entries = {
        "report_table": {"type": "cmbml.datasets.JsonRecordDataset", "filepath": str(tmp_path / "table.json")}
    }
    with caplog.at_level("INFO"):
        ReportHooks().after_pipeline_run(pipeline=made, catalog=DataCatalog.from_config(entries))
    assert f"table: {tmp_path}/table.json" in caplog.text
