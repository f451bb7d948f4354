"""Extragalactic radio sources: bright ones one by one, faint ones as Gaussian shot noise.

Fluxes follow published counts at 148 GHz, every source has a spectrum of its own,
and positions are those of a Poisson process: sources do not cluster.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.simulation.radio_counts import COUNTS, REFERENCE_GHZ, draw_fluxes, moment
from cmbml.science.bandpasses import band_average
from cmbml.science.harmonics import draw_white_alm
from cmbml.science.instrument import Channel
from cmbml.science.pixels import npix_to_nside
from cmbml.science.seeds import generator_of
from cmbml.science.units import unit_factor

Array = NDArray[Any]

INDEX_BELOW = -0.39
"""Mean of alpha in S ~ nu^alpha below 148 GHz: sources that ACT finds there, against 20 GHz.

Marriage et al. 2011, ApJ 731, 100, abstract.
"""

INDEX_ABOVE, INDEX_SCATTER = -0.6, 0.3
"""Mean of alpha above 148 GHz, and its standard deviation on both sides.

With them the counts give the shot noise of radio sources that Planck 2013 results XXX
(A&A 571, A30), Table 7, has from 143 to 857 GHz, within 5 per cent.
"""

MEAN_SQUARE_POLARISATION = 8.9e-4
"""Mean of the squared polarisation fraction, the same at every flux and frequency.

