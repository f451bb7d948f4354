"""What every cleaning method promises; the methods are found by their folders."""

import numpy as np
import pytest
from kedro.framework.project import pipelines
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from cmbml.checks import resolution_conflicts
from cmbml.partitions import Known
from cmbml.pipelines import method_names
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_size, alm_to_map, filter_alm
from cmbml.science.instrument import Observations
from cmbml.science.skymap import beam_header
from tests.kedro_runs import ROOT

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


def cleaned(project, method: str, observations: dict) -> dict:
    params, instrument = project
    free = pipelines[method].inputs()
    entries = {
        name: MemoryDataset(params[name.removeprefix("params:")])
        for name in free
        if name.startswith("params:")
    }
    loaders = {name: Known(value, f"made {name}") for name, value in observations.items()}
    entries |= {"test_observations": MemoryDataset(loaders), "instrument": MemoryDataset(instrument)}
    catalog = DataCatalog(entries)
    outputs = SequentialRunner().run(pipelines[method], catalog)
    return outputs[f"{method}_cleaned_test"].load()


@every_method
def test_it_reads_only_what_methods_may_read(project, method):
    free = {name for name in pipelines[method].inputs() if not name.startswith("params:")}
    assert free <= INPUTS


@every_method
def test_its_parameters_are_validated(project, method):
    groups = {
        name.removeprefix("params:") for name in pipelines[method].inputs() if name.startswith("params:")
    }
    assert all(hasattr(project[0][group], "model_fields") for group in groups)


@every_method
def test_it_writes_one_map_per_simulation_at_the_target_beam(project, method):
    maps = cleaned(project, method, {f"sim{n:04d}": sky(project, n) for n in range(2)})
    assert list(maps) == ["sim0000", "sim0001"]
    params, _ = project
    lmax = params["maps"].lmax
    window = beam_window(params["target"].fwhm_arcmin * ARCMIN, lmax)
    for seed, partition in enumerate(maps.values()):
        result = partition()
        truth = alm_to_map(filter_alm(cmb_alm(lmax, seed), window), params["maps"].nside)[0]
        assert result.unit == "uK_CMB"
        assert result.stokes in ("I", "IQU")
        assert result.nside == params["maps"].nside
        assert result.header == beam_header(params["target"].fwhm_arcmin, lmax)
        assert np.isfinite(result.values).all()
        # chance correlations cost a method part of the CMB of so small a map
        assert np.corrcoef(result.values[0], truth)[0, 1] > 0.9
        assert 0.7 < np.std(result.values[0]) / np.std(truth) < 1.1


@every_method
def test_it_changes_no_input(project, method):
    observations = {"sim0000": sky(project, 0)}
    before = {name: values.copy() for name, values in observations["sim0000"].maps.items()}
    next(iter(cleaned(project, method, observations).values()))()
    assert all(np.array_equal(before[name], observations["sim0000"].maps[name]) for name in before)


@every_method
def test_a_missing_channel_is_named(project, method):
    whole = sky(project, 0)
    lacking = Observations(
        {name: values for name, values in whole.maps.items() if name != "143"}, whole.units
    )
    partition = next(iter(cleaned(project, method, {"sim0000": lacking}).values()))
    with pytest.raises(ValueError, match="channels 143: not observed; these observations hold 30"):
        partition()


@every_method
def test_it_is_fingerprinted_by_what_it_uses(project, method):
    params, instrument = project
    observations = {"sim0000": sky(project, 0)}
    first = cleaned(project, method, observations)["sim0000"]
    assert set(first.recipe) == {"partition", "function", "version", "parameters", "inputs"}
    assert cleaned(project, method, observations)["sim0000"].fingerprint == first.fingerprint
    group = params[method]
    numbers = {name: value for name, value in dict(group).items() if isinstance(value, float)}
    assert numbers
    for name, value in numbers.items():
        other = {**params, method: group.model_copy(update={name: 1.01 * value})}
        changed = cleaned((other, instrument), method, observations)["sim0000"]
        assert changed.fingerprint != first.fingerprint, name


@every_method
@pytest.mark.parametrize("key", ["fwhm_arcmin", "nside", "lmax"])
def test_another_resolution_than_that_of_the_truth_is_named_before_a_run(project, method, key):
    params, _ = project
    own = params[method]
    changed = own.model_construct(**own.model_dump() | {key: getattr(own, key) + 1})
    pipeline = pipelines["simulation"] + pipelines[method]
    assert resolution_conflicts(params, pipeline) == []
    (sentence,) = resolution_conflicts({**params, method: changed}, pipeline)
    assert f"{method}.{key} " in sentence
