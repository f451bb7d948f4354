"""Skies and error maps that tests of predicted errors share."""

import numpy as np

from cmbml.pipelines.analysis.nodes import prepare_mask
from cmbml.pipelines.analysis.settings import Analysis
from cmbml.science.skymap import SkyMap

NPIX = 3072
ANALYSIS = Analysis(
    nside=16,
    lmax=24,
    map_fwhm_arcmin=300,
    fwhm_arcmin=300,
    apodisation_deg=10,
    taper="C1",
    bin_width=4,
    figure_simulations=1,
    map_range_uk=300,
    residual_range_uk=30,
)
MASK = prepare_mask(SkyMap(np.ones((1, NPIX)), ""), ANALYSIS)


def sky(seed: int, scale: float, n_stokes: int = 1) -> SkyMap:
    return SkyMap(scale * np.random.default_rng(seed).normal(size=(n_stokes, NPIX)), "uK_CMB")


def error_map(sigma: float) -> SkyMap:
    return SkyMap(np.full((1, NPIX), sigma), "uK_CMB", ("I_ERROR",))
