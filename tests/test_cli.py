"""Commands of the project."""

import subprocess
import sys

import healpy as hp
import numpy as np
import pytest
from astropy.io import fits
from click.testing import CliRunner
from kedro.framework.cli.utils import find_run_command
from kedro.framework.startup import bootstrap_project

from cmbml.cli import cli
from cmbml.pipelines.assets import catalogue
from tests.kedro_runs import ENVIRONMENT, ROOT
from tests.local_server import LocalServer

NSIDE = 8
NAME = "planck/maps/HFI_SkyMap_545_2048_R3.01_full.fits"


@pytest.fixture
def mirrors(monkeypatch):
    monkeypatch.setattr(catalogue, "_PIXELS", {2048: hp.nside2npix(NSIDE)})
    with LocalServer() as one, LocalServer() as other:
        yield one, other


@pytest.fixture(scope="module")
def sky(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("sky") / "map.fits"
    maps = np.random.default_rng(5).normal(size=(3, hp.nside2npix(NSIDE)))
    hp.write_map(path, maps, nest=True, dtype=np.float32, column_names=["I_STOKES", "HITS", "II_COV"])
    return path.read_bytes()


def changed(sky: bytes, folder, *, column=None, by=0.0, card=None) -> bytes:
    path = folder / "changed.fits"
    path.write_bytes(sky)
    with fits.open(path, mode="update") as hdus:
        if column:
            hdus[1].data[column].flat[17] += by
        if card:
            hdus[1].header[card[0]] = card[1]
    return path.read_bytes()


def compare(folder, mirrors, name="545"):
    options = [word for mirror in mirrors for word in ("--mirror", mirror.url)]
    given = f"assets_folder={folder},assets.retries=0"
    arguments = ["compare-copies", name, "--env", "test", "--params", given, *options]
    return CliRunner().invoke(cli, arguments, obj=bootstrap_project(ROOT), env={"COLUMNS": "200"})


def rows(result) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("│ ").split("│")] for line in result.output.splitlines()]


def test_equal_copies_agree(mirrors, sky, tmp_path):
    for mirror in mirrors:
        mirror.files[NAME] = sky
    result = compare(tmp_path, mirrors)
    assert result.exit_code == 0, result.output
    assert ["1", "I_STOKES", "768", "0", "0"] in rows(result)
    assert "header cards: the same" in result.output
    assert len(list(tmp_path.rglob("*.fits"))) == 2


def test_a_value_that_differs_is_found_with_its_column_and_size(mirrors, sky, tmp_path):
    mirrors[0].files[NAME] = sky
    mirrors[1].files[NAME] = changed(sky, tmp_path, column="HITS", by=2.0)
    result = compare(tmp_path / "raw", mirrors)
    assert result.exit_code == 1
    assert ["1", "HITS", "768", "1", "2"] in rows(result)
    assert ["1", "I_STOKES", "768", "0", "0"] in rows(result)


def test_headers_that_differ_are_shown_but_the_maps_agree(mirrors, sky, tmp_path):
    mirrors[0].files[NAME] = sky
    mirrors[1].files[NAME] = changed(sky, tmp_path, card=("ORIGIN", "IRSA"))
    result = compare(tmp_path / "raw", mirrors)
    assert result.exit_code == 0
    assert ["1", "ORIGIN", "", "IRSA"] in rows(result)


def test_copies_are_fetched_once(mirrors, sky, tmp_path):
    for mirror in mirrors:
        mirror.files[NAME] = sky
    compare(tmp_path, mirrors)
    asked = [len(mirror.requests) for mirror in mirrors]
    assert compare(tmp_path, mirrors).exit_code == 0
    assert [len(mirror.requests) for mirror in mirrors] == asked


def test_a_copy_that_is_not_there_is_an_error(mirrors, sky, tmp_path):
    mirrors[0].files[NAME] = sky
    result = compare(tmp_path, mirrors)
    assert result.exit_code == 2
    assert "the server answers 404" in " ".join(result.output.split())


def test_copies_of_another_layout_differ(mirrors, sky, tmp_path):
    path = tmp_path / "one_more.fits"
    path.write_bytes(sky)
    fits.append(path, np.zeros(3))
    mirrors[0].files[NAME], mirrors[1].files[NAME] = sky, path.read_bytes()
    result = compare(tmp_path / "raw", mirrors)
    assert result.exit_code == 1
    assert ["2", "not compared: the layouts differ"] in rows(result)
    assert ["1", "I_STOKES", "768", "0", "0"] in rows(result)


def test_a_map_that_is_none_is_named(mirrors, tmp_path):
    result = compare(tmp_path, mirrors, name="40")
    assert result.exit_code == 2
    assert "map '40': must be nilc or a channel" in result.output


def test_two_mirrors_are_compared(mirrors, tmp_path):
    result = compare(tmp_path, mirrors[:1])
    assert "two mirrors are compared, not 1" in result.output


def test_kedros_own_commands_stay():
    assert find_run_command("cmbml").name == "run"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "chanels=100",
            "Error: the configuration cannot work:\n- parameter chanels: not known; did you mean",
        ),
        ("analysis.bin_widht=3", "Error: Parameter validation failed:\n- Parameter 'analysis'"),
    ],
)
def test_a_configuration_that_cannot_work_is_told_without_a_stack(tmp_path, given, message):
    arguments = ["run", "--env", "test", "--params", f"data={tmp_path},{given}"]
    result = CliRunner().invoke(cli, arguments, obj=bootstrap_project(ROOT))
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.slow
def test_kedro_offers_the_command():
    shown = subprocess.run(
        [sys.executable, "-m", "kedro", "--help"],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "compare-copies" in shown and "  run " in shown