Gupta et al. 2019, MNRAS 490, 5712, abstract (95 GHz).
"""

DRAWN_FROM_JY = 0.01
"""Flux at 148 GHz from which sources are drawn one by one: 2e4 on the sky, with 97 per cent of the power."""

FAINT_MODES = 2
"""Number of Gaussian fields of faint sources: terms of the series in `_mode`."""


@dataclass(frozen=True)
class RadioSources:
    """The sources of one sky.

    Parameters
    ----------
    flux_jy
        Of each bright source at 148 GHz, shape (n_sources,).
    index_deviation
        By how much its alpha is above the mean, shape (n_sources,).
    polarisation
        Its fractions Q/I and U/I, shape (2, n_sources).
    direction
        Its height z = cos(theta) and longitude phi, shape (2, n_sources).
    faint
        White coefficients of the faint sources, shape (modes, 1 | 3, alm_size),
        Jy/sr at 148 GHz.
    """

    flux_jy: Array
    index_deviation: Array
    polarisation: Array
    direction: Array
    faint: Array

    def fluxes(self, frequency_ghz: float) -> Array:
        """Return the fluxes of the bright sources at a frequency in Jy, shape (n_sources,)."""
        logarithm = np.log(frequency_ghz / REFERENCE_GHZ)
        fluxes: Array = self.flux_jy * np.exp((_mean_index(frequency_ghz) + self.index_deviation) * logarithm)
        return fluxes

    def add_to_map(self, total: Array, channel: Channel) -> None:
        """Add the bright sources, each to the pixel it is in.

        The quadrature of a map takes a source to be at the centre of its pixel:
        it keeps its flux, and moves by half a pixel at most.

        Parameters
        ----------
        total
            Shape (1 | 3, npix), uK_CMB, RING; changed in place.
        channel
            The channel.
        """
        z, phi = self.direction
        pixel = hp.ang2pix(npix_to_nside(total.shape[1]), np.arccos(z), phi)
        area = 4 * np.pi / total.shape[1]
        brightness = band_average(channel, lambda ghz: self.fluxes(ghz) / area * _kelvin(ghz))
        for row, share in zip(total, (1, *self.polarisation), strict=False):
            np.add.at(row, pixel, (share * brightness).astype(row.dtype))

    def add_to_alm(self, total: Array, channel: Channel) -> None:
        """Add the faint sources.

        Parameters
        ----------
        total
            Shape (1 | 3, alm_size), uK_CMB; changed in place.
        channel
            The channel.
        """
        for order, alm in enumerate(self.faint):
            factor = band_average(channel, partial(_mode_temperature, order))
            total += np.float32(factor) * alm[: len(total)]


def _kelvin(frequency_ghz: float) -> float:
    return unit_factor("Jy/sr", "uK_RJ", frequency_ghz=frequency_ghz)


def _mean_index(frequency_ghz: float) -> float:
    return INDEX_BELOW if frequency_ghz < REFERENCE_GHZ else INDEX_ABOVE


def _mode_temperature(order: int, frequency_ghz: float) -> float:
    return _mode(order, frequency_ghz) * _kelvin(frequency_ghz)


def _mode(order: int, frequency_ghz: float) -> float:
    """Return the weight of a Gaussian field of the faint sources at a frequency.

    For alpha normal with mean m and deviation s, and x = ln(nu / 148 GHz),

        <nu^alpha nu'^alpha> = sum_k h_k(x) h_k(x'),    h_k = e^(m x + s^2 x^2 / 2) (s x)^k / sqrt(k!),

    so that independent fields with the weights h_k have the covariance of the
    sources over frequency. Two terms give its diagonal to 4 per cent up to 857 GHz.
    """
    x = np.log(frequency_ghz / REFERENCE_GHZ)
    spread = INDEX_SCATTER * x
    # sqrt(k!) is 1 for the two terms that are used
    return float(np.exp(_mean_index(frequency_ghz) * x + spread**2 / 2) * spread**order)


def draw_radio_sources(seed: int, flux_cut_jy: float, *, lmax: int, polarised: bool) -> RadioSources:
    """Draw the sources of one sky, which do not depend on the channels.

    Parameters
    ----------
    seed
        Seed of this sky.
    flux_cut_jy
        Flux at 148 GHz above which sources are left out, as a survey masks them;
        a lower cut takes sources away and changes no other.
    lmax
        Band limit of the faint sources, inclusive.
    polarised
        Whether to draw polarisation of the faint sources; I does not depend on it.
    """

    def generator(*key: str) -> np.random.Generator:
        return generator_of(seed, "radio", *key)

    brightest = COUNTS[-1][0]
    number = int(generator("number").poisson(4 * np.pi * moment(0, DRAWN_FROM_JY, brightest)))
    flux = draw_fluxes(generator("flux"), number, DRAWN_FROM_JY)
    kept = flux < flux_cut_jy
    direction = generator("direction").random((2, number))
    deviation = np.sqrt(MEAN_SQUARE_POLARISATION / 2)
    return RadioSources(
        flux_jy=flux[kept],
        index_deviation=INDEX_SCATTER * generator("index").standard_normal(number)[kept],
        polarisation=deviation * generator("polarisation").standard_normal((2, number))[:, kept],
        direction=(np.array([[2], [2 * np.pi]]) * direction - np.array([[1], [0]]))[:, kept],
        faint=_draw_faint(seed, min(flux_cut_jy, DRAWN_FROM_JY), lmax=lmax, polarised=polarised),
    )


def _draw_faint(seed: int, below_jy: float, *, lmax: int, polarised: bool) -> Array:
    """Draw the white coefficients of all sources fainter than a flux, without monopole."""
    intensity = np.sqrt(moment(2, COUNTS[0][0], below_jy))  # Jy / sqrt(sr)
    levels = {"T": intensity}
    if polarised:
        level = intensity * np.sqrt(MEAN_SQUARE_POLARISATION / 2)
        levels |= {"E": level, "B": level}
    faint = np.stack(
        [
            [
                np.float32(level)
                * draw_white_alm(generator_of(seed, "radio", "faint", field, str(mode)), lmax)
                for field, level in levels.items()
            ]
            for mode in range(FAINT_MODES)
        ]
    )
    faint[:, 0, 0] = 0
    if polarised:
        faint[:, 1:, [0, 1, lmax + 1]] = 0  # E and B begin at l = 2
    return faint
