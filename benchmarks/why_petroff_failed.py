"""Why the network of Petroff et al. failed when it was ported in 2024: a table of what each change costs.

Run from the project root: python benchmarks/why_petroff_failed.py [--seeds 3] [--workers 2]
Small skies are simulated through Kedro once, in the environment `petroff_ablation`. Then the recipe as
published, and the same with one change at a time, are trained on the same skies, each training in a process
and on a thread of its own, and judged on the same validation skies. Rows are written as they come; a second
start does what is missing.

Every training is shown as many skies, by default 256 skies 6 times, which takes about a minute of one core.
The published one was shown 800 skies 400 times, which is 208 times as many, each of 1024 times as many
pixels. In that budget the recipe as published has only begun to learn, so that changes of it can hardly be
seen to do harm. Therefore there is a second recipe, `learns`: the published network with the published inputs
and loss, but with maps divided by their standard deviations, dropout that begins at 0.01, regularisers of 800
skies, the symmetries of the sphere, and a learning rate that rises and falls. The same changes
are tried on it.

Errors are mean absolute errors of the mean of 20 passes with active dropout (of one pass of a network
without), monopole removed, outside the mask, at the common beam, in uK_CMB.

References
----------
Petroff et al. 2020, ApJ 903, 104, arXiv:2004.11507, sections 2 and 3.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
import pandas as pd
from joblib.externals.loky import get_reusable_executor
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from petroff_recipes import CHANGES, ONE_SCALE, PUBLISHED, RECIPES, UNCONVERTED, Training, changes_of

from cmbml.datasets.checkpoint import read_last_checkpoint
from cmbml.learning.checkpoints import build_network
from cmbml.learning.scaling import fit_transforms
from cmbml.learning.transform import transform_from_state
from cmbml.pipelines.petroff.features import (
    feature_names,
    make_features,
    make_target,
    nested,
    used_channels,
)
from cmbml.pipelines.petroff.sampling import sampled
from cmbml.pipelines.petroff.settings import Petroff
from cmbml.pipelines.petroff.training import CleanerSettings, check_kinds, train_cleaner
from cmbml.science.instrument import Instrument
from cmbml.science.skymap import SkyMap
from cmbml.science.threads import set_thread_count
from cmbml.science.units import MAP_UNIT

PROJECT = Path(__file__).resolve().parents[1]
ENVIRONMENT = "petroff_ablation"
SAMPLES = 20
SPLITS = ("train", "valid")
EPOCHS = 6

Array = np.ndarray


@dataclass(frozen=True)
class Skies:
    """What trainings are shown, in files of a folder.

    Parameters
    ----------
    folder
        Of all data.
    instrument
        The channels that were simulated.
    mask
        Where errors count.
    """

    folder: Path
    instrument: Instrument
    mask: SkyMap

    def path(self, kind: str, split: str) -> Path:
        """Return the file of all arrays of a kind."""
        return self.folder / "05_model_input" / f"{kind}_{split}.npy"

    def arrays(self, kind: str, split: str) -> Array:
        """Return all arrays of a kind, shape (n_skies, n_features or 1, npix), NESTED, uK_CMB."""
        return np.load(self.path(kind, split), mmap_mode="r")

    def loaders(self, kind: str, split: str) -> dict[str, Any]:
        """Return what loads each sky."""
        arrays = self.arrays(kind, split)
        return {f"sim{number:04d}": lambda number=number: arrays[number] for number in range(len(arrays))}

    def write(self, catalog: Any, default: Petroff) -> None:
        """Make the arrays of both splits of everything that is shown."""
        for split in SPLITS:
            observations, truth = (catalog.load(f"{split}_{name}") for name in ("observations", "cmb"))
            for kind, changed in (
                ("common", PUBLISHED["petroff"]),
                ("native", {**PUBLISHED["petroff"], "inputs_fwhm_arcmin": "native"}),
                ("differences", {}),
            ):
                settings = default.model_copy(update=changed)
                channels = used_channels(self.instrument, settings)
                made = [make_features(observations[name](), channels, settings) for name in sorted(truth)]
                self._save(kind, split, made)
            self._save("target", split, [make_target(truth[name](), default) for name in sorted(truth)])

    def _save(self, kind: str, split: str, arrays: list[Array]) -> None:
        path = self.path(kind, split)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.stack(arrays))

    def spelled_out(self, transforms: list[Any]) -> list[Any]:
        """Return transforms of maps at the common beam with numbers in the place of words."""
        largest = np.abs(self.arrays("common", "train")).max(axis=(0, 2))
        names = self.instrument.names
        spelled = []
        for transform in transforms:
            if transform == UNCONVERTED:
                factors = {
                    name: self.instrument[name].calibration.factor(MAP_UNIT, "MJy/sr")
                    for name in ("545", "857")
                }
                largest = largest * [factors.get(name, 1.0) for name in names]
                spelled.append({"kind": "unit_conversion", "factors": factors})
            elif transform == ONE_SCALE:
                spelled.append({"kind": "factor", "factor": float(largest.max())})
            else:
                spelled.append(transform)
        return spelled

    def error(self, maps: Array, truth: Array) -> float:
        """Return the mean absolute error of maps (n_skies, npix) outside the mask, without monopole."""
        weights = nested(self.mask.values[:1])[0]
        residual = maps - truth
        residual = residual - np.average(residual, weights=weights, axis=1)[:, None]
        return float(np.average(np.abs(residual), weights=weights, axis=1).mean())

    def references(self) -> dict[str, float]:
        """Return the error of a map of zeros, and of every channel at the common beam as it is."""
        truth = np.asarray(self.arrays("target", "valid"))[:, 0]
        channels = np.asarray(self.arrays("common", "valid"))
        errors = {name: self.error(channels[:, i], truth) for i, name in enumerate(self.instrument.names)}
        best = min(errors, key=lambda name: errors[name])
        return {"no map at all (the CMB itself)": self.error(0 * truth, truth), f"{best} GHz": errors[best]}


def row_of(training: Training, skies: Skies, default: Mapping[str, Any]) -> dict[str, Any]:
    """Train, judge on the validation skies, and return the row of the table; for a process of its own."""
    set_thread_count(1)
    groups = training.groups(default, skies.spelled_out)
    kind, scaling = scaled(groups, skies)
    settings = CleanerSettings(*(groups[name] for name in groups if name != "petroff_scaling"))
    row = {**asdict(training), "mae_uK": np.nan, "valid_loss": np.nan, "minutes": np.nan, "failure": ""}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        start = time.monotonic()
        try:
            train_cleaner(
                *(skies.loaders(what, split) for split in SPLITS for what in (kind, "target")),
                scaling=scaling,
                instrument=skies.instrument,
                mask=None if settings.learning.masked_weight == 1 else skies.mask,
                settings=settings,
                directory=directory,
                start=None,
            )
        except RuntimeError as error:  # a loss or a gradient that is not finite: a result too
            return {**row, "failure": str(error).partition(";")[0]}
        row["minutes"] = (time.monotonic() - start) / 60
        checkpoint = read_last_checkpoint(directory)
    row["valid_loss"] = checkpoint["history"][-1]["valid_loss"]
    try:
        cleaned = cleaned_maps(checkpoint, skies.loaders(kind, "valid"), training.seed)
    except ValueError as error:  # a network that has learnt nothing of this sky's size
        return {**row, "failure": str(error).partition(";")[0]}
    return {**row, "mae_uK": skies.error(cleaned, np.asarray(skies.arrays("target", "valid"))[:, 0])}


def scaled(groups: Mapping[str, Any], skies: Skies) -> tuple[str, dict[str, Any]]:
    """Return which arrays are shown, and the fitted scaling."""
    data = groups["petroff"]
    check_kinds(data, groups["petroff_network"])
    native = "native" if data.inputs_fwhm_arcmin == "native" else "common"
    kind = native if data.inputs == "maps" else "differences"
    names = feature_names(skies.instrument, data)
    features, targets = (skies.loaders(what, "train") for what in (kind, "target"))
    given = groups["petroff_scaling"]
    return kind, fit_transforms(features, targets, names, settings=given, stokes="I")


def cleaned_maps(checkpoint: Mapping[str, Any], features: Mapping[str, Any], seed: int) -> Array:
    """Return the mean of all passes for every sky, shape (n_skies, npix), NESTED, uK_CMB."""
    network = build_network(checkpoint)
    before, after = (
        transform_from_state(checkpoint["facts"]["scaling"][key]) for key in ("features", "target")
    )
    return np.stack(
        [
            after.inverse(
                sampled(
                    network,
                    before(load()),
                    fields=1,
                    samples=SAMPLES,
                    batch=4,
                    key=(seed, f"valid {name}"),
                ).mean
            )[0]
            for name, load in features.items()
        ]
    )


def prepare(folder: Path) -> tuple[Skies, dict[str, Any]]:
    """Simulate what is not there, and return the skies and the default settings by group."""
    bootstrap_project(PROJECT)
    given = {"data": str(folder)}
    try:
        with KedroSession.create(PROJECT, env=ENVIRONMENT, runtime_params=given) as session:
            session.run(pipeline_names=["simulation"])
        with KedroSession.create(PROJECT, env=ENVIRONMENT, runtime_params=given) as session:
            context = session.load_context()
            catalog, default = context.catalog, context.config_loader["parameters"]
            skies = Skies(folder, catalog.load("instrument"), catalog.load("mask"))
            skies.write(catalog, Petroff(**default["petroff"]))
    finally:
        get_reusable_executor().shutdown()
    return skies, default


def rows_of(
    wanted: list[Training], path: Path, workers: int, given: tuple[Skies, dict[str, Any]]
) -> pd.DataFrame:
    """Return the rows of all trainings, run those that the file lacks, and add them to it one by one."""
    rows = pd.read_csv(path, keep_default_na=False, na_values=["nan"]) if path.exists() else pd.DataFrame()
    keys = list(asdict(wanted[0]))
    done = {tuple(key) for key in rows[keys].itertuples(index=False)} if len(rows) else set()
    missing = [training for training in wanted if tuple(asdict(training).values()) not in done]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        futures = [pool.submit(row_of, training, *given) for training in missing]
        for future in as_completed(futures):
            if future.exception():  # tell it now, not after all the others
                pool.shutdown(cancel_futures=True)
            row = pd.DataFrame([future.result()])
            row.to_csv(
                path, mode="a", header=not path.exists(), index=False, float_format="%.6g", na_rep="nan"
            )
            rows = pd.concat([rows, row], ignore_index=True)
            print(row.to_string(index=False, header=len(rows) == 1), flush=True)
    return rows.set_index(keys).loc[[tuple(asdict(training).values()) for training in wanted]].reset_index()


def markdown(rows: pd.DataFrame) -> str:
    """Return the table of means and standard deviations over seeds, in the order of the rows."""
    lines = ["| recipe | changed | MAE in uK | minutes | seeds |", "|---|---|---|---|---|"]
    for (recipe, change), group in rows.groupby(["recipe", "change"], sort=False):
        errors, minutes = group["mae_uK"].dropna(), group["minutes"].dropna()
        spread = f" ± {errors.std(ddof=1):.2f}" if len(errors) > 1 else ""
        shown = [f"{errors.mean():.2f}{spread}"] if len(errors) else []
        if len(errors) < len(group):
            shown.append(f"{len(group) - len(errors)} ended by numbers that are not finite")
        longest = f"{minutes.max():.1f}" if len(minutes) else "0"
        lines.append(f"| {recipe} | {CHANGES[change][0]} | {', '.join(shown)} | {longest} | {len(group)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=PROJECT / "data" / ENVIRONMENT, help="folder of all data"
    )
    parser.add_argument("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--changes", nargs="+", choices=CHANGES, default=list(CHANGES))
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="how often each sky is shown")
    parser.add_argument("--workers", type=int, default=2, help="trainings at once, a thread each")
    given = parser.parse_args()
    folder = given.data.resolve()
    skies, default = prepare(folder)
    wanted = [
        Training(recipe, change, seed, given.epochs)
        for seed in range(given.seeds)
        for recipe in given.recipes
        for change in changes_of(recipe)
        if change in given.changes
    ]
    rows = rows_of(wanted, folder / "why_petroff_failed.csv", given.workers, (skies, default))
    print(markdown(rows))
    for name, error in skies.references().items():
        print(f"{name}: {error:.2f} uK")


if __name__ == "__main__":
    main()
