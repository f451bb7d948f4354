"""Laying maps out in the plane, and back, against loops over pixels.

Run from the project root: OMP_NUM_THREADS=1 python benchmarks/bench_planes.py
The loops do as the code published with CMBNNCS does, and do it faster: a map is put into NESTED order, and
every pixel of every base pixel is looked up and copied by Python.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import healpy as hp
import numpy as np
from baseline import threads
from numpy.typing import NDArray

from cmbml.science.planes import BLOCKS, map_to_plane, plane_index, plane_to_map, sphere_index
from cmbml.science.threads import set_thread_count

NSIDE = 512
MAPS = 9
REPEATS = 3
LIMIT = 40.0

Array = NDArray[np.float32]


def block_order(nside: int) -> NDArray[np.int64]:
    """Return the NESTED place of every pixel in the block of its base pixel, by doubling."""
    order = np.zeros((1, 1), dtype=np.int64)
    while len(order) < nside:
        step = order.size
        order = np.block([[order + 3 * step, order + step], [order + 2 * step, order]])
    return order.T


def loop_to_plane(values: Array, nside: int) -> Array:
    """Lay one map out pixel by pixel."""
    nested, order = hp.reorder(values, r2n=True), block_order(nside)
    plane = np.empty((4 * nside, 3 * nside), dtype=values.dtype)
    for number, faces in enumerate(BLOCKS):
        for place, face in enumerate(faces):
            block = plane[number * nside : (number + 1) * nside, place * nside : (place + 1) * nside]
            base = nested[face * nside**2 : (face + 1) * nside**2]
            for row in range(nside):
                for column in range(nside):
                    block[row, column] = base[order[row, column]]
    return plane


def loop_to_map(plane: Array, nside: int) -> Array:
    """Bring one plane back pixel by pixel."""
    nested, order = np.empty(12 * nside**2, dtype=plane.dtype), block_order(nside)
    for number, faces in enumerate(BLOCKS):
        for place, face in enumerate(faces):
            block = plane[number * nside : (number + 1) * nside, place * nside : (place + 1) * nside]
            base = nested[face * nside**2 : (face + 1) * nside**2]
            for row in range(nside):
                for column in range(nside):
                    base[order[row, column]] = block[row, column]
    return hp.reorder(nested, n2r=True)


def seconds_of(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def compare(
    name: str, loop: Callable[[], object], task: Callable[[], object], *, limit: float | None = LIMIT
) -> dict:
    """Return how many times as fast nine maps are as nine times a loop over one."""
    task()
    loops, tasks = [], []
    for _ in range(REPEATS):
        loops.append(MAPS * seconds_of(loop))
        tasks.append(min(seconds_of(task) for _ in range(REPEATS)))
    best, yardstick = min(tasks), min(loops)
    return {
        "name": name,
        "seconds": best,
        "loop_seconds": yardstick,
        "ratio": yardstick / best,
        "limit": limit,
        "at_least": True,
    }


def first_of_all(maps: Array) -> None:
    """Lay maps out in a process that has not made the index."""
    plane_index.cache_clear()
    sphere_index.cache_clear()
    map_to_plane(maps)


def run() -> list[dict]:
    """Time both ways, and the first call of a process, which makes the index."""
    set_thread_count(threads())
    maps = np.random.default_rng(3).standard_normal((MAPS, 12 * NSIDE**2), dtype=np.float32)
    planes = map_to_plane(maps)
    np.testing.assert_array_equal(loop_to_plane(maps[0], NSIDE), planes[0])
    np.testing.assert_array_equal(loop_to_map(planes[0], NSIDE), maps[0])
    return [
        compare("maps_to_planes_nside512", lambda: loop_to_plane(maps[0], NSIDE), lambda: map_to_plane(maps)),
        compare(
            "planes_to_maps_nside512", lambda: loop_to_map(planes[0], NSIDE), lambda: plane_to_map(planes)
        ),
        compare(
            "maps_to_planes_nside512_first_call",
            lambda: loop_to_plane(maps[0], NSIDE),
            lambda: first_of_all(maps),
            limit=None,
        ),
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
