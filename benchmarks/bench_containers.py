"""Reading, writing and size of the two containers of observations, FITS and HDF5.

Run from the project root: OMP_NUM_THREADS=1 python benchmarks/bench_containers.py
Each ratio is FITS over HDF5: above 1, HDF5 is the faster or the smaller one. The
files lie in the system's cache, so that the programs are compared and not disks.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from baseline import threads

from cmbml.datasets import Hdf5ObservationsDataset, ObservationsDataset
from cmbml.science.instrument import Observations
from cmbml.science.threads import set_thread_count

NSIDE = 512
STOKES = dict.fromkeys(("30", "44", "70", "100", "143", "217", "353"), 3) | {"545": 1, "857": 1}
REPEATS = 3
HDF5_OPTIONS: dict[str, dict[str, Any]] = {
    "hdf5": {},
    "hdf5_lzf": {"compression": "lzf"},
    "hdf5_gzip": {"compression": "gzip"},
}


def noisy_sky() -> Observations:
    """Return maps whose last bits are noise, as those of real observations: they hardly compress."""
    rng = np.random.default_rng(5)
    npix = 12 * NSIDE**2
    maps = {name: 100 * rng.standard_normal((n, npix), dtype=np.float32) for name, n in STOKES.items()}
    return Observations(maps, dict.fromkeys(maps, "uK_CMB"))


def best_seconds(task: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def size_of(place: Path) -> int:
    return sum(path.stat().st_size for path in ([place] if place.is_file() else place.iterdir()))


def measure(dataset: Any, sky: Observations, place: Path) -> dict[str, float]:
    """Return seconds of each task, and the size in GiB."""
    part = dataset.restricted(channels=list(STOKES), stokes="I")
    return {
        "write": best_seconds(lambda: dataset.save(sky)),
        "read": best_seconds(dataset.load),
        "read_intensity": best_seconds(part.load),
        "size": size_of(place) / 2**30,
    }


def run() -> list[dict[str, Any]]:
    """Return a row for each task and each form of HDF5."""
    set_thread_count(threads())
    sky, rows = noisy_sky(), []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "sim0000"
        fits = measure(ObservationsDataset(filepath=place), sky, place)
        for name, options in HDF5_OPTIONS.items():
            place = Path(folder) / f"{name}.h5"
            hdf5 = measure(Hdf5ObservationsDataset(filepath=place, **options), sky, place)
            os.remove(place)
            for task, amount in hdf5.items():
                unit = "gibibytes" if task == "size" else "seconds"
                row = {"name": f"fits_over_{name}_{task}", "ratio": fits[task] / amount}
                rows.append({**row, f"fits_{unit}": fits[task], f"hdf5_{unit}": amount})
    return rows


if __name__ == "__main__":
    for row in run():
        print(row)
