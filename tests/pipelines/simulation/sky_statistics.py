"""Measures of a sky that `embedded_targets` states of the real one."""

from collections.abc import Mapping, Sequence
from dataclasses import fields

import healpy as hp
import numpy as np
from numpy.typing import NDArray
from scipy.stats import skew

from cmbml.pipelines.simulation.embedded_targets import BAND_EDGES, FAINTEST, POWER_ELLS, Measured
from cmbml.science.harmonics import alm_to_cl, alm_to_map, analyse, filter_alm, map_to_alm

Array = NDArray[np.float64]


def positions(npix: int) -> tuple[Array, Array]:
    """|b| and the distance in longitude from the Galactic centre, in degrees."""
    longitude, latitude = hp.pix2ang(hp.npix2nside(npix), np.arange(npix), lonlat=True)
    return np.abs(latitude), np.minimum(longitude, 360 - longitude)


def in_bands(values: Array, percentiles: Sequence[float]) -> Array:
    """Percentiles of the pixels of each latitude band, shape (bands, percentiles)."""
    band = np.digitize(positions(len(values))[0], BAND_EDGES) - 1
    return np.array([np.percentile(values[band == b], percentiles) for b in range(len(BAND_EDGES) - 1)])


def log_residual(brightness: Array) -> Array:
    """ln of the brightness minus its median in bands of |b| that are 2 degrees wide."""
    log = np.log(np.maximum(brightness.astype(float), FAINTEST))
    band = (positions(len(log))[0] // 2).astype(int)
    medians = np.array([np.median(log[band == b]) for b in range(band.max() + 1)])
    return log - medians[band]


def inner_to_outer(brightness: Array) -> float:
    latitude, from_centre = positions(len(brightness))
    plane = latitude < 5
    inner, outer = (brightness[plane & part] for part in (from_centre < 60, from_centre > 120))
    return float(np.median(inner) / np.median(outer))


def polarised_power(stokes: Array, lmax: int = 100) -> Array:
    """C_l of E and B at |b| > 20 by a sharp cut, divided by its sky fraction, shape (2, lmax + 1)."""
    mask = positions(stokes.shape[1])[0] > 20
    return alm_to_cl(map_to_alm(stokes * mask, lmax)[1:]) / mask.mean()


def coherence(stokes: Array) -> float:
    """Root mean square at |b| > 20 of (Q, U)/P smoothed to 20 degrees."""
    size = np.hypot(stokes[1], stokes[2])
    unit = np.stack([size, stokes[1] / size, stokes[2] / size])
    smooth = filter_alm(map_to_alm(unit, 64), hp.gauss_beam(np.radians(20), 64))
    _, q, u = alm_to_map(smooth, hp.npix2nside(len(size)))
    return float(np.sqrt((q**2 + u**2)[positions(len(size))[0] > 20].mean()))


def measure(stokes: Array) -> Measured:
    """All statistics of one component, from (1 | 3, npix) in uK_RJ."""
    stokes = np.asarray(stokes, float)
    faint, median, bright = in_bands(stokes[0], (16, 50, 84)).T
    residual = log_residual(stokes[0])
    cl = alm_to_cl(analyse(residual, 60))
    ell = np.arange(5, 61)
    intensity = {
        "faint": tuple(faint),
        "median": tuple(median),
        "bright": tuple(bright),
        "scatter": float(residual.std()),
        "skew": float(skew(residual)),
        "slope": float(np.polyfit(np.log(ell), np.log(cl[5:]), 1)[0]),
        "c10": float(cl[10]),
        "inner_to_outer": inner_to_outer(stokes[0]),
    }
    if len(stokes) == 1:
        return Measured(**intensity)
    power = polarised_power(stokes)
    dl = power * np.arange(101) * np.arange(1, 102) / (2 * np.pi)
    return Measured(
        **intensity,
        polarisation_fraction=tuple(in_bands(np.hypot(stokes[1], stokes[2]) / stokes[0], (50,))[:, 0]),
        ee=tuple(dl[0, list(POWER_ELLS)]),
        bb=tuple(dl[1, list(POWER_ELLS)]),
        bb_to_ee=float(power[1, 10:].sum() / power[0, 10:].sum()),
        coherence=coherence(stokes),
    )


def correlations(brightness: Mapping[str, Array]) -> dict[tuple[str, str], float]:
    """Correlation of the log residuals of every pair of components."""
    residuals = {name: log_residual(values) for name, values in brightness.items()}
    names = list(residuals)
    pairs = [(first, second) for i, first in enumerate(names) for second in names[i + 1 :]]
    return {(a, b): float(np.corrcoef(residuals[a], residuals[b])[0, 1]) for a, b in pairs}


GEOMETRIC = ("faint", "median", "bright", "inner_to_outer", "c10", "ee", "bb")


def typical(skies: Sequence[Measured]) -> Measured:
    """Mean of each statistic over skies, the geometric one of those that scatter by factors."""
    means = {}
    for field in fields(Measured):
        values = np.array([getattr(sky, field.name) for sky in skies])
        geometric = field.name in GEOMETRIC and values.size > 0
        mean = np.exp(np.log(np.maximum(values, 1e-12)).mean(0)) if geometric else values.mean(0)
        means[field.name] = tuple(mean) if np.ndim(mean) else float(mean)
    return Measured(**means)
