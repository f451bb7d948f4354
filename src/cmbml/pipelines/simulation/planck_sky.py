"""Planck's maps as a simulation, and the foregrounds they hold.

Planck's maps are averages over pixels of the sky under Planck's beams, in NESTED
order, in K_CMB or MJy/sr. Here they become coefficients in uK_CMB without pixel
window, from which maps at other beams and resolutions are made.
"""

from collections.abc import Mapping
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.partitions import Loader, load_part
from cmbml.pipelines.simulation.planck_settings import PlanckMaps
from cmbml.pipelines.simulation.settings import Maps, Target
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_size, alm_to_map, filter_alm, map_to_alm
from cmbml.science.instrument import Channel, Instrument, Observations
from cmbml.science.pixel_window import pixel_window
from cmbml.science.pixels import check_band_limit
from cmbml.science.skymap import SkyMap, beam_header, is_unseen
from cmbml.science.units import MAP_UNIT, Calibration, parse_unit

Array = NDArray[Any]


def fill_unseen(maps: Array) -> Array:
    """Return maps in which pixels without a value have the mean of their neighbours.

    From the edge of a hole inwards: each round fills the pixels that have at
    least one neighbour with a value, by the mean of those that have.

    Parameters
    ----------
    maps
        Shape (n_fields, npix), RING. They are not changed.

    Raises
    ------
    ValueError
        If a field has no pixel with a value.
    """
    filled = maps.copy()
    nside = hp.npix2nside(maps.shape[-1])
    for row in filled:
        missing = np.flatnonzero(is_unseen(row))
        if missing.size == row.size:
            raise ValueError("a field has no pixel with a value; the file is not what it should be")
        while missing.size:
            neighbours = hp.get_all_neighbours(nside, missing)  # (8, n), -1 where there is none
            known = (neighbours >= 0) & ~is_unseen(row[neighbours])
            count = known.sum(axis=0)
            ready = count > 0
            sums = np.where(known, row[neighbours].astype(np.float64), 0).sum(axis=0)
            row[missing[ready]] = sums[ready] / count[ready]
            missing = missing[~ready]
    return filled


def in_thermodynamic_unit(sky: SkyMap, channel: str, planck: PlanckMaps) -> SkyMap:
    """Return a map of Planck in uK_CMB.

    Maps in MJy/sr are divided by the channel's published response to the CMB,
    which its whole band went into: at 857 GHz it is 2.27 MJy/sr per K_CMB, and
    1.26 at the centre frequency.

    Raises
    ------
    ValueError
        If a map is in surface brightness, and the response of its channel is not stated.
    """
    if parse_unit(sky.unit).base != "Jy/sr":
        return sky.in_unit(MAP_UNIT)
    response = planck.mjy_per_k(channel)
    if response is None:
        raise ValueError(
            f"channel {channel}: its map is in {sky.unit}, and its response in MJy/sr per K_CMB is not "
            "known; only planck.mjy_per_k_545 and planck.mjy_per_k_857 can be stated"
        )
    factor = Calibration(np.nan, response).factor(sky.unit, MAP_UNIT)
    return SkyMap(np.where(is_unseen(sky.values), sky.values, sky.values * np.float32(factor)), MAP_UNIT)


def measured_alm(sky: SkyMap, *, fields: int, lmax: int) -> Array:
    """Return the coefficients of a measured map, under its beam, without pixel window.

    Monopole and dipole stay.

    Parameters
    ----------
    sky
        I, or I, Q, U, uK_CMB; pixels without a value are filled first.
    fields
        1 for T, 3 for T, E, B.
    lmax
        Band limit, inclusive.

    Returns
    -------
    numpy.ndarray
        Shape (fields, alm_size), complex64.

    Raises
    ------
    ValueError
        If the map lacks a field, or cannot carry lmax.
    """
    if len(sky.values) < fields:
        raise ValueError(f"the map holds {sky.stokes}, but I, Q and U are wanted; set the global stokes to I")
    check_band_limit(lmax, sky.nside)
    alm = map_to_alm(fill_unseen(sky.values[:fields]), lmax)
    return filter_alm(alm, 1 / pixel_window(sky.nside, lmax))


def channel_observation(
    sky: SkyMap, *, own: Channel, seen_by: Channel, planck: PlanckMaps, maps: Maps
) -> Array:
    """Return one of Planck's maps as another instrument's channel would show it.

    Parameters
    ----------
    sky
        Planck's map.
    own
        Planck's channel, for its beam.
    seen_by
        The channel to show it in: a beam at least as wide.
    planck
        What is known of Planck's maps.
    maps
        Resolution and band limit.

    Returns
    -------
    numpy.ndarray
        Shape (n_stokes, npix), uK_CMB, RING, float32.

    Raises
    ------
    ValueError
        If the channel's beam is narrower than Planck's; otherwise as `measured_alm`.
    """
    if seen_by.fwhm_arcmin < own.fwhm_arcmin:
        raise ValueError(
            f"channel {own.name}: Planck's beam of {own.fwhm_arcmin:g} arcmin is wider than the instrument's "
            f"{seen_by.fwhm_arcmin:g} arcmin, and maps are not sharpened; raise instrument.fwhm_floor_arcmin"
        )
    thermodynamic = in_thermodynamic_unit(sky, own.name, planck)
    alm = measured_alm(thermodynamic, fields=len(seen_by.stokes), lmax=maps.lmax)
    window = _beam_between(own.fwhm_arcmin, seen_by.fwhm_arcmin, maps.lmax)
    return alm_to_map(filter_alm(alm, window), maps.nside).astype(np.float32)


