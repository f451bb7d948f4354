"""Smooth spectra to draw CMB skies from, and the generators of a sky."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cmbml.science.seeds import generator_of
from cmbml.science.spectra import PowerSpectra

Array = NDArray[np.float64]
Generators = Callable[[str], np.random.Generator]


def generators(seed: int) -> Generators:
    return lambda field: generator_of(seed, "cmb", field)


def spectra(top: int, **changes: Array | None) -> PowerSpectra:
    """Smooth spectra with every correlation of a CMB, up to `top`."""
    ell = np.arange(top + 1.0)
    tt = 1000 / (ell + 1) ** 2
    ee = 20 / (ell + 1) ** 2
    pp = 1e-7 / (ell + 1) ** 4
    values = {
        "TT": tt,
        "EE": ee,
        "PP": pp,
        "TE": -0.4 * np.sqrt(tt * ee),
        "PT": 0.3 * np.sqrt(tt * pp),
        "PE": 0.1 * np.sqrt(ee * pp),
    }
    kept = {name: value for name, value in (values | changes).items() if value is not None}
    return PowerSpectra(values=kept, scaling="cl", lensed=False)
