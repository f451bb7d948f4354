"""Needlet families, and what a scale of each works with.

A family is a function that returns filters h_j(l) of shape (n_scales, lmax + 1)
whose squares add up to one at every multipole. `plan_scales` turns any such
filters into `Scale` objects by the rules of McCarthy & Hill (2023): which
channels resolve the scale, at which nside it is worked on, and over which
region its covariance is averaged.

References
----------
McCarthy, F. & Hill, J. C. 2023, arXiv:2307.01043.
Delabrouille, J. et al. 2009, A&A 493, 835, arXiv:0807.0773.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FEWEST_CHANNELS = 2
"""One constraint (unit response to the CMB) must leave at least one degree of freedom."""

TAPER_STEEPNESS = 0.025
"""Slope of the taper's tanh per multipole, as in McCarthy & Hill's published code."""


@dataclass(frozen=True)
class Scale:
    """One needlet scale and what its ILC works with."""

    index: int
    """Number of the scale, 0 for the largest angles."""
    window: Array
    """Filter h_j(l), shape (lmax + 1,)."""
    falling_multipole: int
    """Multipole that a channel's beam must resolve to be used."""
    nside: int
    """Resolution of the scale's coefficient maps."""
    channels: Array
    """Numbers of the channels used, ascending, shape (n_used,)."""
    covariance_fwhm: float
    """Full width at half maximum in radians of the Gaussian that averages the covariance."""

    @property
    def highest_multipole(self) -> int:
        """Highest multipole that the filter lets through."""
        return int(np.flatnonzero(self.window)[-1])

    @property
    def label(self) -> str:
        """Name of the scale for messages, with the multipoles it holds."""
        return scale_label(self.index, self.window)


def scale_label(index: int, window: Array) -> str:
    """Return the number of a scale and its range of multipoles in words."""
    held = np.flatnonzero(window)
    return f"needlet scale {index} (multipoles {held[0]} to {held[-1]})"


def cosine_needlets(peaks: Sequence[int], lmax: int) -> Array:
    """Return cosine needlets, one more than there are peaks.

    With l_0 = 0 and l_1 < l_2 < ... the peaks, the filter of scale j rises as
    cos(pi/2 (l_j - l) / (l_j - l_{j-1})) from l_{j-1} to l_j and falls as
    cos(pi/2 (l - l_j) / (l_{j+1} - l_j)) from there to l_{j+1}. The first
    filter only falls, from 1 at l = 0 to 0 at the first peak.

    Parameters
    ----------
    peaks
        Multipoles l_1, l_2, ..., strictly increasing, the last one lmax + 1.
    lmax
        Band limit, inclusive.

    Returns
    -------
    numpy.ndarray
        Shape (len(peaks) + 1, lmax + 1), float64; the squares add up to 1.

    Raises
    ------
    ValueError
        If the peaks do not increase from 1 or more, or do not end at lmax + 1.

    References
    ----------
    Basak, S. & Delabrouille, J. 2012, MNRAS 419, 1163, arXiv:1106.5383.
    McCarthy & Hill 2023, arXiv:2307.01043.
    """
    nodes = np.array([0, *check_peaks(peaks, lmax)])
    filters = np.zeros((len(nodes), lmax + 1))
    for j, (lower, upper) in enumerate(pairwise(nodes)):
        ell = np.arange(lower, upper)
        filters[j, ell] = np.cos(np.pi / 2 * (ell - lower) / (upper - lower))
        ell = ell[1:]  # the upper filter is 0 at the lower node, which its cosine misses by rounding
        filters[j + 1, ell] = np.cos(np.pi / 2 * (upper - ell) / (upper - lower))
    return filters


def check_peaks(peaks: Sequence[int], lmax: int) -> Sequence[int]:
    """Return the peaks of cosine needlets if filters can be built from them.

    Raises
    ------
    ValueError
        If the peaks do not increase from 1 or more, or do not end at lmax + 1.
    """
    if len(peaks) == 0 or peaks[0] < 1 or np.any(np.diff(peaks) <= 0):
        raise ValueError(f"peaks {tuple(peaks)}: must be multipoles of 1 or more that increase strictly")
    if peaks[-1] != lmax + 1:
        raise ValueError(
            f"peaks {tuple(peaks)}: the last peak must be lmax + 1 = {lmax + 1} (lmax is {lmax}), so that "
            "the squares of the filters add up to 1 at every multipole; change the last peak or lmax"
        )
    return peaks


