"""The network of Petroff et al. at the resolution it was published for, nside 512, in seven channels.

Run from the project root: OMP_NUM_THREADS=1 python benchmarks/bench_petroff_large.py
Memory is the peak of what a pass takes beyond weights and Laplacians. A pass forward is one sample of a
prediction, with dropout; one both ways is a step of a training, in which features are kept or computed again.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
from baseline import baseline_seconds, threads
from bench_petroff import WARMING_NSIDE, both_ways, build_laplacians, network_of, sky_of
from memory import in_a_process, peak_gibibytes

from cmbml.pipelines.petroff.dropout import count_on
from cmbml.science.threads import set_thread_count

NSIDE = 512
REPEATS = 2
MOST_GIBIBYTES = 12.0
"""Of a pass forward."""


def forward(n_threads: int) -> dict[str, float]:
    """Return seconds and GiB of a pass forward, without derivatives; for a process of its own."""
    torch.set_num_threads(n_threads)
    small, network, sky = network_of(WARMING_NSIDE), network_of(NSIDE), sky_of(NSIDE)
    build_laplacians(network)
    seconds = []

    @torch.inference_mode()
    def passes() -> None:
        for _ in range(REPEATS):
            start = time.perf_counter()
            count_on(network)(sky)
            seconds.append(time.perf_counter() - start)

    with torch.inference_mode():
        small(sky_of(WARMING_NSIDE))  # compiles and loads
    peak = peak_gibibytes(passes)
    return {"seconds": min(seconds), "gibibytes": peak}


def step(n_threads: int, recompute: bool) -> dict[str, float]:
    """Return seconds and GiB of a pass both ways; for a process of its own."""
    torch.set_num_threads(n_threads)
    network, sky = network_of(NSIDE, recompute=recompute), sky_of(NSIDE)
    build_laplacians(network)
    both_ways(network_of(WARMING_NSIDE, recompute=recompute), sky_of(WARMING_NSIDE))
    clock = time.process_time if n_threads == 1 else time.perf_counter
    start = clock()
    peak = peak_gibibytes(lambda: both_ways(network, sky))
    return {"seconds": clock() - start, "gibibytes": peak}


def run() -> list[dict]:
    """Measure a pass forward, and a pass both ways with features kept and computed again."""
    set_thread_count(threads())
    yardstick = min(baseline_seconds() for _ in range(REPEATS))
    once = in_a_process(forward, threads())
    kept, again = (in_a_process(step, threads(), recompute) for recompute in (False, True))
    return [
        {
            "name": f"petroff_forward_nside{NSIDE}",
            "ratio": once["seconds"] / yardstick,
            "seconds": once["seconds"],
            "baseline_seconds": yardstick,
        },
        {
            "name": f"petroff_forward_memory_nside{NSIDE}_over_{MOST_GIBIBYTES:g}_gibibytes",
            "ratio": once["gibibytes"] / MOST_GIBIBYTES,
            "limit": 1.0,
            "gibibytes": once["gibibytes"],
        },
        {
            "name": f"petroff_recomputed_over_kept_memory_nside{NSIDE}",
            "ratio": again["gibibytes"] / kept["gibibytes"],
            "gibibytes": again["gibibytes"],
            "kept_gibibytes": kept["gibibytes"],
        },
        {
            "name": f"petroff_recomputed_over_kept_seconds_nside{NSIDE}",
            "ratio": again["seconds"] / kept["seconds"],
            "seconds": again["seconds"],
            "kept_seconds": kept["seconds"],
        },
    ]


if __name__ == "__main__":
    for row in run():
        print(row)
