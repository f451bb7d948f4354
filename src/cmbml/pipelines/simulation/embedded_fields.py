"""Random fields on the sphere from which the embedded sky is made.

Every field is drawn multipole by multipole, so that its low multipoles do not
depend on the band limit: the same seed gives the same sky at every resolution.
Fields are single precision, RING order, and have mean 0 and variance 1 as an
average over skies, with all multipoles up to `REFERENCE_LMAX`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.science.harmonics import draw_white_alm, filter_alm, synthesise
from cmbml.science.pixels import nside_to_npix
from cmbml.science.seeds import generator_of

Array = NDArray[Any]

REFERENCE_LMAX = 191
"""Band limit up to which variances are counted: 3 nside - 1 of the templates that were measured."""

ENDS_AT = 4
"""Multiple of its cut at which a smooth field ends: its amplitude is down to exp(-8)."""

MODULATION = 1.2
"""Steepness of the switch that makes some regions rich in walls and others poor."""


@dataclass(frozen=True)
class Spectrum:
    """Shape of an angular power spectrum.

    C_l ~ (l^2 + knee^2)^(slope/2) exp(-l^2/cut^2) from `lmin` on, 0 below.

    Parameters
    ----------
    slope
        Power of l above the knee.
    knee
        Multipole below which the spectrum flattens.
    cut
        Multipole at which a smooth field ends; infinite for a rough one.
    lmin
        Lowest multipole.
    """

    slope: float
    knee: float = 2.0
    cut: float = np.inf
    lmin: int = 1


@lru_cache(maxsize=64)
def spectrum_amplitude(spectrum: Spectrum, lmax: int) -> Array:
    """Return sqrt(C_l) of a field of variance 1, shape (lmax + 1,).

    The variance sum_l (2l+1) C_l / 4 pi is counted up to `REFERENCE_LMAX`.
    """
    ell = np.arange(max(lmax, REFERENCE_LMAX) + 1.0)
    power = (ell**2 + spectrum.knee**2) ** (spectrum.slope / 2)
    power *= np.exp(-((ell / spectrum.cut) ** 2)) * (ell >= spectrum.lmin)
    variance = ((2 * ell + 1) * power)[: REFERENCE_LMAX + 1].sum() / (4 * np.pi)
    amplitude: Array = np.sqrt(power / variance)[: lmax + 1]
    return amplitude


@lru_cache(maxsize=64)
def missing_variance(spectrum: Spectrum, lmax: int) -> float:
    """Return the variance of a field between `lmax` and `REFERENCE_LMAX`; negative above it."""
    ell = np.arange(lmax + 1)
    return float(1 - ((2 * ell + 1) * spectrum_amplitude(spectrum, lmax) ** 2).sum() / (4 * np.pi))


def unit_alm(lmax: int, seed: int, *key: str) -> Array:
    """Draw coefficients of unit power, C_l = 1.

    Parameters
    ----------
    lmax
        Band limit, inclusive.
    seed, *key
        What the draw belongs to, see `cmbml.science.seeds.seed_of`.

    Returns
    -------
    numpy.ndarray
        Shape (alm_size(lmax),), complex64. Those up to a lower band limit
        are the same numbers as a draw with that band limit.
    """
    return draw_white_alm(generator_of(seed, *key), lmax)


def gaussian_field(spectrum: Spectrum, nside: int, lmax: int, seed: int, *key: str) -> Array:
    """Draw a Gaussian field of one spectrum, shape (npix,)."""
    lmax = int(min(lmax, np.ceil(ENDS_AT * spectrum.cut)))
    return synthesise(filter_alm(unit_alm(lmax, seed, *key), spectrum_amplitude(spectrum, lmax)), nside)


@dataclass(frozen=True)
class Wall:
    """Bright walls: the neighbourhood of one contour of a smooth Gaussian field.

    Parameters
    ----------
    spectrum
        Of the smooth field; its cut sets how strongly the walls are bent.
    level
        Value of the field on the wall.
    inside, outside
        Change of the field over which the brightness falls by e, above and
        below the level. Unequal ones make a shell with a sharp edge.
    """

    spectrum: Spectrum
    level: float
    inside: float
    outside: float

    def profile(self, field: Array) -> Array:
        """Return the brightness at each value of the field, 1 on the wall."""
        excess = field - np.float32(self.level)
        profile: Array = np.exp(
            np.minimum(-excess / np.float32(self.inside), excess / np.float32(self.outside))
        )
        return profile

    def moments(self) -> tuple[float, float]:
        """Return mean and standard deviation of the profile over a unit Gaussian field."""
        return _gaussian_moments(self.profile)


def _gaussian_moments(function: Any) -> tuple[float, float]:
    """Return mean and standard deviation of a function of a unit Gaussian."""
    points = np.linspace(-6, 6, 4001)
    weights = np.exp(-(points**2) / 2)
    values = function(points)
    mean = float(np.average(values, weights=weights))
    return mean, float(np.sqrt(np.average((values - mean) ** 2, weights=weights)))


def wall_field(wall: Wall, nside: int, lmax: int, seed: int, *key: str) -> Array:
    """Draw a field of bright walls, richer in some regions than in others.

    Returns
    -------
    numpy.ndarray
        Shape (npix,), mean 0 and variance 1 over skies, skewed to the bright side.
    """
    smooth = gaussian_field(wall.spectrum, nside, lmax, seed, *key, "contour")
    region = gaussian_field(Spectrum(slope=-3.0, knee=3.0, cut=30.0), nside, lmax, seed, *key, "region")
    richness = 1 + np.tanh(MODULATION * region)
    _, spread = _gaussian_moments(lambda x: np.tanh(MODULATION * x))
    mean, deviation = wall.moments()
    scale = np.float32(1 / (deviation * np.sqrt(1 + spread**2)))
    field: Array = (wall.profile(smooth) - np.float32(mean)) * richness * scale
    return field


@lru_cache(maxsize=2)
def _directions(nside: int) -> Array:
    """Return the unit vector of every pixel, shape (3, npix)."""
    return np.array(hp.pix2vec(nside, np.arange(nside_to_npix(nside))), np.float32)


def _random_direction(rng: np.random.Generator) -> Array:
    vector = rng.standard_normal(3)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def _cosine(direction: Array, directions: Array) -> Array:
    """Return the cosine of the angle to every pixel; written out, as a matrix product would start threads."""
    cosine: Array = direction[0] * directions[0] + direction[1] * directions[1] + direction[2] * directions[2]
    return cosine


def loop_field(count: int, nside: int, seed: int, *key: str) -> Array:
    """Draw large circular loops, such as old supernova shells make in radio maps.

    Each has a centre and a radius of 12 to 60 degrees, falls off over 8 degrees
    inwards and 2 outwards, and is brighter on one side.

    Returns
    -------
    numpy.ndarray
        Shape (npix,), mean 0 on this sky; a bright rim reaches about 1.
    """
    rng = generator_of(seed, *key)
    directions = _directions(nside)
    total = np.zeros(directions.shape[1], np.float32)
    for _ in range(count):
        radius, brightness = np.deg2rad(rng.uniform(12, 60)), np.float32(rng.uniform(0.4, 1.0))
        centre, bright_side = _random_direction(rng), _random_direction(rng)
        # to first order in it, the distance from the rim; further away the rim is faint
        distance = np.rad2deg((np.cos(radius) - _cosine(centre, directions)) / np.sin(radius))
        rim = np.exp(np.minimum(distance / 8, -distance / 2))
        total += brightness * rim * np.clip(0.5 + 0.8 * _cosine(bright_side, directions), 0, None)
    total -= total.mean()
    return total