def taper_window(width: int, lmax: int) -> Array:
    """Return a window that lowers the highest multipoles smoothly.

    It is 1 - (tanh(0.025 (l - (lmax - width))) + 1) / 2: a half at
    `width` multipoles below lmax. A width of 0 means no taper.

    Parameters
    ----------
    width
        Distance from lmax in multipoles, 0 or more.
    lmax
        Band limit, inclusive.

    Returns
    -------
    numpy.ndarray
        Shape (lmax + 1,), float64.
    """
    if width == 0:
        return np.ones(lmax + 1)
    ell = np.arange(lmax + 1)
    taper: Array = 1 - (np.tanh(TAPER_STEEPNESS * (ell - (lmax - width))) + 1) / 2
    return taper


def falling_multipoles(filters: Array, criterion: float) -> Array:
    """Return the multipole at which each filter has dropped to `criterion`.

    It is where |h_j - criterion| is smallest from the filter's maximum on. The
    last filter, which lmax cuts off, takes the value of the one before.

    Parameters
    ----------
    filters
        Shape (n_scales, lmax + 1).
    criterion
        Between 0 and 1.

    Returns
    -------
    numpy.ndarray
        Shape (n_scales,), int.
    """
    tops = np.argmax(filters, axis=-1)
    found = [top + np.argmin(np.abs(h[top:] - criterion)) for h, top in zip(filters, tops, strict=True)]
    return np.array([*found[:-1], found[max(len(found) - 2, 0)]])


def scale_nside(multipole: int, nside: int) -> int:
    """Return the smallest power of two above `multipole`, at most `nside`."""
    return min(1 << int(multipole).bit_length(), nside)


def covariance_fwhm(window: Array, n_channels: int, bias_tolerance: float) -> float:
    """Return the width of the Gaussian over which a scale's covariance is averaged.

    FWHM = sqrt(8 ln 2) sigma with sigma^2 = 2 (N_channels - 1) / (N_modes b),
    N_modes = sum (2l + 1) h_j(l)^2: wide enough that chance correlations of the
    CMB with the foregrounds cost no more than a fraction b of the CMB's power.

    Parameters
    ----------
    window
        Filter h_j(l), shape (lmax + 1,).
    n_channels
        Channels used at this scale, at least 2.
    bias_tolerance
        The fraction b, above 0.

    Returns
    -------
    float
        In radians.

    References
    ----------
    McCarthy & Hill 2023, arXiv:2307.01043, Eqs. (35) and (43).
    """
    n_modes = np.sum((2 * np.arange(len(window)) + 1) * window**2)
    variance = 2 * (n_channels - 1) / (n_modes * bias_tolerance)
    return float(np.sqrt(8 * np.log(2) * variance))


def plan_scales(
    filters: Array, beams: Array, *, nside: int, beam_criterion: float, bias_tolerance: float
) -> tuple[Scale, ...]:
    """Decide for each needlet scale the channels, the nside and the averaging region.

    A channel is used at a scale if its beam window drops to `beam_criterion`
    at or above the multipole where the scale's filter drops to it.

    Parameters
    ----------
    filters
        Shape (n_scales, lmax + 1).
    beams
        Beam windows b_l, shape (n_channels, lmax + 1).
    nside
        Resolution of the output, the highest that a scale may have.
    beam_criterion
        Between 0 and 1.
    bias_tolerance
        See `covariance_fwhm`.

    Raises
    ------
    ValueError
        If fewer than 2 channels resolve a scale.
    """
    falling = falling_multipoles(filters, beam_criterion)
    distance = np.abs(beams - beam_criterion)
    # The last of equal distances, so that a channel without a beam resolves everything.
    resolved = beams.shape[-1] - 1 - np.argmin(distance[:, ::-1], axis=-1)  # (n_channels,)
    scales = []
    for index, (window, multipole) in enumerate(zip(filters, falling, strict=True)):
        channels = np.flatnonzero(multipole <= resolved)
        if len(channels) < FEWEST_CHANNELS:
            raise ValueError(
                f"{scale_label(index, window)}: {len(channels)} of {len(beams)} channels have a beam window "
                f"that reaches l = {multipole} before it drops to beam_criterion {beam_criterion:g}; the ILC "
                f"needs at least {FEWEST_CHANNELS}: use channels with narrower beams, or lower "
                "beam_criterion, the peaks or lmax"
            )
        width = covariance_fwhm(window, len(channels), bias_tolerance)
        scales.append(Scale(index, window, int(multipole), scale_nside(multipole, nside), channels, width))
    return tuple(scales)
