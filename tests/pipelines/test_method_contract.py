"""What every cleaning method promises; the methods are found by their folders."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner
from pydantic import BaseModel

from cmbml.checks import resolution_conflicts
from cmbml.learning.settings import TrainingSettings
from cmbml.partitions import Known, Partition
from cmbml.pipelines import method_names
from cmbml.pipelines.analysis.calibration import predicted_errors
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_size, alm_to_map, filter_alm
from cmbml.science.instrument import Observations
from cmbml.science.skymap import SkyMap, beam_header
from tests.kedro_runs import ROOT
from tests.pipelines.training_on_demand import TrainingOnDemandDataset

INPUTS = {
    "test_observations",
    "train_observations",
    "valid_observations",
    "train_cmb",
    "valid_cmb",
    "instrument",
    "mask",
}
"""What a method may read; the truth only of skies to learn from."""

LEARNT_FROM = {"train": (20, 21), "valid": (30, 31)}
"""Numbers of the skies that a method that learns is shown; those that are cleaned have others."""

every_method = pytest.mark.parametrize("method", method_names())


@pytest.fixture(scope="module")
def project():
    """Parameters of the environment `test`, and its instrument."""
    bootstrap_project(ROOT)
    with KedroSession.create(project_path=ROOT, env="test") as session:
        context = session.load_context()
        table = context.catalog.load("instrument_table")
        instrument = pipelines["simulation"].nodes
        make = next(node for node in instrument if node.name == "make_instrument")
        return context.params, make.func(
            table, context.params["instrument"], context.catalog.load("bandpass_table")
        )


@pytest.fixture(scope="module")
def trainings(tmp_path_factory) -> Path:
    """Folder of the trainings of this module: each is done once."""
    return tmp_path_factory.mktemp("trainings")


def cmb_alm(lmax: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    alm = rng.standard_normal((1, alm_size(lmax), 2)).view(np.complex128)[..., 0]
    alm[:, : lmax + 1].imag = 0
    alm[:, [0, 1, lmax + 1]] = 0
    return 20 * alm


def sky(project, seed: int) -> Observations:
    """Observe a CMB with a little noise and nothing else."""
    params, instrument = project
    nside, lmax = params["maps"].nside, params["maps"].lmax
    alm, rng = cmb_alm(lmax, seed), np.random.default_rng(100 + seed)
    maps = {}
    for channel in instrument:
        signal = alm_to_map(filter_alm(alm, channel.beam_window(lmax)), nside)
        noise = 0.3 * rng.standard_normal((len(channel.stokes), signal.shape[1]))
        maps[channel.name] = (np.concatenate([signal] * len(channel.stokes)) + noise).astype(np.float32)
    return Observations(maps, dict.fromkeys(maps, "uK_CMB"))


def truth(project, seed: int) -> SkyMap:
    """Return the CMB of a sky at the common beam."""
    params, _ = project
    lmax, beam = params["maps"].lmax, params["target"].fwhm_arcmin
    alm = filter_alm(cmb_alm(lmax, seed), beam_window(beam * ARCMIN, lmax))
    maps = alm_to_map(np.concatenate([alm] * 3), params["maps"].nside)
    return SkyMap(maps.astype(np.float32), "uK_CMB", header=beam_header(beam, lmax))


def given(project, method: str, observations: dict, learnt_from: dict) -> dict[str, MemoryDataset]:
    """Return all that a method may read, by name."""
    params, instrument = project
    groups = [name for name in pipelines[method].inputs() if name.startswith("params:")]
    entries = {name: MemoryDataset(params[name.removeprefix("params:")]) for name in groups}
    skies = {"test_observations": observations}
    for split, numbers in learnt_from.items():
        names = {f"sim{place:04d}": number for place, number in enumerate(numbers)}
        skies[f"{split}_observations"] = {name: sky(project, number) for name, number in names.items()}
        skies[f"{split}_cmb"] = {name: truth(project, number) for name, number in names.items()}
    for name, split in skies.items():
        made = {sim: Known(value, f"made {name} {sim} {learnt_from}") for sim, value in split.items()}
        entries[name] = MemoryDataset(made, copy_mode="assign")
    npix = 12 * params["maps"].nside ** 2
    mask = SkyMap((np.arange(npix) % 4 > 0)[None].astype(np.float32), "", ("I_MASK",))
    entries[f"{method}_start"] = MemoryDataset(Known({}, "no network to begin with"))
    return entries | {"instrument": MemoryDataset(instrument), "mask": MemoryDataset(mask)}


def cleaned(
    project, trainings: Path, method: str, observations: dict, learnt_from: dict = LEARNT_FROM
) -> dict[str, Partition]:
    """Return the cleaned maps; a network is trained when the first of them is computed."""
    return made(project, trainings, method, observations, "cleaned", learnt_from=learnt_from)


def made(
    project,
    trainings: Path,
    method: str,
    observations: dict,
    product: str,
    *,
    learnt_from: dict = LEARNT_FROM,
) -> dict[str, Partition]:
    """Return a product of the test split: cleaned maps, or what a method says of their errors."""
    entries = given(project, method, observations, learnt_from)
    catalog = DataCatalog({**entries, f"{method}_checkpoints": TrainingOnDemandDataset(trainings)})
    wanted = pipelines[method].to_outputs(f"{method}_{product}_test")
    outputs = SequentialRunner().run(wanted, catalog)
    return outputs[f"{method}_{product}_test"].load()


def products_of(project, trainings: Path, method: str, observations: dict) -> dict[str, str]:
    """Return the fingerprints of the cleaned map of a sky, and of what is said of its errors."""
    entries = given(project, method, observations, LEARNT_FROM)
    catalog = DataCatalog({**entries, f"{method}_checkpoints": TrainingOnDemandDataset(trainings)})
    kinds = [f"{method}_{kind}_test" for kind in ("cleaned", "errors", "error_masks")]
    there = [name for name in kinds if name in pipelines[method].all_outputs()]
    free = SequentialRunner().run(pipelines[method].to_outputs(*there), catalog)
    return {name: free[name].load()["sim0000"].fingerprint for name in there if name in free}


def numbers_and_choices(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield place and value of every float and every yes or no of settings, but of how the work is done."""
    if isinstance(value, float | bool):
        yield path, value
    elif isinstance(value, BaseModel):
        aside = getattr(type(value), "NOT_IN_RESULTS", frozenset())
        for name in type(value).model_fields:
            if name not in aside:
                yield from numbers_and_choices(getattr(value, name), (*path, name))
    elif isinstance(value, tuple):
        for place, item in enumerate(value):
            yield from numbers_and_choices(item, (*path, place))


