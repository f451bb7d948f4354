"""Every environment loads, and what it says is used."""

import re
from pathlib import Path

import numpy as np
import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from cmbml.checks import read_only_conflicts
from cmbml.datasets import InstrumentTableDataset
from cmbml.pipelines import NOT_METHODS, method_names
from cmbml.pipelines.pyilc.ilc import ilc_scales
from cmbml.pipelines.simulation.nodes import make_instrument
from tests.kedro_runs import ROOT

ENVIRONMENTS = sorted(path.name for path in (ROOT / "conf").iterdir() if path.name not in ("base", "local"))

ONE_BEAM = {"cmb_ml_128": 82.5, "cmb_ml_released_128": 82.5, "petroff_published": 13.1}
"""Environments whose channels have one beam, in arcmin: as in the published datasets of these works."""

RELEASED = {"cmb_ml_released": "cmb_ml_512", "cmb_ml_released_128": "cmb_ml_128"}
"""Environments of released datasets, and the published set-up of their size."""


@pytest.fixture(params=["base", *ENVIRONMENTS])
def context(request):
    bootstrap_project(ROOT)
    with KedroSession.create(
        project_path=ROOT, env=None if request.param == "base" else request.param
    ) as session:
        yield session.load_context()


def groups_of(*names):
    """Groups of parameters that some pipelines read."""
    read = {name for pipeline in names for name in pipelines[pipeline].inputs()}
    return {name.split(":")[1] for name in read if name.startswith("params:")}


def test_every_environment_gives_valid_parameters(context):
    groups = groups_of(*pipelines)
    assert all(hasattr(context.params[group], "model_fields") for group in groups)


def test_every_dataset_of_every_pipeline_is_in_the_catalog(context):
    in_memory = {"analysis_mask"}
    every = {name for pipeline in pipelines.values() for name in pipeline.datasets()}
    names = {name for name in every if not name.startswith("params:")}
    catalog = context.catalog  # made anew at every access
    unplaced = {name for name in names - in_memory if catalog.get(name).__class__.__name__ == "MemoryDataset"}
    assert unplaced == set()


@pytest.mark.parametrize(
    ("environment", "instead", "named"),
    [
        ("cmb_ml_released", "released", ["train_observations", "valid_observations", "test_observations"]),
        (
            "cmb_ml_released_128",
            "released",
            ["train_observations", "valid_observations", "test_observations"],
        ),
        ("planck", "planck_sky", ["test_seeds"]),
    ],
)
def test_nothing_is_simulated_where_a_sky_is_only_read(environment, instead, named):
    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT, env=environment) as session:
        catalog = session.load_context().catalog
    found = read_only_conflicts(pipelines["simulation"], catalog)
    assert [sentence.split(":")[0] for sentence in found] == sorted(named)
    assert all(f"run --pipelines={instead},<methods>,analysis" in sentence for sentence in found)
    assert read_only_conflicts(pipelines[instead] + pipelines["pyilc"] + pipelines["analysis"], catalog) == []


def test_released_datasets_of_every_size_are_read_alike():
    catalogs = [(ROOT / "conf" / name / "catalog.yml").read_text() for name in RELEASED]
    assert catalogs[0] == catalogs[1]


@pytest.mark.parametrize(("environment", "published"), list(RELEASED.items()))
def test_released_datasets_are_cleaned_and_compared_as_published(environment, published):
    groups = []
    for name in (environment, published):
        bootstrap_project(ROOT)
        with KedroSession.create(project_path=ROOT, env=name) as session:
            params = session.load_context().params
        groups.append([params[group] for group in ("pyilc", "analysis", "target", "maps")])
    assert groups[0] == groups[1]


def test_every_group_of_parameters_is_used(context):
    assert set(context.params) == groups_of(*pipelines)


def test_every_needlet_scale_has_at_least_two_channels(context):
    table = InstrumentTableDataset(filepath=ROOT / "conf/base/instruments/planck_like.ecsv").load()
    instrument = make_instrument(table, context.params["instrument"], context.catalog.load("bandpass_table"))
    settings = context.params["pyilc"]
    beams = np.stack([channel.beam_window(settings.lmax) for channel in instrument])
    assert min(len(scale.channels) for scale in ilc_scales(beams, settings)) >= 2


def test_beams_differ(context):
    table = InstrumentTableDataset(filepath=ROOT / "conf/base/instruments/planck_like.ecsv").load()
    instrument = make_instrument(table, context.params["instrument"], context.catalog.load("bandpass_table"))
    beams = {channel.fwhm_arcmin for channel in instrument}
    if context.env in ONE_BEAM:
        assert beams == {ONE_BEAM[context.env]}
    else:
        assert len(beams) >= 3


def test_what_globals_hold_can_be_given_on_the_command_line():
    text = "".join(path.read_text() for path in (ROOT / "conf").rglob("*.yml"))
    bare = re.findall(r"(?<!, )\$\{globals:(\w+)\}", text)
    assert bare == []
    pairs = re.findall(r"\$\{runtime_params:(\w+), \$\{globals:(\w+)\}\}", text)
    assert pairs and all(runtime == shared for runtime, shared in pairs)


def test_environments_keep_to_their_own_data():
    roots = [
        re.search(r"^data: (\S+)", (ROOT / "conf" / name / "globals.yml").read_text(), re.M)
        for name in ["base", *ENVIRONMENTS]
        if name != "petroff_long"  # which is for the skies of cmbnncs_long
    ]
    assert len({match[1] for match in roots if match}) == len(roots)


def test_the_longer_trainings_share_their_skies():
    groups = []
    for name in ("cmbnncs_long", "petroff_long"):
        bootstrap_project(ROOT)
        with KedroSession.create(project_path=ROOT, env=name) as session:
            params = session.load_context().params
        groups.append({key: value for key, value in params.items() if not key.startswith("petroff")})
    assert groups[0] == groups[1]


def test_methods_are_the_folders_that_are_nothing_else():
    folders = {path.parent.name for path in (ROOT / "src/cmbml/pipelines").glob("*/pipeline.py")}
    assert set(method_names()) == folders - NOT_METHODS
    assert "pyilc" in method_names()


def test_nodes_are_called_like_their_functions():
    bootstrap_project(ROOT)
    for node in {node for pipeline in pipelines.values() for node in pipeline.nodes}:
        stem = node.name.split(".")[-1]
        assert stem.startswith(node.func.__name__) or node.func.__name__.startswith("measure_method"), (
            node.name
        )


def test_telemetry_is_off():
    assert (ROOT / ".telemetry").read_text() == "consent: false\n"


def test_a_clone_has_the_folders_kedro_wants():
    assert (ROOT / "conf" / "local" / ".gitkeep").exists()
    assert Path(ROOT / "data" / ".gitkeep").exists()


def test_the_main_job_fetches_nothing():
    bootstrap_project(ROOT)
    assert "order_assets" in {node.name for node in pipelines["assets"].nodes}
    assert not {node.name for node in pipelines["assets"].nodes} & {
        node.name for node in pipelines["__default__"].nodes
    }
