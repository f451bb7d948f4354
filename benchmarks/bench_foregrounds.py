"""Memory of the foreground work that is done once for all simulations.

Run from the project root: OMP_NUM_THREADS=2 python benchmarks/bench_foregrounds.py [nside ...]
Without arguments it takes minutes and up to 12 GiB, for emission at nside 2048.
"""

import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from baseline import threads
from bench_simulation import EXTRAGALACTIC, VARIATION, instrument

from cmbml.pipelines.simulation.foregrounds import fixed_foregrounds
from cmbml.pipelines.simulation.settings import ForegroundSettings, Maps
from cmbml.science.threads import set_thread_count

NSIDE = 2048
MAPS = Maps(nside=512, lmax=1024)
LIMIT = 12.0
"""GiB of the whole process, and unit of the ratio."""


def measure(nside: int) -> dict:
    """Compute the shared foregrounds of nine channels I, Q, U in this process, and return its peak memory."""
    settings = ForegroundSettings(
        source="embedded",
        presets=["d1"],
        nside=nside,
        vary=False,
        variation=VARIATION,
        extragalactic=EXTRAGALACTIC,
    )
    maps = MAPS if nside >= 2 * MAPS.nside else Maps(nside=nside // 2, lmax=nside // 2)
    set_thread_count(threads())
    start = time.perf_counter()
    shared = fixed_foregrounds(settings, instrument("IQU"), maps)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    return {
        "name": f"foregrounds_once_nside{nside}_IQU",
        "seconds": seconds,
        "gibibytes": peak,
        "result_gibibytes": shared["alm"].nbytes / 2**30,
        "ratio": peak,
        "limit": LIMIT,
    }


def run() -> list[dict]:
    """Measure at the resolution of the published benchmark's sky."""
    return [measure(NSIDE)]


if __name__ == "__main__":
    for wanted in sys.argv[1:] or [str(NSIDE)]:
        print(measure(int(wanted)))
