"""Grids of parameters: their values, names, checks, runs, and the table of what came out."""

import csv
import multiprocessing
import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from cmbml import grid_runs
from cmbml.cli import cli
from cmbml.grid import LONGEST, Axis, check_name, combinations, read_axis
from cmbml.grid_checks import Grid
from cmbml.grid_runs import run_combination
from cmbml.results import console_table, results_table
from tests.kedro_runs import ROOT, run


def command(*words: str) -> tuple[int, str]:
    """Exit status and output of a command of this project, line breaks of the console undone."""
    done = CliRunner().invoke(cli, words, obj=bootstrap_project(ROOT), env={"COLUMNS": "300"})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, " ".join(done.output.split())


def gridded(*words: str, data: Path, pipelines: str = "pyilc,analysis") -> tuple[int, str]:
    return command(
        "grid", "--env", "test", "--name", "bias", f"--pipelines={pipelines}",
        "--params", f"data={data},n_jobs=0", *words,
    )  # fmt: skip


def names(*axes: Axis, given: dict[str, object] | None = None) -> list[str]:
    return [combination.name for combination in combinations(axes, given or {})]


def comparison(mae: float, method: str = "pyilc") -> pd.DataFrame:
    numbers = {"mae_uK": mae, "rmse_uK": 2 * mae, "psnr_dB": 30.0, "r2": 0.9, "dl_deviation": np.nan}
    columns = {f"{name}_{kind}": [value] for name, value in numbers.items() for kind in ("mean", "std")}
    return pd.DataFrame(
        {"split": ["test"], "field": ["I"], "method": [method], "n_simulations": [2], **columns}
    )


# ---- Values ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("pyilc.bias_tolerance=0.001,1e-2", "pyilc.bias_tolerance", (0.001, 0.01)),
        ("pyilc.channels=all;100+143", "pyilc.channels", ("all", "100+143")),
        ("pyilc.peaks=[6,16,33];[8, 33]", "pyilc.peaks", ([6, 16, 33], [8, 33])),
        ("pyilc.peaks=[6,16,33];", "pyilc.peaks", ([6, 16, 33],)),
        ("foregrounds.vary=true,false", "foregrounds.vary", (True, False)),
        (" channels = 100-353 , hfi", "channels", ("100-353", "hfi")),
        ("a.b=x=1", "a.b", ("x=1",)),
    ],
)
def test_values_are_read_as_those_of_params(text, key, values):
    assert read_axis(text) == Axis(key, values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pyilc.channels", "is no grid of a parameter; write key=value,value"),
        ("=1,2", "is no grid of a parameter"),
        ("pyilc.channels=", "is no grid of a parameter"),
        ("pyilc.channels=all,,hfi", "pyilc.channels: has an empty value"),
        ("pyilc.peaks=[6,16]", r"pyilc.peaks: '\[6' is no value; separate values by ; where"),
        ("pyilc.bias_tolerance=0.001,1e-3", "pyilc.bias_tolerance: has the value 0.001 twice"),
        ("results=a,b", "results: is the same for a whole grid"),
        ("data=a,b", "data: is the same for a whole grid"),
    ],
)
def test_what_is_no_list_of_values_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        read_axis(text)


def test_every_combination_is_there_once_and_the_last_parameter_changes_fastest():
    found = combinations([Axis("a.x", (1, 2, 3)), Axis("b.y", ("u", "v"))], {})
    assert [tuple(item.values.values()) for item in found] == [
        (1, "u"), (1, "v"), (2, "u"), (2, "v"), (3, "u"), (3, "v"),
    ]  # fmt: skip


def test_a_combination_adds_its_values_to_those_that_all_have():
    (one,) = combinations([Axis("pyilc.peaks", ([6, 33],))], {"pyilc": {"stokes": "IQU"}, "data": "d"})
    assert one.parameters({"pyilc": {"stokes": "IQU"}, "data": "d"}, results="bias/x") == {
        "pyilc": {"stokes": "IQU", "peaks": [6, 33]},
        "data": "d",
        "results": "bias/x",
    }


