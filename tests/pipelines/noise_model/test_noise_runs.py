"""From noise simulations in Planck's format to a model, and from models and variances to skies."""

import shutil
from pathlib import Path

import healpy as hp
import numpy as np
import pytest
import yaml
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project

from cmbml.datasets import (
    ArrayArchiveDataset,
    HealpixMapDataset,
    InstrumentTableDataset,
    JsonRecordDataset,
    ObservationsDataset,
    ParallelPartitionedDataset,
)
from cmbml.pipelines.simulation import one_sky
from cmbml.pipelines.simulation.noise_model import masked_spectra
from cmbml.science.harmonics import alm_to_cl, map_to_alm
from cmbml.science.resolution import resample
from tests.kedro_runs import ROOT, run
from tests.pipelines.noise_model.planck_files import CHANNELS, SIGMA_UK, depth, write_map, write_noise
from tests.pipelines.simulation.noise_inputs import noise_settings

SIMULATIONS = 6
NSIDE = 16
NPIX = 12 * NSIDE**2
MODELS = "02_intermediate/noise_models"
AVERAGES = "02_intermediate/noise_averages"


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Raw files of three channels, and the models that the pipeline makes of them."""
    folder = tmp_path_factory.mktemp("noise")
    for channel in CHANNELS:
        write_map(folder / "raw", channel)
        write_noise(folder / "raw", channel, SIMULATIONS)
    conf = folder / "conf"
    shutil.copytree(ROOT / "conf", conf)
    parameters = {"instrument": {"channels": list(CHANNELS)}}
    (conf / "test" / "parameters_noise.yml").write_text(yaml.safe_dump(parameters))
    run_here(folder, "models", "noise_model")
    return folder


def run_here(folder: Path, name: str, pipeline: str, *nodes: str, **params: object) -> Path:
    """Run nodes of a pipeline in this process, with a data folder of this name."""
    bootstrap_project(ROOT)
    given = {"data": str(folder / name), "assets_folder": str(folder / "raw"), "n_jobs": 0, **params}
    with KedroSession.create(
        project_path=ROOT, env="test", conf_source=str(folder / "conf"), runtime_params=given
    ) as session:
        session.run(pipeline_names=[pipeline], node_names=list(nodes))
    return folder / name


def prepare(folder: Path, name: str, **params: object) -> Path:
    """Prepare noise with the models that were made, in a data folder of its own."""
    for made in (MODELS, AVERAGES):
        shutil.copytree(folder / "models" / made, folder / name / made)
    return run_here(folder, name, "simulation", "make_instrument", "prepare_noise", **params)


def drawn(data: Path, count: int, **noise: object) -> dict[str, np.ndarray]:
    """Draw noise from what was prepared, (count, n_stokes, npix) by channel."""
    settings = noise_settings(**noise)
    instrument = InstrumentTableDataset(filepath=data / "02_intermediate/instrument.ecsv").load()
    sources = {
        name: ArrayArchiveDataset(filepath=data / "02_intermediate/noise" / f"{name}.npz").load()
        for name in instrument.names
    }
    seeds = [one_sky.seeds(f"sim{number:04d}", split="test", seed=1) for number in range(count)]
    return {
        channel.name: np.stack(
            [one_sky.channel_noise(own, channel, NSIDE, settings=settings, sources=sources) for own in seeds]
        )
        for channel in instrument
    }


def model_of(place: Path, channel: str) -> dict[str, np.ndarray]:
    return ArrayArchiveDataset(filepath=place / "models" / MODELS / f"{channel}.npz").load()


def test_the_model_holds_what_the_simulations_have(place):
    for channel, nside in CHANNELS.items():
        model = model_of(place, channel)
        assert model["mean_cl"].shape == (1 if channel == "545" else 4, 2 * nside + 1)
        white = 4 * np.pi / (12 * nside**2) * SIGMA_UK[channel] ** 2 * np.mean(depth(nside) ** 2)
        tail = model["mean_cl"][0, nside:].mean() * SIMULATIONS / (SIMULATIONS - 1)
        assert tail / white == pytest.approx(1, abs=0.1)
        assert model["mean_cl"][0, 2:9].mean() > 10 * tail
        average = HealpixMapDataset(filepath=place / "models" / AVERAGES / f"{channel}.fits").load()
        assert (average.unit, average.nside) == ("uK_CMB", nside)


def test_correlated_noise_has_the_models_spectrum_and_the_variances_pattern(place):
    chosen = {"kind": "correlated", "pattern": "variance"}
    data = prepare(place, "correlated", noise=chosen)
    z = hp.pix2vec(NSIDE, np.arange(NPIX))[2]
    for channel, maps in drawn(data, 40, **chosen).items():
        found = np.mean(
            [masked_spectra(one, np.ones(NPIX), 2 * NSIDE, transforms="exact") for one in maps], axis=0
        )
        for row in range(1 if channel == "545" else 3):
            expected = model_of(place, channel)["mean_cl"][row, 12 : 2 * NSIDE + 1]
            ratio = np.mean(found[row, 12:] / expected) * (SIMULATIONS - 1) / SIMULATIONS
            assert ratio == pytest.approx(1, abs=0.05)
        assert maps[:, :, z < -0.3].var() > 1.5 * maps[:, :, z > 0.3].var()


def test_white_noise_has_the_variances_of_the_maps(place):
    data = prepare(place, "white", noise={"kind": "variance"})
    for channel, maps in drawn(data, 20, kind="variance").items():
        coarser = (CHANNELS[channel] / NSIDE) ** 2  # pixels that one of the maps averages
        expected = SIGMA_UK[channel] ** 2 * np.mean(depth(CHANNELS[channel]) ** 2) / coarser
        for row, size in enumerate((1, 4, 4)[: maps.shape[1]]):
            assert maps[:, row].var() / (size * expected) == pytest.approx(1, abs=0.03)
        if channel != "545":
            assert np.corrcoef(maps[:, 1].ravel(), maps[:, 2].ravel())[0, 1] == pytest.approx(0.125, abs=0.02)


def test_the_references_recipe_adds_the_average(place):
    chosen = {"kind": "correlated", "recipe": "reference", "pattern": "variance", "average_map": True}
    data = prepare(place, "reference", noise=chosen, stokes="I")
    for channel, maps in drawn(data, 2, **chosen).items():
        average = HealpixMapDataset(filepath=place / "models" / AVERAGES / f"{channel}.fits").load()
        expected = resample(average.values[:1].astype(np.float64), NSIDE)[0]
        # the mean over maps is the average plus noise; single maps without it have no mean
        np.testing.assert_allclose(maps[:, 0].mean(axis=-1), expected.mean(), atol=1e-3 * maps.std())
        assert np.corrcoef(maps.mean(axis=0)[0], expected)[0, 1] > 0.2


def test_a_released_model_is_read_in_place(place):
    """Files under CMB-ML's names, by the catalog that the documentation shows."""
    released = place / "released" / "NoiseModel"
    released.mkdir(parents=True)
    for channel in CHANNELS:
        model = model_of(place, channel)
        arrays = {"mean_ps": model["mean"][0], "components": model["components"][:, 0]}
        arrays |= {"variance": model["variance"], "maps_unit": np.array("uK_CMB")}
        np.savez(released / f"noise_model_{channel}_100.npz", **arrays)
        shutil.copy(place / "models" / AVERAGES / f"{channel}.fits", released / f"avg_{channel}_I_100.fits")
    text = (ROOT / "docs" / "noise.md").read_text().split("```yaml\n")[1].split("```")[0]
    catalog = yaml.safe_load(text.replace("/datasets/CMB-ML_512_1450", str(place / "released")))
    for entry in catalog.values():
        entry["dataset"]["files"] = {int(c): entry["dataset"]["files"][int(c)] for c in CHANNELS}
    place_of_catalog = place / "conf" / "test" / "catalog_released.yml"
    place_of_catalog.write_text(yaml.safe_dump(catalog))
    chosen = {"kind": "correlated", "average_map": True}
    try:
        data = run_here(
            place, "in_place", "simulation", "make_instrument", "prepare_noise", noise=chosen, stokes="I"
        )
    finally:
        place_of_catalog.unlink()
    own = prepare(place, "own", noise=chosen, stokes="I")
    for channel, maps in drawn(data, 3, **chosen).items():
        assert maps.shape == (3, 1, NPIX)
        assert maps.std() == pytest.approx(drawn(own, 3, **chosen)[channel].std(), rel=0.15)


