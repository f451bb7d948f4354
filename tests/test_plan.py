"""What `kedro plan` says of configurations, without running them."""

import re

import numpy as np
import pytest
from click.testing import CliRunner
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from cmbml.cli import cli
from cmbml.datasets import HealpixMapDataset
from cmbml.plan import Input, Plan, Product
from cmbml.plan_tables import readable_size
from cmbml.science.skymap import SkyMap
from cmbml.volumes import PRODUCTS
from tests.kedro_runs import ROOT, plan_of


def planned(*words: str) -> tuple[int, str]:
    """Exit status and output of `kedro plan`, line breaks of the console undone."""
    metadata = bootstrap_project(ROOT)
    done = CliRunner().invoke(cli, ["plan", *words], obj=metadata, env={"COLUMNS": "300"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, " ".join(done.output.split())


def test_every_product_of_the_main_job_has_a_volume(tmp_path):
    assert [item.name for item in plan_of(data=tmp_path).products if item.size is None] == []


def test_every_volume_is_that_of_an_entry_of_the_catalog():
    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT, env="test") as session:
        catalog = session.load_context().catalog
    entries = set(catalog.config_resolver.config) | set(catalog.config_resolver.list_patterns())
    assert set(PRODUCTS) <= entries


def test_simulations_are_counted_over_the_splits(tmp_path):
    plan = plan_of(data=tmp_path, train=5, valid=3, test=4, compared=2)
    wanted = {item.name: item.wanted for item in plan.products}
    assert wanted["{split}_observations"] == 12
    assert wanted["pyilc_cleaned_{split}"] == 2
    assert wanted["mask"] == 1


@pytest.mark.parametrize(
    ("params", "predictions", "corrections"),
    [
        ({}, 2 * 2 + 2, 2),
        ({"petroff_prediction.calibrate_errors": False}, 2 + 2, 1),
        ({"petroff_prediction.correct_spectrum": False, "petroff_prediction.calibrate_errors": False}, 2, 0),
    ],
)
def test_skies_that_are_predicted_to_fit_something_are_counted(tmp_path, params, predictions, corrections):
    params = {"petroff_prediction.fitted_skies": 2, "train": 5, "valid": 4, **params}
    products = {item.name: item for item in plan_of(data=tmp_path, **params).products}
    assert products["petroff_predictions_{split}"].wanted == predictions
    assert products["petroff_corrections"].wanted == corrections
    assert products["petroff_features_{split}"].wanted == 9


def test_noise_is_prepared_by_channel_where_its_kind_needs_it(tmp_path):
    plans = {kind: plan_of(data=tmp_path, **{"noise.kind": kind}) for kind in ("sensitivity", "correlated")}
    products = {
        kind: next(item for item in plan.products if item.name == "noise_sources")
        for kind, plan in plans.items()
    }
    assert (products["sensitivity"].wanted, products["correlated"].wanted) == (0, 9)
    assert products["sensitivity"].size_to_come == 0
    states = {kind: {item.name: item.state for item in plan.inputs} for kind, plan in plans.items()}
    assert states["sensitivity"]["noise_models"] == "not needed"
    assert states["correlated"]["noise_models"] == "missing"


def test_what_noise_models_take_is_said(tmp_path):
    HealpixMapDataset(filepath=tmp_path / "02_intermediate/noise_averages/30.fits").save(
        SkyMap(np.zeros((3, 12 * 16**2)), "uK_CMB")
    )
    plan = plan_of("noise_model", data=tmp_path, assets_folder=f"{tmp_path}/assets")
    found = {item.name: (item.wanted, item.there) for item in plan.products}
    assert found == {"noise_averages": (9, 1), "noise_models": (9, 0)}
    # of 1024 (I, Q, U) below 100 GHz; above, of 2048 (I, Q, U), and of I alone at 545 and 857 GHz
    (averages,) = [item.size for item in plan.products if item.name == "noise_averages"]
    assert averages == pytest.approx(4 * 12 * 1024**2 * (3 * 3 + 4 * (4 * 3 + 2)), rel=1e-3)
    (simulations,) = [item for item in plan.inputs if item.name == "noise_simulations"]
    assert simulations.state == "missing"
    assert "assets.fetch=ffp10_noise" in simulations.remedy


def test_every_product_of_the_components_has_a_volume(tmp_path):
    (components,) = plan_of("sky_components", data=tmp_path).products
    assert (components.wanted, components.files) == (
        6,
        6 * 9 * 8,
    )  # CMB, four of the Galaxy, CIB, radio, noise


def test_simulations_from_elsewhere_are_those_that_are_there(tmp_path):
    for number in (0, 3):
        folder = tmp_path / f"release/Simulation/Test/sim{number:04d}"
        folder.mkdir(parents=True)
        (folder / "obs_30_map.fits").write_bytes(b"")
    plan = plan_of("pyilc", env="cmb_ml_released", data=tmp_path / "data", released=tmp_path / "release")
    assert [(item.name, item.wanted) for item in plan.products] == [("pyilc_cleaned_{split}", 2)]


def test_channels_are_listed_for_the_command_line(tmp_path):
    plan = plan_of(data=tmp_path, channels="143+100")
    (observations,) = [item for item in plan.products if item.name == "{split}_observations"]
    assert observations.files == 2 * observations.wanted


def test_what_lies_there_is_not_to_come(tmp_path):
    data = tmp_path / "data"
    bootstrap_project(ROOT)
    with KedroSession.create(
        project_path=ROOT, env="test", runtime_params={"data": str(data), "test": 1, "n_jobs": 0}
    ) as session:
        catalog = session.load_context().catalog
        seeds = next(node for node in pipelines["simulation"].nodes if node.name == "assign_seeds")
        made = seeds.run({"params:simulations": session.load_context().params["simulations"]})
        catalog.save("test_seeds", made["test_seeds"])
        catalog.save("mask", SkyMap(np.ones((1, 12 * 16**2)), "", ("I_MASK",)))
    products = {item.name: item for item in plan_of(data=data).products}
    assert (products["{split}_seeds"].there, products["{split}_seeds"].wanted) == (1, 6)
    assert products["{split}_seeds"].size_to_come == round(5 / 6 * products["{split}_seeds"].size)
    assert (products["mask"].there, products["mask"].size_to_come) == (1, 0)
    assert products["{split}_observations"].there == 0


def test_nothing_is_written(tmp_path):
    status, output = planned("--env", "test", "--params", f"data={tmp_path}/data")
    assert status == 0
    assert "Ready to run." in output
    assert list(tmp_path.iterdir()) == []


def test_the_parts_of_a_job_name_who_makes_what_they_lack(tmp_path):
    words = ("--env", "test", "--pipelines", "pyilc", "--params", f"data={tmp_path}/data")
    status, output = planned(*words)
    assert status == 0
    assert re.search(r"test_observations │ missing │ \S+ │ kedro run --pipelines=simulation", output)
    assert "This cannot run yet" in output
    status, _ = planned(*words, "--strict")
    assert status == 1


def test_a_missing_file_is_named_with_the_way_to_get_it(tmp_path):
    plan = plan_of(data=tmp_path, **{"assets_folder": f"{tmp_path}/assets", "mask.source": "planck"})
    (mask,) = [item for item in plan.inputs if item.name == "mask_input"]
    assert mask.state == "missing"
    assert "kedro run --pipeline=assets" in mask.remedy
    assert any(mask.place in problem for problem in plan.problems)
    assert not plan.is_ready


def test_a_file_that_the_configuration_does_without_is_not_missing(tmp_path):
    plan = plan_of(data=tmp_path, assets_folder=f"{tmp_path}/assets")
    states = {item.name: item.state for item in plan.inputs}
    assert states["mask_input"] == "not needed"
    assert states["instrument_table"] == "there"
    assert plan.is_ready


def test_files_that_another_input_shares_are_not_taken_for_missing(tmp_path):
    """Of the same file and the same folder, and named by what fetches the others."""
    needs = {"mask.source": "planck", "noise.kind": "variance"}
    plan = plan_of(data=tmp_path, assets_folder=f"{tmp_path}/assets", **needs)
    states = {item.name: item.state for item in plan.inputs}
    assert (states["mask_input"], states["planck_nilc"]) == ("missing", "not needed")
    assert (states["planck_variances"], states["planck_maps"]) == ("missing", "not needed")


def test_a_configuration_that_cannot_work_is_told_so(tmp_path):
    words = ("--env", "test", "--strict", "--params")
    status, output = planned(*words, f"data={tmp_path},analysis.apodisation_deg=3")
    assert status == 1
    assert "mask.apodisation_deg 10.0, analysis.apodisation_deg 3.0: must be the same" in output
    status, output = planned(*words, f"data={tmp_path},nside=48")
    assert status == 1
    assert "nside 48: must be a power of two" in output


@pytest.mark.parametrize("pipelines", [(), ("--pipelines", "pyilc")])
def test_channels_that_there_are_not_are_told_alone(tmp_path, pipelines):
    words = ("--env", "test", "--strict", *pipelines, "--params", f"data={tmp_path},channels=999")
    status, output = planned(*words)
    assert status == 1
    assert "- instrument.channels: channels 999: no channel fits in the instrument table" in output
    assert "what it makes" not in output


def test_an_unknown_pipeline_is_refused():
    status, output = planned("--env", "test", "--pipelines", "simulations")
    assert status == 2
    assert "pipeline simulations: not known; known are" in output


def test_a_product_of_unknown_size_is_no_part_of_the_sum():
    from cmbml.plan_tables import plan_tables

    unknown = Product("new", "primary", 2, 1, None, None)
    known = Product("old", "primary", 2, 1, 4, 4000)
    table, remark, *_ = plan_tables(Plan((unknown, known), (Input("a", "b", "there"),), ()))
    cells = [list(column.cells) for column in table.columns]
    assert cells[4:] == [["?", "4", "4"], ["?", "2 kB", ""], ["?", "4 kB", "4 kB"], ["?", "2 kB", "2 kB"]]
    assert "marked ?" in str(remark)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (1234567, "1.23 MB"),
        (999_600, "1 MB"),
        (45.6e9, "45.6 GB"),
    ],
)
def test_sizes_are_readable(size, text):
    assert readable_size(size) == text
