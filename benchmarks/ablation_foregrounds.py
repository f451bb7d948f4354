"""Foregrounds in training, fixed or varied, against foregrounds in use: a table of errors.

Run from the project root: python benchmarks/ablation_foregrounds.py [--recipe published] [--seeds 3]
CMBNNCS is trained on the skies of one kind of foregrounds and cleans test skies of every kind, beside needlet
ILC. Everything runs through Kedro, in the environment `ablation`, and goes on where it was stopped. Skies of
all kinds have the same CMB and the same noise, sky by sky, so that only foregrounds differ; those of the test
split are others than those of the training split.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd
from joblib.externals.loky import get_reusable_executor
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

PROJECT = Path(__file__).resolve().parents[1]
ENVIRONMENT = "ablation"
FOREGROUNDS: dict[str, dict[str, Any]] = {
    "fixed": {"vary": False},
    "spectra": {"vary": True, "variation": {"morphology": False}},
    "varied": {"vary": True},
}
"""One sky for all; its shapes with spectra of their own; shapes and spectra of their own."""

PUBLISHED: dict[str, dict[str, Any]] = {
    "cmbnncs": {"inputs": "maps", "channels": "100-353"},
    "cmbnncs_scaling": {
        "features": [{"kind": "factor", "factor": 1.0}],
        "target": [{"kind": "factor", "factor": 5.0}],
    },
    "cmbnncs_network": {"kind": "published", "depth": 5, "max_filters": 512},
    "cmbnncs_learning": {"symmetries": False, "masked_weight": 1.0},
    "cmbnncs_training": {
        "epochs": 10,  # as long as the default's
        "batch_size": 12,
        "steps_per_batch": 3,
        "optimiser": {"name": "adam", "lr": 0.1, "weight_decay": 0.0},
        "schedule": {"name": "exponential", "final_lr": 1e-6, "warm_up": 0.0},
        "gradient_clip": None,
        "stop_if_diverges": None,
    },
}
"""What the published recipe changes: Wang et al. 2022, ApJS 260, 13, arXiv:2204.01820, section 3, but for the
number of epochs."""

SLOWER = {**PUBLISHED["cmbnncs_training"], "optimiser": {"name": "adam", "lr": 0.003, "weight_decay": 0.0}}
"""The same with the highest learning rate of the default, to tell whether the rate is in the way."""

RECIPES: dict[str, dict[str, dict[str, Any]]] = {
    "default": {},
    "published": PUBLISHED,
    "published_slower": {**PUBLISHED, "cmbnncs_training": SLOWER},
}

ILC = "ilc"
"""Name of the results of needlet ILC."""


def run_kedro(what: dict[str, list[str]], parameters: dict[str, Any]) -> None:
    """Run pipelines or nodes in a process of its own."""
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as processes:
        processes.submit(_run, what, parameters).result()


def _run(what: dict[str, list[str]], parameters: dict[str, Any]) -> None:
    bootstrap_project(PROJECT)
    try:
        with KedroSession.create(PROJECT, env=ENVIRONMENT, runtime_params=parameters) as session:
            session.run(**what)
    finally:
        get_reusable_executor().shutdown()


class Ablation:
    """The runs of a table, and the folders they use.

    Parameters
    ----------
    folder
        Of all data; each kind of foregrounds has a data folder in it.
    recipe
        One of `RECIPES`.
    """

    def __init__(self, folder: Path, recipe: str) -> None:
        self.folder, self.recipe = folder.resolve(), recipe

    def simulate(self, kind: str) -> None:
        """Make the skies of a kind, and clean those of the test split by needlet ILC."""
        given = {**self._to(kind, ILC), "foregrounds": FOREGROUNDS[kind]}
        run_kedro({"pipeline_names": ["simulation", "pyilc", "analysis"]}, given)

    def train(self, kind: str, seed: int) -> None:
        """Train on the skies of a kind, and clean those of its test split."""
        groups = {name: dict(values) for name, values in RECIPES[self.recipe].items()}
        groups["cmbnncs_training"] = {**groups.get("cmbnncs_training", {}), "seed": seed}
        given = {**self._to(kind, self.results(kind, seed)), "model_inputs": self.recipe, **groups}
        run_kedro({"pipeline_names": ["cmbnncs"]}, given)

    def clean(self, kind: str, seed: int, tested: str) -> None:
        """Clean the test skies of a kind with a network that was trained on those of any kind."""
        results = self.results(kind, seed)
        given = {
            **self._to(tested, results),
            "models_folder": str(self.folder / kind / "06_models"),
            "cmbnncs": RECIPES[self.recipe].get("cmbnncs", {}),
        }
        if kind != tested:
            run_kedro({"node_names": ["cmbnncs.clean_test"]}, given)
        run_kedro({"pipeline_names": ["analysis"]}, self._to(tested, results))

    def row(self, kind: str, seed: int | None, tested: str) -> dict[str, Any]:
        """Return the row of the table for a network, or without a seed for needlet ILC."""
        results = ILC if seed is None else self.results(kind, seed)
        errors = self._errors(tested, results)
        row: dict[str, Any] = {
            "method": "needlet ILC" if seed is None else f"cmbnncs, {self.recipe}",
            "trained_on": kind,
            "seed": seed,
            "tested_on": tested,
            "skies": len(errors),
            "mae_uK": errors.mean(),
            "std_uK": errors.std(ddof=1),
            "over_ilc": (errors / self._errors(tested, ILC)).mean(),
            "training_minutes": None,
        }
        if seed is not None:
            losses = pd.read_csv(self.folder / kind / "08_reporting" / results / "cmbnncs_losses.csv")
            row["training_minutes"] = losses["seconds"].sum() / 60
        return row

    def results(self, kind: str, seed: int) -> str:
        """Return the name of the results of a training."""
        return f"{self.recipe}_{kind}_{seed}"

    def _to(self, kind: str, results: str) -> dict[str, Any]:
        return {"data": str(self.folder / kind), "results": results}

    def _errors(self, kind: str, results: str) -> pd.Series:
        """Return the mean absolute error of every test sky outside the mask, uK_CMB."""
        table = pd.read_csv(self.folder / kind / "08_reporting" / results / "metrics.csv")
        cleaned = table[table["method"].isin(("cmbnncs", "pyilc")) & (table["field"] == "I")]
        return cleaned.set_index("simulation")["mae_uK"]


def table_of(folder: Path, recipe: str, *, trained_on: list[str], seeds: int) -> pd.DataFrame:
    """Run all there is to run, and return a row for every network and kind of test skies."""
    ablation = Ablation(folder, recipe)
    for kind in FOREGROUNDS:
        ablation.simulate(kind)
    rows = [ablation.row("", None, tested) for tested in FOREGROUNDS]
    for kind in trained_on:
        for seed in range(seeds):
            ablation.train(kind, seed)
            for tested in FOREGROUNDS:
                ablation.clean(kind, seed, tested)
                rows.append(ablation.row(kind, seed, tested))
    return pd.DataFrame(rows)


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=PROJECT / "data" / "ablation", help="folder of all data")
    parser.add_argument("--recipe", choices=RECIPES, default="default")
    parser.add_argument("--trained-on", nargs="+", choices=FOREGROUNDS, default=list(FOREGROUNDS))
    parser.add_argument("--seeds", type=int, default=1, help="trainings on each kind of foregrounds")
    given = parser.parse_args()
    table = table_of(given.data, given.recipe, trained_on=given.trained_on, seeds=given.seeds)
    print(table.to_string(index=False, float_format="{:.3f}".format))
    path = given.data / f"ablation_{given.recipe}.csv"
    table.to_csv(path, index=False, float_format="%.6g")
    print(path)


if __name__ == "__main__":
    main()