def test_channels_are_modelled_one_by_one(place):
    for channel in ("30", "143"):
        data = run_here(place, "one_by_one", "noise_model", instrument={"channels": channel})
    listed = ParallelPartitionedDataset(
        path=str(data / MODELS), dataset={"type": ArrayArchiveDataset}, filename_suffix=".npz"
    ).load()
    assert sorted(listed) == ["143", "30"]
    for channel, loader in listed.items():
        np.testing.assert_array_equal(loader()["mean_cl"], model_of(place, channel)["mean_cl"])


def test_what_is_missing_is_named_before_any_work(place):
    with pytest.raises(ValueError, match=r"noise\.kind correlated: noise_models of 30, 143, 545 not there"):
        run_here(place, "nothing", "simulation", noise={"kind": "correlated"})
    with pytest.raises(ValueError, match="at least 7 are needed per channel, but 30 has 6, 143 has 6"):
        run_here(place, "nothing", "noise_model", noise_model={"simulations": 7})
    assert not (place / "nothing" / MODELS).exists()


@pytest.mark.slow
def test_an_observation_is_signal_up_to_lmax_and_the_noise_of_its_simulation(place):
    chosen = {"kind": "correlated", "pattern": "variance"}
    data = prepare(place, "whole", noise=chosen, train=1, valid=1, test=1)
    run(
        *(
            "--conf-source",
            str(place / "conf"),
            "--pipelines",
            "simulation",
            "--to-outputs",
            "test_observations",
        ),
        data=data,
        **{"assets_folder": place / "raw", "train": 1, "valid": 1, "test": 1},
        **{f"noise.{key}": value for key, value in chosen.items()},
    )
    seeds = JsonRecordDataset(filepath=data / "02_intermediate/seeds/test/sim0000.json").load()
    observed = ObservationsDataset(filepath=data / "03_primary/observations/test/sim0000").load().maps
    settings = noise_settings(**{**chosen, "anisotropy": 0.8, "coherence": 50})
    for channel in InstrumentTableDataset(filepath=data / "02_intermediate/instrument.ecsv").load():
        source = ArrayArchiveDataset(filepath=data / "02_intermediate/noise" / f"{channel.name}.npz").load()
        noise = one_sky.channel_noise(
            seeds, channel, NSIDE, settings=settings, sources={channel.name: source}
        )
        with_noise, signal = (
            alm_to_cl(map_to_alm(maps.astype(np.float64), 40, iterations=5))[0]
            for maps in (observed[channel.name], observed[channel.name] - noise)
        )
        assert signal[33:].max() < 1e-6 * with_noise[33:].min()
