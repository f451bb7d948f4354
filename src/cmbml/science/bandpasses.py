"""What a channel makes of an emission whose brightness depends on frequency.

A map in K_CMB is calibrated so that a fluctuation of the CMB reads the same in
every channel. An emission of brightness temperature T(nu), in K_RJ, so reads

    sum_i q_i T(nu_i),    q_i = d_i w_i r(nu_i) / sum_j d_j w_j c(nu_j),

with the response w to surface brightness, the steps d of the trapezoidal rule,
and the brightness r of 1 K_RJ and c of 1 K_CMB, both in Jy/sr.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cmbml.science.units import MAP_UNIT, unit_factor

if TYPE_CHECKING:
    from cmbml.science.instrument import Channel

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bandpass:
    """Response of a channel to frequency, linear between the frequencies given.

    Parameters
    ----------
    frequencies_ghz
        At least two, ascending, in GHz.
    weights
        Response to surface brightness (Jy/sr) at each, in any scale: only their
        ratios count. A response to brightness temperature (K_RJ) becomes one to
        surface brightness when it is divided by the square of the frequency.

    Raises
    ------
    ValueError
        If there are fewer than two frequencies, numbers of frequencies and
        weights differ, a frequency is not above the one before it or not above
        0, or a weight is negative, not finite, or all are 0.

    References
    ----------
    .. [1] Planck 2013 results IX, A&A 571, A9 (unit conversion over a band).

    Examples
    --------
    >>> Bandpass((100.0, 120.0), (1.0, 1.0)).on_grid(3).frequencies_ghz
    (100.0, 110.0, 120.0)
    """

    frequencies_ghz: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        frequencies, weights = np.array(self.frequencies_ghz), np.array(self.weights)
        if len(frequencies) < 2 or len(frequencies) != len(weights):
            raise ValueError(
                f"bandpass of {len(frequencies)} frequencies and {len(weights)} weights: needs at least two "
                "of each, and as many; for a single frequency leave the bandpass out"
            )
        band = f"bandpass from {frequencies[0]:g} to {frequencies[-1]:g} GHz"
        if not (frequencies[0] > 0 and np.all(np.diff(frequencies) > 0) and np.isfinite(frequencies[-1])):
            raise ValueError(
                f"{band}: frequencies must be above 0 and ascending; sort them and leave out those that "
                "occur twice"
            )
        if not (np.all(np.isfinite(weights)) and np.all(weights >= 0) and np.any(weights > 0)):
            raise ValueError(f"{band}: weights must be finite and not negative, and one must be above 0")

    @property
    def steps_ghz(self) -> Array:
        """Steps of the trapezoidal rule at each frequency, in GHz."""
        half = np.diff(self.frequencies_ghz) / 2
        steps: Array = np.append(half, 0) + np.append(0, half)
        return steps

    def on_grid(self, n: int) -> "Bandpass":
        """Return the bandpass on equally spaced frequencies, with the same integral and mean frequency.

        The response is averaged with triangles that reach to the neighbours, so
        that the average of a spectrum which is linear between two neighbours stays
        as it is.

        Parameters
        ----------
        n
            Number of frequencies, at least 2; they span the same range.
        """
        frequencies, weights = np.array(self.frequencies_ghz), np.array(self.weights)
        grid = np.linspace(frequencies[0], frequencies[-1], n)
        share = (frequencies - grid[0]) / (grid[1] - grid[0])  # place of each sample on the grid
        below = np.minimum(share.astype(int), n - 2)
        content = weights * self.steps_ghz
        sums = np.bincount(below, content * (below + 1 - share), n)
        sums += np.bincount(below + 1, content * (share - below), n)
        grid_frequencies = tuple(grid.tolist())
        unweighted = Bandpass(grid_frequencies, (1.0,) * n)
        return Bandpass(grid_frequencies, tuple((sums / unweighted.steps_ghz).tolist()))


@lru_cache(maxsize=256)
def band_quadrature(channel: "Channel") -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the frequencies in GHz and the factors q_i of a channel's sum over an emission in K_RJ.

    Returns
    -------
    tuple
        A delta bandpass has its centre frequency, and the factor from uK_RJ to
        uK_CMB there.
    """
    band = channel.bandpass
    if band is None:
        return (channel.frequency_ghz,), (_brightness("uK_RJ", channel.frequency_ghz, MAP_UNIT),)
    response = band.steps_ghz * np.array(band.weights)
    emission = np.array([_brightness("uK_RJ", frequency) for frequency in band.frequencies_ghz])
    calibration = np.array([_brightness(MAP_UNIT, frequency) for frequency in band.frequencies_ghz])
    factors = response * emission / np.sum(response * calibration)
    return band.frequencies_ghz, tuple(factors.tolist())


def _brightness(unit: str, frequency_ghz: float, to: str = "Jy/sr") -> float:
    return unit_factor(unit, to, frequency_ghz=frequency_ghz)


def brightness_response(channel: "Channel") -> float:
    """Return the surface brightness in MJy/sr that a channel reads of 1 K_CMB.

    Surface brightness is quoted at the centre frequency for a spectrum nu I_nu = const, as Planck does:
    sum_i d_i w_i c(nu_i) / sum_i d_i w_i (nu_centre / nu_i) over the band.

    References
    ----------
    .. [1] Planck 2013 results IX, A&A 571, A9 (unit conversion over a band).
    """
    band = channel.bandpass
    if band is None:
        return _brightness("K_CMB", channel.frequency_ghz, "MJy/sr")
    response = band.steps_ghz * np.array(band.weights)
    calibration = [_brightness("K_CMB", frequency, "MJy/sr") for frequency in band.frequencies_ghz]
    quoted = channel.frequency_ghz / np.array(band.frequencies_ghz)
    return float(np.sum(response * calibration) / np.sum(response * quoted))


def band_average(channel: "Channel", sed: Callable[[float], Any]) -> Any:
    """Return what a channel reads of a spectrum, in uK_CMB.

    Parameters
    ----------
    channel
        With a bandpass, or a delta bandpass at its centre frequency.
    sed
        The spectrum in uK_RJ as a function of the frequency in GHz: a number, or
        an array, such as one value per source.

    Returns
    -------
    float or numpy.ndarray
        As `sed` returns.
    """
    terms = (
        factor * sed(frequency)
        for frequency, factor in zip(*band_quadrature(channel), strict=True)
        if factor != 0
    )
    total = next(terms)
    for term in terms:
        total += term  # in place for arrays, which are as large as maps
    return total


def band_factor(channel: "Channel") -> float:
    """Return the number that turns a band-averaged map in uK_RJ into one in uK_CMB.

    Averaged as PySM does it: by the response to surface brightness, and then
    expressed as the temperature of a Rayleigh-Jeans spectrum of equal average.
    """
    return float(band_average(channel, lambda _: 1.0))