@pytest.mark.parametrize(
    ("keys", "given", "message"),
    [
        ([], {}, "a grid needs a parameter that varies"),
        (["a.x", "a.x"], {}, "a.x: given twice"),
        (["a.x", "a"], {}, "a.x and a: given twice"),
        (["a.x"], {"a": {"x": 3}}, "a.x: given twice; name a parameter once, in --over or in --params"),
    ],
)
def test_a_parameter_is_given_once(keys, given, message):
    with pytest.raises(ValueError, match=message):
        combinations([Axis(key, (1, 2)) for key in keys], given)


# ---- Names ----------------------------------------------------------------------


def test_names_say_the_values():
    assert names(Axis("pyilc.bias_tolerance", (0.001, 0.01)), Axis("pyilc.channels", ("100+143",))) == [
        "bias_tolerance-0.001_channels-100+143",
        "bias_tolerance-0.01_channels-100+143",
    ]


def test_the_group_is_named_where_two_parameters_are_called_alike():
    assert names(Axis("one.x", (1,)), Axis("two.x", (2,)), Axis("two.y", (True,))) == [
        "one.x-1_two.x-2_y-true"
    ]


def test_names_are_folders_that_differ_whatever_the_values_hold():
    odd = (
        "../up",
        ". . up",
        "a/b",
        "a\\b",
        "a b",
        "é",
        "x" * 400,
        "x" * 401,
        -1,
        None,
        {"k": [1, 2]},
        [],
        "*",
    )
    found = names(Axis("group.key", odd))
    assert len({name.casefold() for name in found}) == len(odd)
    assert all(
        re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name, re.ASCII) and len(name) <= LONGEST for name in found
    )


def test_a_name_depends_on_its_own_values_only():
    few, many = names(Axis("g.x", (1, "a b"))), names(Axis("g.x", (0, 1, 2, "a b", "a/b")))
    assert set(few) < set(many)


def test_names_that_differ_in_capitals_only_are_refused():
    with pytest.raises(ValueError, match="combinations x-a and x-A would share a folder where capitals"):
        combinations([Axis("x", ("a", "A"))], {})


@pytest.mark.parametrize("name", ["", "/a", "a/", "a//b", "../a", ".a", "a b", "a/.b", "a{b}", "a\n"])
def test_a_grid_that_is_no_folder_is_refused(name):
    with pytest.raises(ValueError, match="becomes a folder; write letters, digits"):
        check_name(name)


def test_a_grid_may_lie_in_a_folder():
    assert check_name("networks/depth-3_v1.0+x") == "networks/depth-3_v1.0+x"


# ---- Checks ---------------------------------------------------------------------


def test_combinations_that_cannot_run_are_told_before_the_first_one(tmp_path):
    status, output = gridded(
        "--over", "pyilc.bias_tolerance=0.001,0.01", "--over", "pyilc.chanels=1", data=tmp_path
    )
    assert status == 1
    assert "every combination: Parameter validation failed" in output and "chanels" in output
    status, output = gridded(
        "--over", "pyilc.channels=all;100+999;100", data=tmp_path, pipelines="simulation,pyilc,analysis"
    )
    assert status == 1
    assert "- channels-100+999: pyilc.channels: channels ('100', '999'): 999 is not simulated" in output
    assert "- channels-100: Parameter validation failed" in output
    assert list(tmp_path.iterdir()) == []


def test_simulations_that_are_missing_are_told_once_for_all_combinations(tmp_path):
    status, output = gridded("--over", "pyilc.bias_tolerance=0.001,0.01", "--dry-run", data=tmp_path)
    assert status == 1
    place = tmp_path / "03_primary" / "observations" / "test"
    sentence = f"every combination: test_observations is missing: {place}; kedro run --pipelines=simulation"
    assert output.count(sentence) == 1


def test_combinations_do_not_overwrite_one_another(tmp_path):
    status, output = gridded(
        "--over", "noise.scale=0.5,1", "--over", "pyilc.bias_tolerance=0.001,0.01", "--dry-run",
        data=tmp_path, pipelines="simulation,pyilc,analysis",
    )  # fmt: skip
    assert status == 1
    assert re.search(
        r"test_observations, .*train_observations.*: made from noise, which differs between", output
    )
    assert "test_cmb" not in output and "pyilc_cleaned_test" not in output


