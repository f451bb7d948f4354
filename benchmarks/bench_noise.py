"""Timings of simulations with correlated noise, and of making a noise model.

Run from the project root: OMP_NUM_THREADS=1 python benchmarks/bench_noise.py
The set-up is the published one, and the same in polarisation: noise as deep as covariance maps say, the
average of the noise simulations added, a hundred components of the spectra.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from baseline import baseline_seconds, threads
from bench_simulation import COSMOLOGY, NOISE, TARGET, foregrounds, instrument

from cmbml.datasets import ArrayArchiveDataset, ObservationsDataset, ParallelPartitionedDataset
from cmbml.datasets.deferred import Deferred
from cmbml.partitions import lift
from cmbml.pipelines.simulation import one_sky
from cmbml.pipelines.simulation.foregrounds import fixed_foregrounds
from cmbml.pipelines.simulation.noise import noise_sources
from cmbml.pipelines.simulation.noise_model import average_map, fit_noise_model
from cmbml.pipelines.simulation.noise_spectra import to_features
from cmbml.pipelines.simulation.noise_variance import COVARIANCES
from cmbml.pipelines.simulation.settings import Maps, NoiseModelSettings
from cmbml.science.harmonics import map_to_alm
from cmbml.science.instrument import Channel, Observations
from cmbml.science.skymap import SkyMap
from cmbml.science.threads import set_thread_count
from cmbml.science.units import Calibration

NSIDE, LMAX = 512, 1024
MODEL_LMAX, COMPONENTS = 4096, 100
CORRELATED = NOISE.model_copy(update={"kind": "correlated", "pattern": "variance", "average_map": True})
MODEL = NoiseModelSettings(
    simulations=None,
    lmax_factor=2.0,
    mask_latitude_deg=5.0,
    mask_fwhm_deg=1.0,
    transforms="fast",
    components=None,
)
REPEATS = 3
SKIES = (4, 40)
NOISE_MAPS = 24


def prepare(stokes: str, nside: int, lmax: int, folder: str) -> dict:
    """Return foregrounds, and loaders of the noise from disk, as `simulate` takes them."""
    channels, settings = instrument(stokes), foregrounds(vary=False).model_copy(update={"nside": nside})
    sources = {}
    for channel in channels:
        path = f"{folder}/{stokes}_{nside}_{channel.name}.npz"
        ArrayArchiveDataset(filepath=path).save(channel_sources(channel, nside))
        sources[channel.name] = Deferred(ArrayArchiveDataset(filepath=path), path)
    shared = fixed_foregrounds(settings, channels, Maps(nside=nside, lmax=lmax))
    return {"shared": shared, "sources": sources}


def channel_sources(channel: Channel, nside: int) -> dict[str, np.ndarray]:
    """What simulations share of a channel's noise: a model with a rise towards large scales, and hits."""
    rng = np.random.default_rng(channel.nominal_ghz)
    ell = np.arange(MODEL_LMAX + 1)
    tt = 1e-4 * (1 + (50 / (ell + 1)) ** 1.5)
    spectra = np.stack([tt, 2 * tt, 2 * tt, 0.01 * tt])[: 4 if channel.stokes == "IQU" else 1]
    model = {
        "mean": to_features(spectra),
        "mean_cl": spectra,
        "components": rng.standard_normal((COMPONENTS, *spectra.shape)) / 128,
        "variance": np.linspace(1e-1, 1e-3, COMPONENTS),
        "unit": np.array("uK_CMB"),
        "simulations": np.array(COMPONENTS),
        "mask_latitude_deg": np.array(5.0),
        "mask_fwhm_deg": np.array(1.0),
    }
    depth = rng.uniform(0.5, 1.5, 12 * nside**2)
    rows = [depth * factor for factor in (1, 0.1, 0.1, 2, 0.1, 2)]
    fields = len(channel.stokes)
    return noise_sources(
        channel.stokes,
        Calibration(channel.frequency_ghz),
        nside=nside,
        settings=CORRELATED,
        variances=SkyMap(np.stack(rows), "uK_CMB2", COVARIANCES),
        model=model,
        average=SkyMap(rng.standard_normal((fields, 12 * nside**2), dtype=np.float32), "uK_CMB"),
    )


def simulate(
    simulation: str, *, shared: dict, sources: dict, stokes: str, nside: int, lmax: int
) -> Observations:
    """Make one simulation from its seed to its observations, truth included, with foregrounds at hand."""
    channels = instrument(stokes)
    seeds = one_sky.seeds(simulation, split="benchmark", seed=1)
    theory = one_sky.theory(one_sky.cosmology(seeds, choice=COSMOLOGY), lmax=lmax, accuracy=1)
    alm = one_sky.cmb(theory, seeds, lmax=lmax, polarised=channels.is_polarised, kind="lensed")
    one_sky.truth(alm, target=TARGET.model_copy(update={"nside": nside, "lmax": lmax}))
    return one_sky.observations(
        alm,
        one_sky.foregrounds(seeds, variation=None),
        seeds,
        shared=shared,
        noise_sources=sources,
        instrument=channels,
        settings=foregrounds(vary=False).model_copy(update={"nside": nside}),
        maps=Maps(nside=nside, lmax=lmax),
        noise=CORRELATED,
    )


