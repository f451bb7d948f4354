"""Accuracy of lensed skies: their mean spectra against CAMB's lensed spectra.

Run from the project root: OMP_NUM_THREADS=2 python benchmarks/lensed_spectra.py LMAX SKIES
For bands of multipoles it prints the deviation of TT, EE and BB, and of TE in units of sqrt(TT EE), in per
cent, with the scatter of a mean of so many Gaussian skies in brackets. Bands of BB scatter by up to twice as
much, because B of all multipoles comes from the same potential.
"""

import sys
from functools import partial
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from baseline import threads

from cmbml.pipelines.simulation.cmb import lensed_alm
from cmbml.pipelines.simulation.cosmology import TABLES, cosmology_spectra, mean_cosmology
from cmbml.science.harmonics import alm_to_cl
from cmbml.science.seeds import generator_of
from cmbml.science.threads import set_thread_count

SPECTRA = {"TT": (0, 0), "EE": (1, 1), "BB": (2, 2), "TE": (0, 1)}
SEED = 20


def deviations(lmax: int, skies: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the deviation of mean spectra and its Gaussian scatter, shapes (4, lmax + 1)."""
    theory = cosmology_spectra(mean_cosmology(TABLES["wmap9"]), lmax=lmax)
    expected = {name: theory.lensed.cl(name)[: lmax + 1] for name in SPECTRA}
    scale = {name: expected[name] for name in ("TT", "EE", "BB")}
    scale["TE"] = np.sqrt(expected["TT"] * expected["EE"])
    mean = np.zeros((len(SPECTRA), lmax + 1))
    for sky in range(skies):
        alm = lensed_alm(theory.unlensed, partial(_generator, sky), lmax=lmax, polarised=True)
        mean += np.array([alm_to_cl(alm[first], alm[second]) for first, second in SPECTRA.values()]) / skies
    modes = skies * (2 * np.arange(lmax + 1) + 1)
    deviation, scatter = np.zeros_like(mean), np.zeros_like(mean)
    for number, name in enumerate(SPECTRA):
        part = slice(2, None)  # there is no power below
        deviation[number, part] = ((mean[number] - expected[name])[part]) / scale[name][part]
        power = 2.0 if name != "TE" else 1 + (expected["TE"][part] / scale["TE"][part]) ** 2
        scatter[number, part] = np.sqrt(power / modes[part])
    return deviation, scatter


def _generator(sky: int, field: str) -> np.random.Generator:
    return generator_of(SEED, str(sky), field)


def main(lmax: int, skies: int) -> None:
    """Print a table of bands."""
    set_thread_count(threads())
    deviation, scatter = deviations(lmax, skies)
    edges = [2, 30, *np.linspace(30, lmax + 1, 6).astype(int)[1:]]
    print(f"lmax {lmax}, {skies} skies; per cent")
    for low, high in [*pairwise(edges), (2, lmax + 1)]:
        weight = 2 * np.arange(low, high) + 1.0
        weight /= weight.sum()
        cells = [
            f"{name} {100 * weight @ value[low:high]:+6.2f} "
            f"({100 * np.sqrt(np.sum((weight * error[low:high]) ** 2)):.2f})"
            for name, value, error in zip(SPECTRA, deviation, scatter, strict=True)
        ]
        print(f"{low:5d} to {high - 1:5d}:  " + "   ".join(cells))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
