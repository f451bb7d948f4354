"""What tests of the checks before a run share."""

from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from cmbml.science.instrument import Channel, Instrument

TABLE = Instrument(
    (Channel("30", 28.4, 75.0, "IQU"), Channel("100", 100.89, 43.0, "IQU"), Channel("545", 555.2, 21.5, "I"))
)


def keep(*values):
    return values


def pipeline() -> Pipeline:
    return Pipeline(
        [Node(keep, ["instrument_table", "params:instrument", "params:pyilc"], "cleaned", name="keep")]
    )


def catalog(parameters: dict) -> DataCatalog:
    return DataCatalog({"parameters": MemoryDataset(parameters), "instrument_table": MemoryDataset(TABLE)})


def reading(*groups: str) -> Pipeline:
    return Pipeline([Node(keep, [f"params:{group}" for group in groups], "out", name="keep")])
