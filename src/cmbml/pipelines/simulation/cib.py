"""The cosmic infrared background: dusty galaxies that no channel resolves, as a Gaussian field.

Three populations, the farther the colder as they are observed, have a modified black
body of one temperature each. Their sum has the published auto- and cross-spectra from
100 to 857 GHz, and so the published decorrelation between channels too: nearer galaxies
dominate at high frequencies. `docs/derivations/cib_populations.py` fits temperatures
and spectra of the populations, and prints how well they do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.constants import h, k

from cmbml.science.bandpasses import band_average
from cmbml.science.harmonics import draw_white_alm, filter_alm
from cmbml.science.instrument import Channel
from cmbml.science.seeds import generator_of
from cmbml.science.units import unit_factor

Array = NDArray[Any]

EMISSIVITY_INDEX = 1.7
"""Of all populations; Planck 2013 results XXX, A&A 571, A30, Table 9, has 1.75 +- 0.06."""

_KELVIN_PER_GHZ = h * 1e9 / k


@dataclass(frozen=True)
class Population:
    """Galaxies of one observed temperature.

    Parameters
    ----------
    name
        What its draw is keyed by.
    temperature_kelvin
        Of the modified black body as it is observed, redshift included.
    reference_ghz
        Frequency at which its spectrum is given.
    clustered
        C_l at `NODES`, Jy^2/sr at the reference frequency.
    shot
        C_l of the shot noise, Jy^2/sr at the reference frequency.
    """

    name: str
    temperature_kelvin: float
    reference_ghz: float
    clustered: tuple[float, ...]
    shot: float

    def brightness(self, frequency_ghz: float) -> float:
        """Return the surface brightness, 1 at the reference frequency."""
        return _black_body(self, frequency_ghz) / _black_body(self, self.reference_ghz)

    def temperature(self, frequency_ghz: float) -> float:
        """Return the brightness temperature in uK_RJ of 1 Jy/sr at the reference frequency."""
        return self.brightness(frequency_ghz) * unit_factor("Jy/sr", "uK_RJ", frequency_ghz=frequency_ghz)


def _black_body(population: Population, frequency_ghz: float) -> float:
    """Return nu^(3 + beta) / (exp(h nu / k T) - 1), up to a constant."""
    exponent = _KELVIN_PER_GHZ * frequency_ghz / population.temperature_kelvin
    return float(frequency_ghz ** (3 + EMISSIVITY_INDEX) / np.expm1(exponent))


NODES = (50, 77, 96, 119, 183, 283, 436, 672, 1036, 1598, 2463, 3797, 5254)
"""Multipoles at which the spectra are tabulated; constant below and above them."""

# fmt: off
POPULATIONS = (
    Population(
        "near", 21.4, 857.0,
        (2.037e5, 1.568e5, 1.280e5, 1.013e5, 6.468e4, 3.663e4, 1.799e4, 9033.0, 5416.0, 3484.0, 2722.0,
         2358.0, 2164.0),
        1964.0,
    ),
    Population(
        "middle", 10.6, 545.0,
        (7.649e4, 7.692e4, 7.183e4, 6.357e4, 4.431e4, 3.034e4, 1.708e4, 9427.0, 4502.0, 2283.0, 1270.0,
         828.6, 674.4),
        993.9,
    ),
    Population(
        "far", 5.6, 217.0,
        (2.223, 9.953, 13.62, 15.67, 13.03, 9.897, 7.634, 4.279, 1.976, 0.9822, 0.4050, 0.1440, 0.05926),
        5.926,
    ),
)
# fmt: on
"""Fit to the best extended halo model and to the shot noise of Planck 2013 results XXX.

The published spectra are calibrated for a source of constant nu I_nu; the fit takes
out the colour corrections of the CIB and is for a delta bandpass.
"""


@lru_cache(maxsize=8)
def population_spectra(lmax: int) -> Array:
    """Return C_l of the populations, clustered and shot noise together.

    Returns
    -------
    numpy.ndarray
        Shape (3, lmax + 1), Jy^2/sr at the reference frequencies; 0 at l = 0.
    """
    ell = np.log(np.maximum(np.arange(lmax + 1), 1))
    spectra = np.stack(
        [np.exp(np.interp(ell, np.log(NODES), np.log(p.clustered))) + p.shot for p in POPULATIONS]
    )
    spectra[:, 0] = 0
    return spectra


def cib_spectrum(channel: Channel, other: Channel, lmax: int) -> Array:
    """Return the expected cross-spectrum of two channels.

    Returns
    -------
    numpy.ndarray
        Shape (lmax + 1,), uK_CMB^2.
    """
    factors = _factors(channel) * _factors(other)
    total: Array = factors @ population_spectra(lmax)
    return total


def _factors(channel: Channel) -> Array:
    """Return what a channel reads of 1 Jy/sr of each population, in uK_CMB."""
    seds: list[Callable[[float], float]] = [population.temperature for population in POPULATIONS]
    return np.array([band_average(channel, sed) for sed in seds])


@dataclass(frozen=True)
class CIB:
    """The background of one sky.

    Parameters
    ----------
    alm
        Coefficients of the populations, shape (3, alm_size), Jy/sr at their
        reference frequencies.
    """

    alm: Array

    def add_to_map(self, total: Array, channel: Channel) -> None:
        """Add nothing: the background is made of coefficients only."""

    def add_to_alm(self, total: Array, channel: Channel) -> None:
        """Add the background as a channel sees it.

        Parameters
        ----------
        total
            Shape (1 | 3, alm_size), uK_CMB; changed in place. Only T is added to.
        channel
            The channel.
        """
        for factor, alm in zip(_factors(channel), self.alm, strict=True):
            total[0] += np.float32(factor) * alm


def draw_cib(seed: int, lmax: int) -> CIB:
    """Draw the background of one sky, which does not depend on the channels.

    Parameters
    ----------
    seed
        Seed of this sky.
    lmax
        Band limit, inclusive; lower multipoles do not depend on it.
    """
    white = [draw_white_alm(generator_of(seed, "cib", p.name), lmax) for p in POPULATIONS]
    return CIB(filter_alm(np.stack(white), np.sqrt(population_spectra(lmax))))
