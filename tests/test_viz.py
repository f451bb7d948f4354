"""Kedro-Viz shows the project: its graph, its layers, and previews of what it made."""

import hashlib
import logging

import pytest
from kedro_viz.api.rest.responses.nodes import get_node_metadata_response
from kedro_viz.data_access import data_access_manager
from kedro_viz.server import load_and_populate_data

from tests.kedro_runs import PLAIN_CMB, ROOT, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """Load the project as `kedro viz run --env test` does, on data that were made."""
    data = tmp_path_factory.mktemp("viz")
    run(data=data, train=1, valid=1, test=1, **PLAIN_CMB)
    load_and_populate_data(path=ROOT, env="test", package_name="cmbml", extra_params={"data": str(data)})
    return data_access_manager


def identity(name: str) -> str:
    return hashlib.sha1(name.encode()).hexdigest()[:8]


def test_the_graph_has_every_node_and_dataset(graph):
    names = {node.name for node in graph.nodes.as_list()}
    assert {"observe_test", "compare_methods", "test_observations", "pyilc_cleaned_test"} <= names


def test_layers_run_from_raw_to_reporting(graph, caplog):
    with caplog.at_level(logging.WARNING):
        layers = graph.get_sorted_layers_for_registered_pipeline("__default__")
    assert layers == [
        *("raw", "intermediate", "primary", "model_input", "models", "model_output", "reporting")
    ]
    assert "cyclic" not in caplog.text.lower()


@pytest.mark.parametrize(
    "name", ["test_observations", "test_cmb", "test_theory", "pyilc_cleaned_test", "mask"]
)
def test_what_was_made_has_a_picture(graph, name):
    response = get_node_metadata_response(identity(name))
    metadata = response.model_dump() if hasattr(response, "model_dump") else response.body.decode()
    assert "ImagePreview" in str(metadata)
    assert "iVBOR" in str(metadata)
