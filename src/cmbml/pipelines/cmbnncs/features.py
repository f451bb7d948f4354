"""What the network sees of a sky, and what it is to find there; what its output becomes.

Features are planes (see `cmbml.science.planes`) of shape (n_features, 4 nside, 3 nside), uK_CMB, in the
order channel, Stokes field. There are two kinds:

- "maps", as published: every channel as it is observed, at its own beam.
- "differences": first the fields of a reference channel at the resolution of the target, then every other
  channel minus the reference, both at the common beam, or at the other channel's own where that is coarser.
  The CMB cancels in each difference, so that whatever a network makes of them it can neither lose nor invent
  any; and no channel is brought to a finer beam than its own, but for the reference.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.learning import features as learnt
from cmbml.pipelines.cmbnncs.settings import Cmbnncs
from cmbml.science.beams import ARCMIN, beam_window, window_ratio
from cmbml.science.differences import difference_alm
from cmbml.science.harmonics import alm_to_map, filter_alm, map_to_alm
from cmbml.science.instrument import Channel, Instrument, Observations, channel_names
from cmbml.science.planes import map_to_plane, plane_to_map
from cmbml.science.skymap import SkyMap, beam_header
from cmbml.science.units import MAP_UNIT

FEATURES_VERSION = 1
"""Raised when features or targets change for equal settings."""

Array = NDArray[Any]


def used_channels(instrument: Instrument, settings: Cmbnncs) -> Instrument:
    """Return the channels that the network sees, with the fields it sees of each.

    Raises
    ------
    ValueError
        If a chosen channel is not in the instrument.
    """
    chosen = instrument.select(channel_names(settings.channels, instrument.names))
    return chosen.with_stokes("I") if settings.stokes == "I" else chosen


def reference_channel(used: Instrument, settings: Cmbnncs) -> Channel:
    """Return the channel whose map the network corrects.

    By default ("auto") that of the lowest white noise, once it is at the common beam, among those that
    measure all fields of the output.

    Raises
    ------
    ValueError
        If the chosen one is not among the used channels or lacks a field, or no channel has all fields.
    """
    able = [channel for channel in used if channel.stokes == settings.stokes]
    if settings.reference == "auto":
        if not able:
            raise ValueError(
                f"cmbnncs.stokes {settings.stokes}: none of the channels {', '.join(used.names)} measures "
                "these fields; choose others, or stokes I"
            )
        return min(able, key=lambda channel: channel.noise_at_beam(settings.fwhm_arcmin, settings.lmax))
    if settings.reference not in [channel.name for channel in able]:
        raise ValueError(
            f"cmbnncs.reference {settings.reference}: must be one of cmbnncs.channels that measures "
            f"{settings.stokes}: {', '.join(channel.name for channel in able)}"
        )
    return used[settings.reference]


def ordered_channels(instrument: Instrument, settings: Cmbnncs) -> tuple[Channel, ...]:
    """Return the channels in the order of the features: of differences, the reference first."""
    used = used_channels(instrument, settings)
    if settings.inputs == "maps":
        return used.channels
    reference = reference_channel(used, settings)
    return (reference, *(channel for channel in used if channel.name != reference.name))


def feature_names(instrument: Instrument, settings: Cmbnncs) -> tuple[str, ...]:
    """Return channel and field of each feature, such as "143 I", or "217-143 I" of a difference."""
    first, *others = ordered_channels(instrument, settings)
    behind = f"-{first.name}" if settings.inputs == "differences" else ""
    stokes_of = {first.name: first.stokes} | {one.name + behind: one.stokes for one in others}
    return learnt.feature_names(stokes_of)


def make_features(observations: Observations, instrument: Instrument, settings: Cmbnncs) -> Array:
    """Return the features of one sky.

    Parameters
    ----------
    observations
        Its maps; of other channels than the used ones, none is touched.
    instrument
        The channels that were simulated.
    settings
        Which channels, and which kind of features.

    Returns
    -------
    numpy.ndarray
        Shape (n_features, 4 nside, 3 nside), float32, uK_CMB.

    Raises
    ------
    ValueError
        If a channel is missing, its map has another nside or holds values that are not finite.
    """
    channels = ordered_channels(instrument, settings)
    maps = observations.stokes(Instrument(channels))
    for channel, fields in zip(channels, maps, strict=True):
        learnt.check_map(fields, f"channel {channel.name}", nside=settings.nside, group="cmbnncs")
    if settings.inputs == "differences":
        maps = _differences(maps, channels, settings)
    return np.asarray(map_to_plane(np.concatenate(maps).astype(np.float32)))


def make_target(truth: SkyMap, settings: Cmbnncs) -> Array:
    """Return what the network is to find: the CMB at the common beam, or without a beam.

    Returns
    -------
    numpy.ndarray
        Shape (n_fields, 4 nside, 3 nside), float32, uK_CMB.

    Raises
    ------
    ValueError
        If the truth lacks fields, has another nside or holds values that are not finite.
    """
    if not truth.stokes.startswith(settings.stokes):
        raise ValueError(
            f"truth: holds the fields {truth.stokes}, the network is to find {settings.stokes}; "
            "simulate stokes IQU, or set cmbnncs.stokes to I"
        )
    values = truth.values[: len(settings.stokes)]
    learnt.check_map(values, "truth", nside=settings.nside, group="cmbnncs")
    if settings.target == "unbeamed":
        common = beam_window(settings.fwhm_arcmin * ARCMIN, settings.lmax)
        values = _filtered(values, target_window(settings) / common, settings)
    return np.asarray(map_to_plane(values.astype(np.float32)))


def cleaned_map(planes: Array, settings: Cmbnncs) -> SkyMap:
    """Return the network's output as a cleaned map at the common beam, band-limited as all maps are.

    Parameters
    ----------
    planes
        Shape (n_fields, 4 nside, 3 nside), uK_CMB, at the resolution of the target.
    settings
        Which target that was.
    """
    common = beam_window(settings.fwhm_arcmin * ARCMIN, settings.lmax)
    maps = np.asarray(plane_to_map(planes), dtype=np.float64)
    cleaned = _filtered(maps, common / target_window(settings), settings)
    return SkyMap(
        cleaned.astype(np.float32), MAP_UNIT, header=beam_header(settings.fwhm_arcmin, settings.lmax)
    )


def target_window(settings: Cmbnncs) -> NDArray[np.float64]:
    """Return the beam window of the target, shape (lmax + 1,)."""
    if settings.target == "unbeamed":
        return np.ones(settings.lmax + 1)
    return beam_window(settings.fwhm_arcmin * ARCMIN, settings.lmax)


def _differences(maps: Sequence[Array], channels: Sequence[Channel], settings: Cmbnncs) -> list[Array]:
    """Return the reference at the target's resolution, and what the others differ from it."""
    alm = [map_to_alm(np.asarray(fields, dtype=np.float64), settings.lmax) for fields in maps]
    beams = [channel.beam_window(settings.lmax) for channel in channels]
    common = beam_window(settings.fwhm_arcmin * ARCMIN, settings.lmax)
    reference, own = alm[0], beams[0]
    features = [alm_to_map(filter_alm(reference, window_ratio(target_window(settings), own)), settings.nside)]
    for fields, beam in zip(alm[1:], beams[1:], strict=True):
        difference = difference_alm(fields, beam, reference, own, common=common)
        features.append(alm_to_map(difference, settings.nside))
    return features


def _filtered(maps: Array, window: NDArray[np.float64], settings: Cmbnncs) -> Array:
    alm = map_to_alm(np.asarray(maps, dtype=np.float64), settings.lmax)
    return alm_to_map(filter_alm(alm, window), settings.nside)
