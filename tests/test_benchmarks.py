"""Benchmarks are no part of the tests, but what they call is there."""

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from cmbml.pipelines.petroff.training import check_kinds
from cmbml.plan import session_plan
from tests.kedro_runs import ROOT

MODULES = sorted((ROOT / "benchmarks").glob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_benchmark_names_what_there_is(path: Path, monkeypatch):
    """Import what it imports from the project and from its neighbours."""
    monkeypatch.setattr(sys, "path", [str(path.parent), *sys.path])
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    for node in imports:
        if node.module and (node.module.startswith("cmbml") or (path.parent / f"{node.module}.py").exists()):
            module = importlib.import_module(node.module)
            missing = [
                name.name
                for name in node.names
                if not hasattr(module, name.name) and not is_module(f"{node.module}.{name.name}")
            ]
            assert missing == []


def is_module(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@pytest.fixture(scope="module")
def ablation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ablation", ROOT / "benchmarks" / "ablation_foregrounds.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recipes() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("petroff_recipes")
    finally:
        sys.path.pop(0)


def problems(*pipelines: str, env: str, **params: object) -> tuple[str, ...]:
    bootstrap_project(ROOT)
    return session_plan(ROOT, pipelines, env=env, params=params).problems


@pytest.mark.parametrize("recipe", ["default", "published", "published_slower"])
def test_every_recipe_of_the_ablation_can_be_run(ablation, recipe, tmp_path):
    groups = ablation.RECIPES[recipe]
    assert problems("cmbnncs", env=ablation.ENVIRONMENT, data=str(tmp_path), **groups) == ()


@pytest.mark.parametrize("kind", ["fixed", "spectra", "varied"])
def test_every_kind_of_foregrounds_of_the_ablation_can_be_simulated(ablation, kind, tmp_path):
    foregrounds = ablation.FOREGROUNDS[kind]
    assert problems("simulation", env=ablation.ENVIRONMENT, data=str(tmp_path), foregrounds=foregrounds) == ()


def test_skies_of_the_recipes_of_petroff_can_be_simulated(tmp_path):
    assert problems("simulation", env="petroff_ablation", data=str(tmp_path)) == ()


def test_every_change_of_a_recipe_of_petroff_is_one_and_can_be_trained(recipes):
    bootstrap_project(ROOT)
    with KedroSession.create(ROOT, env="petroff_ablation") as session:
        parameters = session.load_context().config_loader["parameters"]
    numbers = {
        recipes.UNCONVERTED: {"kind": "unit_conversion", "factors": {"857": 2.3e-6}},
        recipes.ONE_SCALE: {"kind": "factor", "factor": 4.0},
    }

    def settings_of(recipe: str, change: str) -> dict[str, Any]:
        training = recipes.Training(recipe, change, seed=3, epochs=2)
        return training.groups(parameters, lambda words: [numbers.get(str(word), word) for word in words])

    for recipe in recipes.RECIPES:
        unchanged = settings_of(recipe, "none")
        assert (unchanged["petroff_training"].seed, unchanged["petroff_training"].epochs) == (3, 2)
        for change in recipes.changes_of(recipe):
            groups = settings_of(recipe, change)
            check_kinds(groups["petroff"], groups["petroff_network"])
            differing = {name for name in groups if groups[name] != unchanged[name]}
            assert differing == set(recipes.CHANGES[change][1])


def test_every_benchmark_is_run():
    text = (ROOT / "benchmarks" / "run.py").read_text()
    assert [path.stem for path in MODULES if path.stem.startswith("bench_") and path.stem not in text] == []
