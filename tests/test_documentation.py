"""What the documentation says is so: commands, links, examples, the recipe for a method."""

import ast
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
import yaml
from kedro.io import DataCatalog

import cmbml.datasets
from cmbml.pipelines import NOT_METHODS, method_names
from tests.kedro_runs import PLAIN_CMB, ROOT

README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NOTEBOOK = ROOT / "notebooks" / "first_look.ipynb"

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILE_BLOCK = re.compile(r"^`([\w./]+)`\n\n```\w+\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
INCLUDE = re.compile(r"^```\{include\} (\S+)", re.MULTILINE)

METHOD = "inverse_noise"
"""The method of the recipe."""

CONTRACT = "test_method_contract.py"
"""What every method is held to."""


def page_name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page.read_text()) if found == language]


def commands(page: Path, program: str) -> list[list[str]]:
    """Words of every call of a program in the shell examples of a page, and in its running text."""
    text = "\n".join(blocks(page, "bash")) + "\n" + "\n".join(re.findall(r"`([^`\n]+)`", page.read_text()))
    lines = [line.split("  #")[0] for line in text.splitlines() if f"{program} " in line]
    calls = [shlex.split(line, comments=True) for line in lines]
    return [words[words.index(program) + 1 :] for words in calls if program in words]


def values_of(words: list[str], *options: str) -> list[str]:
    """What stands for an option, as --option=value or --option value."""
    pairs = [
        word.split("=", 1) if "=" in word else [word, following]
        for word, following in zip(words, [*words[1:], ""], strict=True)
    ]
    return [value for option, value in pairs if option in options]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The script that makes pages from the code."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def flat(value: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        key: leaf for k, v in value.items() for key, leaf in flat(v, f"{prefix}.{k}" if prefix else k).items()
    }


# ---- Commands and links ---------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_make_target_exists(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[0] for words in commands(page, "make")} <= targets


def test_the_readme_shows_the_two_commands():
    assert [["run"], ["test"]] == commands(README, "make")[:2]


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_kedro_command_names_pipelines_and_environments_that_exist(page):
    pipelines = {path.parent.name for path in (ROOT / "src/cmbml/pipelines").glob("*/pipeline.py")} | {METHOD}
    environments = {path.name for path in (ROOT / "conf").iterdir()}
    for words in commands(page, "kedro"):
        named = [name for value in values_of(words, "--pipeline", "--pipelines") for name in value.split(",")]
        assert set(named) <= pipelines
        assert {name for name in values_of(words, "--env") if "<" not in name} <= environments


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_parameter_on_a_command_line_exists(page, generate):
    base = generate.config(ROOT, "base")
    known = set(flat(dict(base["globals"])) | flat(dict(base["parameters"])))
    for words in commands(page, "kedro"):
        pairs = [pair for value in values_of(words, "--params") for pair in value.split(",")]
        pairs += values_of(words, "--over")
        assert {pair.split("=")[0] for pair in pairs} <= known


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_relative_link_leads_somewhere(page):
    targets = LINK.findall(page.read_text()) + INCLUDE.findall(page.read_text())
    made = {target for target in targets if target.startswith("generated/")}
    written = set(targets) - made
    assert [target for target in written if not (page.parent / target).exists()] == []
    assert made <= {f"generated/{name}" for name in pages_made()}


def pages_made() -> set[str]:
    script = (ROOT / "docs" / "generate.py").read_text()
    return {*re.findall(r'"(tables/\w+\.md)"', script), "first_look"}


# ---- Datasets ---------------------------------------------------------------------


@pytest.mark.parametrize("name", cmbml.datasets.__all__)
def test_every_dataset_has_a_section_with_an_example(name):
    text = (ROOT / "docs" / "datasets.md").read_text()
    _, _, section = text.partition(f"## {name}\n")
    assert f"type: cmbml.datasets.{name}\n" in section.split("\n## ")[0]


@pytest.mark.parametrize("text", blocks(ROOT / "docs" / "datasets.md", "yaml"))
def test_every_example_of_a_catalog_entry_makes_a_dataset(text):
    entries = yaml.safe_load(text)
    catalog = DataCatalog.from_config(entries)
    for name, entry in entries.items():
        dataset = catalog[name.replace("{split}", "test")]
        assert type(dataset).__name__ == entry["type"].rsplit(".", 1)[-1]


# ---- Parameters and code ------------------------------------------------------------