def test_a_dry_run_lists_the_combinations_and_runs_none(tmp_path):
    status, output = gridded(
        "--over", "pyilc.bias_tolerance=0.001,0.01", "--over", "pyilc.channels=all;100+143",
        "--dry-run", data=tmp_path, pipelines="simulation,pyilc,analysis",
    )  # fmt: skip
    assert status == 0
    assert "│ bias/bias_tolerance-0.01_channels-100+143 │ 0.01 │ 100+143 │" in output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--over", "pyilc.channels"], "is no grid of a parameter"),
        (["--over", "n_jobs=1,2"], "n_jobs: given twice"),
        (["--over", "seed=1,2", "--name", "../up"], "becomes a folder"),
        (["--over", "seed=1,2", "--pipelines", "nothing"], "pipeline nothing: not known"),
    ],
)
def test_a_grid_that_is_wrongly_asked_for_shows_how_to(tmp_path, words, message):
    status, output = gridded(*words, data=tmp_path)
    assert status == 2
    assert message in output and "Usage:" in output


# ---- Tables ---------------------------------------------------------------------


def test_the_table_has_the_parameters_in_columns_and_the_best_first():
    table = results_table(
        {"g/a": comparison(3.0), "g/b": comparison(2.0), "main": comparison(1.0, "cnn")},
        {"g/a": {"pyilc.peaks": [6, 33], "x": 0.1}, "g/b": {"pyilc.peaks": "all", "x": True}},
    )
    assert list(table.columns[:7]) == [
        "results",
        "pyilc.peaks",
        "x",
        "split",
        "field",
        "method",
        "n_simulations",
    ]
    assert table["results"].tolist() == ["main", "g/b", "g/a"]
    assert table["pyilc.peaks"].tolist() == [None, "all", "6+33"]
    assert table["x"].tolist() == [None, "true", 0.1]
    assert table["mae_uK_mean"].tolist() == [1.0, 2.0, 3.0]


def test_fields_are_in_the_order_of_the_comparison():
    both = pd.concat([comparison(5.0), comparison(1.0).assign(field="Q")], ignore_index=True)
    table = results_table({"a": both, "b": both}, {})
    assert table[["results", "field"]].to_numpy().tolist() == [["a", "I"], ["b", "I"], ["a", "Q"], ["b", "Q"]]


def test_results_are_named_on_the_console_where_parameters_do_not_tell_them_apart():
    tables = {"g/a": comparison(3.0), "main": comparison(1.0)}
    recorded = {"g/a": {"x": 1}, "main": {"x": 2}}
    headings = [
        [str(column.header) for column in console_table(results_table(tables, known), title="").columns]
        for known in (recorded, {"g/a": {"x": 1}}, {})
    ]
    assert [heading[:2] for heading in headings] == [["x", "field"], ["results", "x"], ["results", "field"]]
    assert "D_l deviation" not in headings[0]  # nowhere a number


def test_predicted_errors_are_on_the_console_where_any_result_has_them():
    numbers = {"coverage_1sigma_mean": 0.68, "coverage_1sigma_std": 0.01}
    with_errors = comparison(2.0, "petroff").assign(**numbers)
    tables = {"main": comparison(1.0), "other": with_errors}  # main was compared before there were error maps
    for chosen, shown in ((tables, True), ({"main": tables["main"]}, False)):
        table = console_table(results_table(chosen, {}), title="")
        columns = {str(column.header): list(column.cells) for column in table.columns}
        assert ("within 1 sigma" in columns) == shown
        assert "predicted error, uK" not in columns
        if shown:
            assert columns["within 1 sigma"] == ["", "0.68 ± 0.01"]


@pytest.fixture
def reports(tmp_path) -> Path:
    """Results of a grid, of which one was not compared, and others without a record."""
    grid = Grid("bias", combinations([read_axis("pyilc.bias_tolerance=0.001,0.01,0.1")], {}), ROOT)
    project = bootstrap_project(ROOT).project_path
    with KedroSession.create(project, env="test", runtime_params={"data": str(tmp_path)}) as session:
        catalog = session.load_context().catalog
    for results, record in grid.records().items():
        catalog.save(f"record_of_{results}", record)
    for results, mae in {
        "bias/bias_tolerance-0.001": 3.0,
        "bias/bias_tolerance-0.1": 2.0,
        "main": 4.0,
    }.items():
        catalog.save(f"comparison_of_{results}", comparison(mae))
    return tmp_path