def changed(value: Any, path: tuple[Any, ...]) -> Any:
    """Return settings that differ in one place: a float by a hundredth, a yes or no by the other."""
    if not path:
        return not value if isinstance(value, bool) else value + 0.01 * (abs(value) or 1.0)
    first, *rest = path
    if isinstance(value, tuple):
        return (*value[:first], changed(value[first], tuple(rest)), *value[first + 1 :])
    return value.model_copy(update={first: changed(getattr(value, first), tuple(rest))})


def groups_of(method: str) -> list[str]:
    read = [name for name in pipelines[method].inputs() if name.startswith("params:")]
    return [name.removeprefix("params:") for name in read]


def learns(method: str) -> bool:
    return "train_observations" in pipelines[method].inputs()


@every_method
def test_it_reads_only_what_methods_may_read(project, method):
    free = {name for name in pipelines[method].inputs() if not name.startswith("params:")}
    assert free <= INPUTS | {f"{method}_start"}  # a network of its own that it may begin with


@every_method
def test_its_parameters_are_validated(project, method):
    groups = {
        name.removeprefix("params:") for name in pipelines[method].inputs() if name.startswith("params:")
    }
    assert all(hasattr(project[0][group], "model_fields") for group in groups)


@every_method
def test_it_writes_one_map_per_simulation_at_the_target_beam(project, trainings, method):
    maps = cleaned(project, trainings, method, {f"sim{n:04d}": sky(project, n) for n in range(2)})
    assert list(maps) == ["sim0000", "sim0001"]
    params, _ = project
    lmax = params["maps"].lmax
    for seed, partition in enumerate(maps.values()):
        result = partition()
        expected = truth(project, seed).values[0]
        assert result.unit == "uK_CMB"
        assert result.stokes in ("I", "IQU")
        assert result.nside == params["maps"].nside
        assert result.header == beam_header(params["target"].fwhm_arcmin, lmax)
        assert np.isfinite(result.values).all()
        # chance correlations cost a method part of the CMB of so small a map
        assert np.corrcoef(result.values[0], expected)[0, 1] > 0.9
        assert 0.7 < np.std(result.values[0]) / np.std(expected) < 1.1


