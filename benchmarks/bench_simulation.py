"""Timings of one simulation, of workers, and of memory.

Run from the project root: OMP_NUM_THREADS=1 python benchmarks/bench_simulation.py
One thread is what a worker has; two show what a single simulation gains by more.
"""

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import psutil
from baseline import baseline_seconds, threads

from cmbml.datasets import InstrumentTableDataset, ObservationsDataset, ParallelPartitionedDataset
from cmbml.partitions import lift
from cmbml.pipelines.simulation import one_sky
from cmbml.pipelines.simulation.foregrounds import fixed_foregrounds
from cmbml.pipelines.simulation.settings import (
    Extragalactic,
    ForegroundSettings,
    Maps,
    NoiseSettings,
    SplitCosmology,
    Target,
    Variation,
)
from cmbml.science.instrument import Instrument, Observations
from cmbml.science.threads import set_thread_count

ROOT = Path(__file__).resolve().parents[1]
NSIDE, LMAX = 128, 382
MAPS = Maps(nside=NSIDE, lmax=LMAX)
COSMOLOGY = SplitCosmology(table="wmap9", correlated=True, vary=True)
NOISE = NoiseSettings(
    kind="sensitivity",
    scale=1.0,
    anisotropy=0.8,
    pattern="scan",
    recipe="scattered",
    reference_prefix="",
    coherence=50,
    average_map=False,
)
TARGET = Target(nside=NSIDE, lmax=LMAX, fwhm_arcmin=20.6)
VARIATION = Variation(
    morphology=True,
    brightness=0.1,
    dust_index=0.04,
    dust_temperature_kelvin=1.0,
    synchrotron_index=0.06,
    free_free_index=0.0,
)
EXTRAGALACTIC = Extragalactic(cib=True, radio=True, radio_flux_cut_jy=0.35)
REPEATS = 4
WORKER_SIMULATIONS = 48
MEMORY_SIMULATIONS = (8, 40)


def foregrounds(*, vary: bool) -> ForegroundSettings:
    return ForegroundSettings(
        source="embedded",
        presets=["d1", "s1", "f1", "a1"],
        nside=NSIDE,
        vary=vary,
        variation=VARIATION,
        extragalactic=EXTRAGALACTIC,
    )


def instrument(stokes: str) -> Instrument:
    table: Instrument = InstrumentTableDataset(
        filepath=ROOT / "conf/base/instruments/planck_like.ecsv"
    ).load()
    return table.with_stokes(stokes)


def simulate(simulation: str, *, stokes: str, vary: bool, shared: dict) -> Observations:
    """Make one simulation from its seed to its observations, truth included, without files."""
    channels, settings = instrument(stokes), foregrounds(vary=vary)
    seeds = one_sky.seeds(simulation, split="benchmark", seed=1)
    theory = one_sky.theory(one_sky.cosmology(seeds, choice=COSMOLOGY), lmax=LMAX, accuracy=1)
    alm = one_sky.cmb(theory, seeds, lmax=LMAX, polarised=channels.is_polarised, kind="lensed")
    one_sky.truth(alm, target=TARGET)
    return one_sky.observations(
        alm,
        one_sky.foregrounds(seeds, variation=VARIATION if vary else None),
        seeds,
        shared=shared,
        noise_sources={},
        instrument=channels,
        settings=settings,
        maps=MAPS,
        noise=NOISE,
    )


def one_simulation(stokes: str, *, vary: bool, limit: float | None) -> dict:
    """Time one simulation against the yardstick, in turns."""
    shared = fixed_foregrounds(foregrounds(vary=vary), instrument(stokes), MAPS)
    simulate("warm-up", stokes=stokes, vary=vary, shared=shared)
    seconds, baseline = [], []
    for number in range(REPEATS):
        baseline.append(baseline_seconds())
        start = time.perf_counter()
        simulate(f"sim{number:04d}", stokes=stokes, vary=vary, shared=shared)
        seconds.append(time.perf_counter() - start)
    best, yardstick = min(seconds), min(baseline)
    return {
        "name": f"simulation_nside128_{stokes}_{'varied' if vary else 'fixed'}",
        "seconds": best,
        "baseline_seconds": yardstick,
        "ratio": best / yardstick,
        "limit": limit,
    }


def save_skies(folder: str, first: int, count: int, *, n_jobs: int) -> float:
    """Compute and write skies by workers, return the seconds."""
    names = {f"sim{number:04d}": f"sim{number:04d}" for number in range(first, first + count)}
    partitions = lift(
        simulate,
        version=1,
        partitioned={"simulation": names},
        parameters={"stokes": "I", "vary": True, "shared": {}},
    )
    dataset = ParallelPartitionedDataset(
        path=f"{folder}/{n_jobs}_{first}_{count}", dataset={"type": ObservationsDataset}, n_jobs=n_jobs
    )
    start = time.perf_counter()
    dataset.save(partitions)
    return time.perf_counter() - start


def workers() -> dict:
    """Compare one warm worker with two, one thread each."""
    with tempfile.TemporaryDirectory() as folder:
        start_up = {}
        seconds = {}
        for n_jobs in (1, 2):
            start_up[n_jobs] = save_skies(folder, 1000, n_jobs, n_jobs=n_jobs)
            seconds[n_jobs] = save_skies(folder, 0, WORKER_SIMULATIONS, n_jobs=n_jobs)
    return {
        "name": f"two_workers_{WORKER_SIMULATIONS}_simulations",
        "seconds": seconds[2],
        "baseline_seconds": seconds[1],
        "ratio": seconds[1] / seconds[2],
        "limit": 1.6,
        "at_least": True,
        "start_up_seconds": start_up[2],
    }


class _Peak:
    """Largest memory of this process and its children together, sampled."""

    def __enter__(self) -> "_Peak":
        self.bytes, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process(os.getpid())
        while not self._stop.wait(0.05):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.bytes = max(self.bytes, total)


def memory() -> dict:
    """Compare the peak memory of all processes for few and for many skies."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        save_skies(folder, 2000, 2, n_jobs=2)
        for count in MEMORY_SIMULATIONS:
            with _Peak() as peak:
                save_skies(folder, 0, count, n_jobs=2)
            peaks[count] = peak.bytes
    few, many = (peaks[count] for count in MEMORY_SIMULATIONS)
    return {
        "name": f"peak_memory_{MEMORY_SIMULATIONS[1]}_against_{MEMORY_SIMULATIONS[0]}_skies",
        "gibibytes": many / 2**30,
        "baseline_gibibytes": few / 2**30,
        "ratio": many / few,
        "limit": 1.1,
    }


def run() -> list[dict]:
    """Time single simulations and, at one thread each, workers and memory.

    The limits are those of one thread, which is what the project gives a simulation.
    """
    set_thread_count(threads())
    alone = threads() == 1
    rows = [
        one_simulation("I", vary=True, limit=1.0 if alone else None),
        one_simulation("IQU", vary=True, limit=1.5 if alone else None),
        one_simulation("I", vary=False, limit=None),
        one_simulation("IQU", vary=False, limit=None),
    ]
    return [*rows, workers(), memory()] if alone else rows


if __name__ == "__main__":
    for row in run():
        print(row)