def test_every_parameter_of_base_is_on_the_page(generate):
    tables = generate.parameter_tables(ROOT)
    for group, values in generate.config(ROOT, "base")["parameters"].items():
        _, _, section = tables.partition(f"### `{group}`\n")
        rows = set(re.findall(r"^\| `([\w.]+)` \|", section.split("\n### ")[0], re.MULTILINE))
        assert set(flat(values)) == rows


def test_every_global_has_a_meaning(generate):
    rows = [line.split("|") for line in generate.globals_table(ROOT).splitlines()[2:]]
    assert {row[1].strip(" `") for row in rows} == set(generate.config(ROOT, "base")["globals"])
    assert all(row[3].strip() for row in rows)


def test_every_module_is_in_the_reference(generate):
    shown = {module for room in generate.rooms(ROOT) for module in generate.modules_of(room, ROOT)}
    source = ROOT / "src"
    paths = (source / "cmbml").rglob("*.py")
    every = {
        ".".join(path.relative_to(source).with_suffix("").parts) for path in paths if path.stem != "__init__"
    }
    assert every <= shown


def test_a_parameter_without_a_word_about_it_is_an_error(generate):
    from pydantic import BaseModel

    class Silent(BaseModel):
        """Says nothing about its field."""

        width: int

    with pytest.raises(LookupError, match="says nothing about width"):
        generate.field_docs(Silent)


# ---- The notebook ---------------------------------------------------------------------


def test_the_notebook_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def test_the_notebook_is_python():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        if cell["cell_type"] == "code":
            ast.parse("".join(cell["source"]))


# ---- The recipe for a cleaning method -----------------------------------------------------


@pytest.fixture(scope="module")
def with_method(tmp_path_factory) -> Path:
    """A copy of the project with the method that CONTRIBUTING.md shows."""
    copy = tmp_path_factory.mktemp("recipe") / "project"
    for name in ("src", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    contract = (
        "__init__.py",
        "conftest.py",
        "kedro_runs.py",
        "pipelines/__init__.py",
        f"pipelines/{CONTRACT}",
        "pipelines/training_on_demand.py",
    )
    for name in ("pyproject.toml", ".telemetry", *(f"tests/{file}" for file in contract)):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    for name, text in FILE_BLOCK.findall(CONTRIBUTING.read_text()):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text(text)
    return copy


def python(project: Path, *words: str) -> str:
    """Call Python in a copy of the project; return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(project / "src"), "DO_NOT_TRACK": "1", "COLUMNS": "400"}
    done = subprocess.run(
        [sys.executable, *words],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stdout)
    return done.stdout


def test_the_recipe_is_one_folder_and_one_file_of_parameters():
    files = [
        name for name, _ in FILE_BLOCK.findall(CONTRIBUTING.read_text()) if not name.startswith("tests/")
    ]
    folder, parameters = f"src/cmbml/pipelines/{METHOD}/", f"conf/base/parameters_{METHOD}.yml"
    assert parameters in files
    assert all(name.startswith(folder) for name in files if name != parameters)
    assert METHOD not in NOT_METHODS


@pytest.mark.slow
def test_the_method_of_the_recipe_is_found_by_name(with_method):
    found = python(
        with_method, "-c", "from cmbml.pipelines import method_names; print(*method_names())"
    ).split()
    assert set(found) == {*method_names(), METHOD}


@pytest.mark.slow
def test_the_method_of_the_recipe_keeps_the_rules_of_the_house(with_method):
    folder = f"src/cmbml/pipelines/{METHOD}"
    python(with_method, "-m", "ruff", "check", folder)
    python(with_method, "-m", "ruff", "format", "--check", folder)


@pytest.mark.slow
def test_the_method_of_the_recipe_passes_its_own_test_and_the_contract(with_method):
    assert "1 passed" in python(with_method, "-m", "pytest", f"tests/pipelines/{METHOD}")
    held = python(with_method, "-m", "pytest", f"tests/pipelines/{CONTRACT}", "-k", METHOD)
    # it does not learn, and predicts no errors
    assert re.search(r"\d+ passed, 3 skipped, \d+ deselected", held)


@pytest.mark.slow
def test_the_method_of_the_recipe_is_compared_with_the_others(with_method, tmp_path):
    given = {"data": tmp_path, "train": 1, "valid": 1, "test": 1, "n_jobs": 0, **PLAIN_CMB}
    params = ",".join(f"{key}={value}" for key, value in given.items())
    python(with_method, "-m", "kedro", "run", "--env", "test", "--params", params)
    table = pd.read_csv(tmp_path / "08_reporting" / "main" / "comparison.csv")
    assert {METHOD, *method_names()} <= set(table["method"])