def draw_all(simulation: str, *, sources: dict, stokes: str) -> None:
    """Draw the noise of every channel of one simulation."""
    seeds = one_sky.seeds(simulation, split="benchmark", seed=1)
    for channel in instrument(stokes):
        one_sky.channel_noise(seeds, channel, NSIDE, settings=CORRELATED, sources=sources)


def against_baseline(name: str, work: Callable[[str], object], limit: float | None) -> dict:
    """Time work on one simulation against the yardstick, in turns."""
    work("warm-up")
    seconds, baseline = [], []
    for number in range(REPEATS):
        baseline.append(baseline_seconds())
        start = time.perf_counter()
        work(f"sim{number:04d}")
        seconds.append(time.perf_counter() - start)
    best, yardstick = min(seconds), min(baseline)
    return {
        "name": name,
        "seconds": best,
        "baseline_seconds": yardstick,
        "ratio": best / yardstick,
        "limit": limit,
    }


def simulations(stokes: str, limit: float, folder: str) -> list[dict]:
    """Time whole simulations, and their noise alone."""
    given = prepare(stokes, NSIDE, LMAX, folder)
    whole = partial(simulate, **given, stokes=stokes, nside=NSIDE, lmax=LMAX)
    noise = partial(draw_all, sources=given["sources"], stokes=stokes)
    return [
        against_baseline(f"simulation_nside512_{stokes}_correlated_noise", whole, limit),
        against_baseline(f"correlated_noise_nside512_{stokes}", noise, None),
    ]


def cost_per_sky(folder: str) -> dict:
    """Compare the time per sky of few and of many skies, computed and written by one worker."""
    given = prepare("I", 128, 382, folder)

    def seconds(first: int, count: int) -> float:
        names = {f"sim{number:04d}": f"sim{number:04d}" for number in range(first, first + count)}
        skies = lift(
            simulate,
            version=1,
            partitioned={"simulation": names},
            shared=given,
            parameters={"stokes": "I", "nside": 128, "lmax": 382},
        )
        dataset = ParallelPartitionedDataset(
            path=f"{folder}/skies_{first}_{count}", dataset={"type": ObservationsDataset}, n_jobs=0
        )
        start = time.perf_counter()
        dataset.save(skies)
        return (time.perf_counter() - start) / count

    seconds(1000, 1)
    before = seconds(100, SKIES[0])
    many = seconds(0, SKIES[1])
    few = (before + seconds(200, SKIES[0])) / 2  # a mean like that of many, around it in time
    return {
        "name": f"cost_per_sky_{SKIES[1]}_against_{SKIES[0]}",
        "seconds": many,
        "baseline_seconds": few,
        "ratio": many / few,
        "limit": 1.1,
    }


@dataclass(frozen=True)
class Loaded:
    """A map in memory as a loader, so that reading files is not timed."""

    sky_map: SkyMap
    fingerprint: str = "in memory"

    def __call__(self) -> SkyMap:
        return self.sky_map


def noise_model(stokes: str, *, transforms: str, limit: float | None) -> dict:
    """Compare making a noise model, per map, with one analysis of a map without iterations."""
    rng = np.random.default_rng(1)
    shape = (len(stokes), 12 * NSIDE**2)
    maps = {
        f"{number:05d}": Loaded(SkyMap(rng.standard_normal(shape, dtype=np.float32), "uK_CMB"))
        for number in range(NOISE_MAPS)
    }
    settings = MODEL.model_copy(update={"transforms": transforms})
    at_100 = Calibration(100.0)

    def build() -> None:
        fit_noise_model(maps, average_map(maps, stokes, at_100), at_100, settings=settings)

    def transform() -> None:
        for loader in maps.values():
            map_to_alm(loader.sky_map.values, 2 * NSIDE, iterations=0)

    transform()
    times: dict[str, list[float]] = {"build": [], "transform": []}
    for _ in range(REPEATS):
        for name, work in (("transform", transform), ("build", build)):
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    seconds, yardstick = (min(times[name]) / NOISE_MAPS for name in ("build", "transform"))
    return {
        "name": f"noise_model_{stokes}_{transforms}_transforms_per_map",
        "seconds": seconds,
        "baseline_seconds": yardstick,
        "ratio": seconds / yardstick,
        "limit": limit,
    }


def run() -> list[dict]:
    """Time simulations, their cost per sky, and the making of noise models."""
    set_thread_count(threads())
    with tempfile.TemporaryDirectory() as folder:
        rows = [*simulations("I", 5.0, folder), *simulations("IQU", 9.0, folder), cost_per_sky(folder)]
    return [
        *rows,
        *(
            noise_model(stokes, transforms=transforms, limit=limit)
            for stokes in ("I", "IQU")
            for transforms, limit in (("fast", 2.2), ("exact", None))
        ),
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
