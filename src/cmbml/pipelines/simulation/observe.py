"""What a channel observes of a sky, and the truth that cleaned maps are compared with."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_lmax, alm_to_map, filter_alm, map_to_alm
from cmbml.science.instrument import Channel
from cmbml.science.pixels import check_band_limit, npix_to_nside

Array = NDArray[Any]


def foreground_alm(maps: Array, lmax: int) -> Array:
    """Return the coefficients of an emission map up to `lmax`, by one quadrature.

    Iterations would be spent on little. For C_l falling as l^-3 and lmax up to 1.5 times the map's nside, one
    quadrature is off by 3e-3 (T) and 8e-3 (E, B) of the amplitude near lmax and by less below, and the error
    is the same linear map of the emission in every channel: a slightly other sky with unchanged spectra. What
    a map does not resolve is folded back whatever the iterations: at lmax of 2 times nside 2e-2, at 3 times
    more than 0.1. The remedy for that is emission at a higher resolution.

    Parameters
    ----------
    maps
        Shape (1, npix) for I or (3, npix) for I, Q, U.
    lmax
        Band limit, inclusive; at most 1.5 times the nside of `maps` to be accurate.

    Returns
    -------
    numpy.ndarray
        Shape (1, alm_size(lmax)) or (3, alm_size(lmax)).

    Raises
    ------
    ValueError
        If `lmax` is above 3 nside - 1 of `maps`.
    """
    return map_to_alm(maps, check_band_limit(lmax, npix_to_nside(maps.shape[-1])), iterations=0)


def observe(sky_alm: Array, channel: Channel, nside: int, noise: Array) -> Array:
    """Return beam * sky + noise; the signal ends at the sky's lmax, and no pixel window is applied.

    Parameters
    ----------
    sky_alm
        CMB and foregrounds at the channel's frequency: shape (1, alm_size) for T or (3, alm_size) for T, E,
        B, uK_CMB. Of a polarised sky, a channel without polarisation sees T.
    channel
        Its beam and fields.
    nside
        Resolution of the map.
    noise
        Shape (n_stokes, npix), uK_CMB.

    Returns
    -------
    numpy.ndarray
        Shape (n_stokes, npix), uK_CMB, RING, float32.

    Raises
    ------
    ValueError
        If the sky lacks a field that the channel measures, its lmax is above 3 nside - 1, or the noise has
        another shape than the map.
    """
    fields = len(channel.stokes)
    if len(sky_alm) < fields:
        raise ValueError(
            f"channel {channel.name}: measures {channel.stokes}, but the sky has only T; "
            "simulate polarisation or set the instrument's stokes to I"
        )
    signal = _beamed_map(sky_alm[:fields], channel.fwhm, nside)
    if noise.shape != signal.shape:
        raise ValueError(
            f"channel {channel.name}: noise has shape {noise.shape}, the map {signal.shape} (nside {nside})"
        )
    return (signal + noise).astype(np.float32)


def target_map(cmb_alm: Array, fwhm_arcmin: float, nside: int) -> Array:
    """Return the true CMB at the common target beam.

    Parameters
    ----------
    cmb_alm
        Shape (1, alm_size) for T or (3, alm_size) for T, E, B, uK_CMB.
    fwhm_arcmin
        Target beam.
    nside
        Resolution of the map.

    Returns
    -------
    numpy.ndarray
        Shape (1, npix) or (3, npix): I or I, Q, U; uK_CMB, RING, float32.

    Raises
    ------
    ValueError
        If lmax is above 3 nside - 1.
    """
    return _beamed_map(cmb_alm, fwhm_arcmin * ARCMIN, nside).astype(np.float32)


def _beamed_map(alm: Array, fwhm: float, nside: int) -> Array:
    """Return the map of coefficients under a Gaussian beam."""
    lmax = check_band_limit(alm_lmax(alm), nside)
    return alm_to_map(filter_alm(alm, beam_window(fwhm, lmax)), nside)