@every_method
def test_the_errors_it_predicts_are_those_of_its_maps(project, trainings, method):
    if f"{method}_errors_test" not in pipelines[method].all_outputs():
        pytest.skip("predicts no errors")
    observations = {f"sim{n:04d}": sky(project, n) for n in range(2)}
    maps, errors, masks = (
        made(project, trainings, method, observations, product)
        for product in ("cleaned", "errors", "error_masks")
    )
    assert list(errors) == list(masks) == list(maps)
    for name, partition in errors.items():
        result, cut = partition(), masks[name]()
        assert result.unit == "uK_CMB"
        assert result.fields[0] == "I_ERROR"
        assert result.header == maps[name]().header
        sigmas = predicted_errors(result, analysis=project[0]["analysis"])
        assert all((np.isfinite(sigma) & (sigma > 0)).all() for sigma in sigmas.values())
        assert cut.unit == ""
        assert set(np.unique(cut.values)) <= {0, 1}


@every_method
def test_it_changes_no_input(project, trainings, method):
    observations = {"sim0000": sky(project, 0)}
    before = {name: values.copy() for name, values in observations["sim0000"].maps.items()}
    next(iter(cleaned(project, trainings, method, observations).values()))()
    assert all(np.array_equal(before[name], observations["sim0000"].maps[name]) for name in before)


@every_method
def test_a_missing_channel_is_named(project, trainings, method):
    whole = sky(project, 0)
    lacking = Observations(
        {name: values for name, values in whole.maps.items() if name != "143"}, whole.units
    )
    partition = next(iter(cleaned(project, trainings, method, {"sim0000": lacking}).values()))
    with pytest.raises(ValueError, match="channels 143: not observed; these observations hold 30"):
        partition()


@every_method
def test_it_is_fingerprinted_by_what_it_uses(project, trainings, method):
    params, instrument = project
    observations = {"sim0000": sky(project, 0)}
    first = cleaned(project, trainings, method, observations)["sim0000"]
    assert set(first.recipe) == {"partition", "function", "version", "parameters", "inputs"}
    assert cleaned(project, trainings, method, observations)["sim0000"].fingerprint == first.fingerprint
    places = [
        (group, place) for group in groups_of(method) for place, _ in numbers_and_choices(params[group])
    ]
    assert places
    told = products_of(project, trainings, method, observations)
    for group, place in places:
        other = {**params, group: changed(params[group], place)}
        one = products_of((other, instrument), trainings, method, observations)
        assert one != told, (group, place)


@every_method
def test_a_network_is_fingerprinted_by_the_skies_it_has_learnt_from_not_by_how(project, trainings, method):
    if not learns(method):
        pytest.skip("does not learn")
    params, instrument = project
    observations = {"sim0000": sky(project, 0)}
    first = cleaned(project, trainings, method, observations)["sim0000"].fingerprint
    for split in LEARNT_FROM:
        others = {**LEARNT_FROM, split: (40, 41)}
        assert cleaned(project, trainings, method, observations, others)["sim0000"].fingerprint != first
    aside = {"num_workers": 3, "checkpoint_every": 7, "checkpoint_also": (0,), "max_minutes": 5.0}
    assert set(aside) <= TrainingSettings.NOT_IN_RESULTS
    groups = [group for group in groups_of(method) if isinstance(params[group], TrainingSettings)]
    assert groups
    other = {**params, **{group: params[group].model_copy(update=aside) for group in groups}}
    assert cleaned((other, instrument), trainings, method, observations)["sim0000"].fingerprint == first


@every_method
def test_what_it_tells_of_its_training_is_told(project, trainings, method):
    if not learns(method):
        pytest.skip("does not learn")
    params, _ = project
    entries = given(project, method, {"sim0000": sky(project, 0)}, LEARNT_FROM)
    catalog = DataCatalog({**entries, f"{method}_checkpoints": TrainingOnDemandDataset(trainings)})
    reports = [f"report_{method}_losses", f"report_{method}_scaling"]
    outputs = SequentialRunner().run(pipelines[method].to_outputs(*reports), catalog)
    losses, scaling = (outputs[name].load() for name in reports)
    assert list(losses["epoch"]) == list(range(1, params[f"{method}_training"].epochs + 1))
    assert np.isfinite(losses[["train_loss", "valid_loss", "lr"]].to_numpy()).all()
    assert {"channel", "stokes"} < set(scaling.columns)
    assert "CMB" in set(scaling["channel"])


@every_method
@pytest.mark.parametrize("key", ["fwhm_arcmin", "nside", "lmax"])
def test_another_resolution_than_that_of_the_truth_is_named_before_a_run(project, method, key):
    params, _ = project
    own = params[method]
    other = own.model_construct(**own.model_dump() | {key: getattr(own, key) + 1})
    pipeline = pipelines["simulation"] + pipelines[method]
    assert resolution_conflicts(params, pipeline) == []
    (sentence,) = resolution_conflicts({**params, method: other}, pipeline)
    assert f"{method}.{key} " in sentence
