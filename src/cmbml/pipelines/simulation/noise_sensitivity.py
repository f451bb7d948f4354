"""White noise with the sensitivity of each channel, deeper where a scan looks longer."""

from functools import lru_cache
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.simulation.settings import NoiseSettings
from cmbml.science.beams import ARCMIN
from cmbml.science.instrument import Channel
from cmbml.science.pixels import nside_to_npix
from cmbml.science.seeds import generator_of

Array = NDArray[Any]

OPENING_ANGLE = np.radians(85.0)
"""Angle between spin axis and line of sight of Planck (Planck early results I, A&A 536, A1, section 2)."""

PRECESSION = np.radians(7.5)
"""Amplitude with which Planck's spin axis leaves the ecliptic plane (same section)."""

_BAND = np.radians(1.0)
"""Width in latitude over which the density is averaged; a real focal plane is several degrees wide."""

_SPIN_AXES = 2000
"""Positions of the spin axis that are averaged; ten times as many change no band by more than 2e-4."""


def white_noise(channel: Channel, nside: int, *, seed: int, settings: NoiseSettings) -> Array:
    """Draw the noise of one channel.

    Gaussian, independent from pixel to pixel and field to field, with the standard deviation
    level / sqrt(pixel area) / sqrt(relative hits).

    Parameters
    ----------
    channel
        Its fields and noise levels.
    nside
        Resolution of the map.
    seed
        Seed of this simulation's noise; every channel and Stokes field has a stream of its own.
    settings
        Scale of the levels, and strength of the scan's imprint.

    Returns
    -------
    numpy.ndarray
        Shape (n_stokes, npix), uK_CMB, float32: I, or I, Q, U. Zeros if the scale is 0.

    Raises
    ------
    ValueError
        If a level of the channel is not known and the scale is not 0.
    """
    noise = np.zeros((len(channel.stokes), nside_to_npix(nside)), np.float32)
    if settings.scale == 0:
        return noise
    area = 4 * np.pi / noise.shape[1] / ARCMIN**2  # of a pixel, arcmin^2
    uneven = unevenness(nside, settings.anisotropy)
    for row, stokes in enumerate(channel.stokes):
        sigma = settings.scale * channel.noise_level(stokes) / np.sqrt(area)  # of a pixel, uK_CMB
        noise[row] = np.float32(sigma) * uneven * white_field(seed, channel.name, stokes, nside)
    return noise


def white_field(seed: int, channel: str, stokes: str, nside: int) -> Array:
    """Draw the standard normal numbers of one Stokes field of a channel.

    Parameters
    ----------
    seed
        Seed of the simulation's noise.
    channel, stokes
        Name of the channel, and "I", "Q" or "U": each has a stream of its own, the same for every kind of
        noise.
    nside
        Resolution.

    Returns
    -------
    numpy.ndarray
        Shape (npix,), float32.
    """
    return generator_of(seed, channel, stokes).standard_normal(nside_to_npix(nside), dtype=np.float32)


def unevenness(nside: int, anisotropy: float) -> Array:
    """Return the relative standard deviation of every pixel, 1 / sqrt(hits), shape (npix,), float32."""
    uneven: Array = 1 / np.sqrt(hit_pattern(nside, anisotropy), dtype=np.float32)
    return uneven


@lru_cache(maxsize=4)
def hit_pattern(nside: int, anisotropy: float) -> Array:
    """Return the relative number of hits of every pixel by a scan like Planck's.

    The line of sight circles at 85 degrees around a spin axis that follows the Sun, and leaves the ecliptic
    plane by up to 7.5 degrees. Averaged over ecliptic longitude that is, for an axis in the plane, the
    density 1 / sqrt(sin(85 deg)^2 - sin(beta)^2) at ecliptic latitude beta: deep around the ecliptic poles,
    shallow at the ecliptic.

    Parameters
    ----------
    nside
        Resolution.
    anisotropy
        Power to which the density is taken: 0 is a uniform sky, 1 the scan as described.

    Returns
    -------
    numpy.ndarray
        Shape (npix,), RING, Galactic, not to be written to. The mean of 1 / hits is 1, so that the variance
        of noise, averaged over the sky, is that of the quoted level.
    """
    edges, density = _scan_density()
    pixels = hp.pix2vec(nside, np.arange(nside_to_npix(nside)))
    _, _, height = hp.Rotator(coord=["G", "E"])(pixels)  # sine of the ecliptic latitude
    centres = (edges[1:] + edges[:-1]) / 2
    latitude = np.arcsin(np.clip(height, -1, 1))
    hits: Array = np.interp(latitude, centres, density) ** anisotropy
    hits *= np.mean(1 / hits)
    hits.flags.writeable = False
    return hits


def _scan_density() -> tuple[Array, Array]:
    """Return edges of bands in ecliptic latitude, and the density of hits in each.

    Around an axis at latitude d, a circle of radius t has sin(beta) = sin d cos t + cos d sin t cos(psi) with
    psi even, so that the fraction below beta is 1 - arccos((sin(beta) - sin d cos t) / (cos d sin t)) / pi.
    """
    axis = PRECESSION * np.sin(2 * np.pi * (np.arange(_SPIN_AXES) + 0.5) / _SPIN_AXES)[:, None]
    edges = np.linspace(-np.pi / 2, np.pi / 2, round(np.pi / _BAND) + 1)
    height = (np.sin(edges) - np.sin(axis) * np.cos(OPENING_ANGLE)) / (np.cos(axis) * np.sin(OPENING_ANGLE))
    below = 1 - np.arccos(np.clip(height, -1, 1)).mean(axis=0) / np.pi  # (n_edges,)
    return edges, np.diff(below) / np.diff(np.sin(edges))