def test_any_results_stand_side_by_side_and_a_grid_for_all_of_its_own(reports):
    words = ("--env", "test", "--params", f"data={reports}")
    status, output = command("compare-results", "main", "bias", "--into", "together", *words)
    assert status == 0
    assert "bias/bias_tolerance-0.01: has not been compared yet" in output
    with (reports / "08_reporting" / "together" / "results.csv").open() as file:
        rows = [
            (row["results"], row["pyilc.bias_tolerance"], row["mae_uK_mean"]) for row in csv.DictReader(file)
        ]
    assert rows == [
        ("bias/bias_tolerance-0.1", "0.1", "2"), ("bias/bias_tolerance-0.001", "0.001", "3"), ("main", "", "4"),
    ]  # fmt: skip


def test_nothing_is_written_unless_a_name_is_given(reports):
    before = sorted(reports.rglob("*"))
    status, output = command("compare-results", "main", "--env", "test", "--params", f"data={reports}")
    assert status == 0 and "│ main │ I │ pyilc │ 2 │ 4 ± 4 │" in output
    assert sorted(reports.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["polarised"], 1, "results polarised: no comparison there, looked for"),
        (["../up"], 2, "becomes a folder"),
        (["main", "--into", "a b"], 2, "becomes a folder"),
    ],
)
def test_results_that_there_are_not_are_told(reports, words, status, message):
    done, output = command("compare-results", *words, "--env", "test", "--params", f"data={reports}")
    assert done == status and message in output


# ---- Runs -----------------------------------------------------------------------


def die(*_: object) -> None:
    os._exit(7)


def test_a_process_that_dies_is_a_failure(monkeypatch, tmp_path):
    monkeypatch.setattr(grid_runs, "_run", die)
    grid = Grid("bias", combinations([read_axis("seed=1")], {}), ROOT)
    assert run_combination(grid, grid.combinations[0]) == "the process ended with exit code 7"


def sleep(*_: object) -> None:
    time.sleep(300)


def test_a_grid_that_is_interrupted_leaves_no_process_behind(monkeypatch):
    monkeypatch.setattr(grid_runs, "_run", sleep)
    monkeypatch.setattr(grid_runs, "PATIENCE", 0.5)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    grid = Grid("bias", combinations([read_axis("seed=1")], {}), ROOT)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_combination(grid, grid.combinations[0])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_combination_that_fails_stops_no_other_and_the_same_command_goes_on(tmp_path):
    run("--pipelines=simulation", data=tmp_path, train=1, valid=1, n_jobs=0)
    words = ("--over", "pyilc.bias_tolerance=0.001,0.01", "--over", "pyilc.channels=100+143+217;all")
    reporting, cleaned = tmp_path / "08_reporting" / "bias", tmp_path / "07_model_output" / "bias"
    blocked, fine = "bias_tolerance-0.001_channels-100+143+217", "bias_tolerance-0.01_channels-all"
    cleaned.mkdir(parents=True)
    (cleaned / blocked).write_text("a file where a folder should be")

    status, output = gridded(*words, data=tmp_path)
    assert status == 1
    assert f"bias/{blocked} failed: " in output and f"bias/{fine} failed" not in output
    rows = pd.read_csv(reporting / "results.csv")
    assert set(rows["results"]) == {
        "bias/bias_tolerance-0.001_channels-all", "bias/bias_tolerance-0.01_channels-100+143+217", f"bias/{fine}"
    }  # fmt: skip

    made = (cleaned / fine / "pyilc" / "test" / "sim0000.fits").stat().st_mtime_ns
    (cleaned / blocked).unlink()
    status, output = gridded(*words, data=tmp_path)
    assert status == 0 and "failed" not in output
    assert (cleaned / fine / "pyilc" / "test" / "sim0000.fits").stat().st_mtime_ns == made
    rows = pd.read_csv(reporting / "results.csv", dtype=str)
    ours = rows[rows["method"] == "pyilc"]
    assert set(zip(ours["pyilc.bias_tolerance"], ours["pyilc.channels"], strict=True)) == {
        ("0.001", "100+143+217"), ("0.001", "all"), ("0.01", "100+143+217"), ("0.01", "all")
    }  # fmt: skip
    alone = pd.read_csv(reporting / fine / "comparison.csv", dtype=str).set_index("method")
    assert ours.set_index("results").loc[f"bias/{fine}", "mae_uK_mean"] == alone.loc["pyilc", "mae_uK_mean"]
