"""Timings of the needlet ILC at the two resolutions of the published benchmark.

Run from the project root: OMP_NUM_THREADS=2 python benchmarks/bench_pyilc.py
"""

import resource
import sys
import time
from pathlib import Path

import healpy as hp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from baseline import baseline_seconds, threads

from cmbml.pipelines.pyilc.ilc import needlet_ilc
from cmbml.pipelines.pyilc.settings import NeedletILC
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_size, filter_alm, synthesise
from cmbml.science.pixels import galactic_latitude
from cmbml.science.threads import set_thread_count

FWHM_ARCMIN = (75, 65, 55, 43, 32.4, 22.3, 22, 21.5, 20.6)
"""Channels 30 to 857 of the published benchmark."""
DUST = (0.02, 0.03, 0.06, 0.15, 0.35, 1, 8, 70, 3000)
SYNCHROTRON = (30, 10, 3, 1.2, 0.5, 0.3, 0.3, 0.5, 2)
NOISE_UK_ARCMIN = (150, 160, 130, 78, 33, 47, 154, 1000, 20000)
REPEATS = 3

COMMON = {
    "fwhm_arcmin": 20.6,
    "bias_tolerance": 1e-3,
    "beam_criterion": 1e-3,
    "taper_width": 0,
    "channels": "all",
    "transforms": "fast",
    "stokes": "I",
}
CASES = (
    ("needlet_ilc_nside128", {"peaks": (100, 200, 300, 383), "lmax": 382, "nside": 128}, 1.5),
    ("needlet_ilc_nside512", {"peaks": (200, 715, 1025), "lmax": 1024, "nside": 512}, 7.0),
)


def _field(nside: int, lmax: int, slope: float, seed: int) -> np.ndarray:
    """Coefficients of a Gaussian field with C_l proportional to l^slope and unit variance."""
    generator = np.random.default_rng(seed)
    alm = generator.standard_normal((2, alm_size(lmax))).T @ np.array([1, 1j])
    alm[: lmax + 1] = alm[: lmax + 1].real * np.sqrt(2)
    ell = np.arange(lmax + 1)
    amplitude = np.where(ell > 1, np.maximum(ell, 1.0) ** (slope / 2), 0)
    amplitude /= np.sqrt(np.sum((2 * ell + 1) * amplitude**2) / (4 * np.pi) * 2)
    return filter_alm(alm, amplitude)


def mock_sky(nside: int, lmax: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return maps (9, npix) of CMB, dust, synchrotron and noise, beams (9, lmax + 1), CMB alm."""
    cmb = 100 * _field(nside, lmax, -2.2, 1)
    plane = 1 / (0.01 + np.abs(np.sin(galactic_latitude(nside))))
    dust, synchrotron = (
        hp.map2alm(plane * np.exp(synthesise(_field(nside, lmax, -2.6, seed), nside)), lmax=lmax)
        for seed in (2, 3)
    )
    beams = np.stack([beam_window(fwhm * ARCMIN, lmax) for fwhm in FWHM_ARCMIN])
    sky = np.stack([cmb + d * dust + s * synchrotron for d, s in zip(DUST, SYNCHROTRON, strict=True)])
    maps = synthesise(filter_alm(sky, beams), nside)
    depth = np.array(NOISE_UK_ARCMIN) / np.degrees(hp.nside2resol(nside)) / 60
    maps += depth[:, None] * np.random.default_rng(4).standard_normal(maps.shape)
    return maps.astype(np.float32), beams, cmb


def run() -> list[dict[str, str | float]]:
    """Time every case and the baseline in turn, and keep the best of each."""
    set_thread_count(threads())
    rows: list[dict[str, str | float]] = []
    for name, resolution, limit in CASES:
        settings = NeedletILC(**resolution, **COMMON)
        maps, beams, _ = mock_sky(settings.nside, settings.lmax)
        seconds, baseline = [], []
        for _ in range(REPEATS):
            baseline.append(baseline_seconds())
            start = time.perf_counter()
            needlet_ilc(maps, beams, settings=settings)
            seconds.append(time.perf_counter() - start)
        best, yardstick = min(seconds), min(baseline)
        ratio = best / yardstick
        rows.append(
            {
                "name": name,
                "seconds": best,
                "first_seconds": seconds[0],
                "baseline_seconds": yardstick,
                "ratio": ratio,
                "limit": limit,
            }
        )
    return rows


if __name__ == "__main__":
    for row in run():
        print(row)
    print(f"largest memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")