def planck_observations(
    simulation: str,
    planck_maps: Mapping[str, Loader],
    *,
    own: Instrument,
    instrument: Instrument,
    planck: PlanckMaps,
    maps: Maps,
) -> Observations:
    """Return Planck's sky as if it were a simulation: all channels of an instrument.

    Parameters
    ----------
    simulation
        Its name; there is one sky only.
    planck_maps
        {channel: loader of Planck's map}; one at a time is in memory.
    own
        Planck, for its beams.
    instrument
        The channels to show it in.
    planck, maps
        As in `channel_observation`.
    """
    observed = {}
    for channel in instrument:
        sky = load_part(planck_maps[channel.name], stokes=channel.stokes)
        observed[channel.name] = channel_observation(
            sky, own=own[channel.name], seen_by=channel, planck=planck, maps=maps
        )
    return Observations(observed, dict.fromkeys(observed, MAP_UNIT))


def planck_truth(
    simulation: str, planck_nilc: SkyMap, *, planck: PlanckMaps, target: Target, polarised: bool
) -> SkyMap:
    """Return the NILC map of the CMB at the common target beam, where the truth of a simulation stands.

    Raises
    ------
    ValueError
        If the target's beam is narrower than the map's; otherwise as `measured_alm`.
    """
    if target.fwhm_arcmin < planck.nilc_fwhm_arcmin:
        raise ValueError(
            f"the NILC map has a beam of {planck.nilc_fwhm_arcmin:g} arcmin, wider than the target's "
            f"{target.fwhm_arcmin:g} arcmin; raise target_fwhm_arcmin"
        )
    alm = measured_alm(planck_nilc.in_unit(MAP_UNIT), fields=3 if polarised else 1, lmax=target.lmax)
    window = _beam_between(planck.nilc_fwhm_arcmin, target.fwhm_arcmin, target.lmax)
    return SkyMap(
        alm_to_map(filter_alm(alm, window), target.nside).astype(np.float32),
        MAP_UNIT,
        header=beam_header(target.fwhm_arcmin, target.lmax),
    )


def planck_foregrounds(
    planck_maps: Mapping[str, Loader],
    planck_nilc: Loader,
    *,
    own: Instrument,
    instrument: Instrument,
    planck: PlanckMaps,
    lmax: int,
) -> dict[str, Array]:
    """Return what is left of Planck's channels without the CMB, as foregrounds that simulations share.

    The NILC map is brought to the channel's beam and subtracted, and the beam is
    taken out of the rest, a_lm b / (b^2 + floor). Planck's noise is in it, and
    so is what the NILC map holds beside the CMB, with the opposite sign.

    Parameters
    ----------
    planck_maps
        {channel: loader of Planck's map}; one at a time is in memory.
    planck_nilc
        Loader of the NILC map of the CMB.
    own
        Planck, for its beams.
    instrument
        The channels.
    planck
        What is known of Planck's maps.
    lmax
        Band limit, inclusive.

    Returns
    -------
    dict
        As `fixed_foregrounds` returns it, with one component, "planck".
    """
    fields = 3 if instrument.is_polarised else 1
    nilc = load_part(planck_nilc, stokes="IQU"[:fields]).in_unit(MAP_UNIT)
    cmb = measured_alm(nilc, fields=fields, lmax=lmax)
    alm = np.zeros((1, len(instrument), fields, alm_size(lmax)), np.complex64)
    for row, channel in zip(alm[0], instrument, strict=True):
        n, beam = len(channel.stokes), own[channel.name].beam_window(lmax)
        published = load_part(planck_maps[channel.name], stokes=channel.stokes)
        sky = in_thermodynamic_unit(published, channel.name, planck)
        ratio = _beam_between(planck.nilc_fwhm_arcmin, own[channel.name].fwhm_arcmin, lmax)
        rest = measured_alm(sky, fields=n, lmax=lmax) - filter_alm(cmb[:n], ratio)
        row[:n] = filter_alm(rest, beam / (beam**2 + planck.debeam_floor))
    return {
        "components": np.array(["planck"], dtype="U16"),
        "alm": alm,
        "index_response": np.zeros((1, len(instrument), 3)),
    }


def _beam_between(fwhm_arcmin: float, to_arcmin: float, lmax: int) -> NDArray[np.float64]:
    """Return b_l(to) / b_l(from) of two Gaussian beams, the narrower one first or last."""
    window = beam_window(np.sqrt(abs(to_arcmin**2 - fwhm_arcmin**2)) * ARCMIN, lmax)
    return window if to_arcmin >= fwhm_arcmin else 1 / window
