"""What the network sees of a sky, and what it is to find there; what its output becomes.

Features are maps of shape (n_features, npix), NESTED, uK_CMB, one per channel. There are two kinds:

- "maps", as published: every channel, brought to one common beam.
- "differences": first the reference channel at the beam of the cleaned map, then every other channel minus
  the reference, both at that beam, or at the other channel's own where that is coarser. The CMB cancels in
  each difference, so that whatever a network makes of them it can neither lose nor invent any.

Beams act in harmonic space. Maps of this project carry no pixel window; see the page on simulations for what
that means for templates and for Planck's own files, whose window is taken off where they are read.

References
----------
Petroff et al. 2020, ApJ 903, 104, arXiv:2004.11507, section 3.
"""

from collections.abc import Sequence
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.learning.features import check_map
from cmbml.learning.features import feature_names as names_of
from cmbml.pipelines.petroff.settings import Petroff
from cmbml.science.beams import ARCMIN, beam_window, window_ratio
from cmbml.science.differences import difference_alm
from cmbml.science.harmonics import analyse, filter_alm, synthesise
from cmbml.science.instrument import Channel, Instrument, Observations, channel_names
from cmbml.science.skymap import SkyMap

FEATURES_VERSION = 1
"""Raised when features or targets change for equal settings."""

LARGEST_AMPLIFICATION = 100.0
"""By how much noise at lmax may be multiplied when a channel is brought to a finer beam."""

Array = NDArray[Any]


def used_channels(instrument: Instrument, settings: Petroff) -> Instrument:
    """Return the channels that the network sees, intensity only.

    Raises
    ------
    ValueError
        If a chosen channel is not in the instrument.
    """
    return instrument.select(channel_names(settings.channels, instrument.names)).with_stokes("I")


def ordered_channels(instrument: Instrument, settings: Petroff) -> tuple[Channel, ...]:
    """Return the channels in the order of the features: of differences, the reference first.

    Raises
    ------
    ValueError
        If the chosen reference is not among the used channels.
    """
    used = used_channels(instrument, settings)
    if settings.inputs == "maps":
        return used.channels
    if settings.reference == "auto":
        reference = min(used, key=lambda channel: channel.noise_at_beam(settings.fwhm_arcmin, settings.lmax))
    elif settings.reference in used.names:
        reference = used[settings.reference]
    else:
        raise ValueError(
            f"petroff.reference {settings.reference}: must be one of petroff.channels: "
            f"{', '.join(used.names)}"
        )
    return (reference, *(channel for channel in used if channel.name != reference.name))


def inputs_fwhm(instrument: Instrument, settings: Petroff) -> float | None:
    """Return the inputs' common beam in arcmin; None where there is none."""
    if settings.inputs == "differences" or settings.inputs_fwhm_arcmin == "native":
        return None
    if settings.inputs_fwhm_arcmin == "auto":
        widest = max(float(channel.fwhm_arcmin) for channel in used_channels(instrument, settings))
        return max(widest, settings.fwhm_arcmin)
    return settings.inputs_fwhm_arcmin


def check_beams(instrument: Instrument, settings: Petroff) -> None:
    """Check that every channel can be brought to the beam that it is wanted at.

    Raises
    ------
    ValueError
        If noise at lmax would be amplified by more than `LARGEST_AMPLIFICATION`; names the channels and what
        can be done.
    """
    fwhm = inputs_fwhm(instrument, settings)
    channels = ordered_channels(instrument, settings)
    wanted = [] if fwhm is None else [(channel, fwhm, "inputs_fwhm_arcmin") for channel in channels]
    if settings.inputs == "differences":  # others are never brought to a finer beam
        wanted = [(channels[0], settings.fwhm_arcmin, "fwhm_arcmin")]
    for channel, beam, key in wanted:
        own, window = channel.beam_window(settings.lmax), beam_window(beam * ARCMIN, settings.lmax)
        factor = float("inf") if own[-1] == 0 else float(window[-1] / own[-1])
        if factor > LARGEST_AMPLIFICATION:
            raise ValueError(
                f"petroff.{key} {beam:g}: brings channel {channel.name}, whose beam is "
                f"{channel.fwhm_arcmin:g} arcmin, to a finer one, and multiplies its noise at lmax "
                f"{settings.lmax} by {factor:.1e} (at most {LARGEST_AMPLIFICATION:g}); take a wider beam, "
                "leave that channel out, or lower lmax"
            )


def feature_names(instrument: Instrument, settings: Petroff) -> tuple[str, ...]:
    """Return channel and field of each feature, such as "143 I", or "217-143 I" of a difference."""
    first, *others = ordered_channels(instrument, settings)
    behind = f"-{first.name}" if settings.inputs == "differences" else ""
    return names_of({first.name: "I"} | {channel.name + behind: "I" for channel in others})


def make_features(observations: Observations, instrument: Instrument, settings: Petroff) -> Array:
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
        Shape (n_features, npix), NESTED, float32, uK_CMB.

    Raises
    ------
    ValueError
        If a channel is missing, its map has another nside or holds values that are not finite, or a channel
        cannot be brought to its beam.
    """
    channels = ordered_channels(instrument, settings)
    check_beams(instrument, settings)
    maps = [fields[0] for fields in observations.stokes(Instrument(channels))]
    for channel, values in zip(channels, maps, strict=True):
        check_map(values[None], f"channel {channel.name}", nside=settings.nside, group="petroff")
    alm = analyse(np.stack(maps).astype(np.float64), settings.lmax)  # (n_channels, nalm)
    if settings.inputs == "differences":
        features = _differences(alm, channels, settings)
    else:
        features = _at_one_beam(alm, channels, inputs_fwhm(instrument, settings), settings.lmax)
    return nested(synthesise(features, settings.nside)).astype(np.float32)


def _at_one_beam(alm: Array, channels: Sequence[Channel], fwhm: float | None, lmax: int) -> Array:
    """Return coefficients (n_channels, nalm) at a beam, or as they are where there is none."""
    if fwhm is None:
        return alm
    own = np.stack([channel.beam_window(lmax) for channel in channels])
    return np.asarray(filter_alm(alm, window_ratio(beam_window(fwhm * ARCMIN, lmax), own)))


def _differences(alm: Array, channels: Sequence[Channel], settings: Petroff) -> Array:
    """Return coefficients of the reference, the first channel, and of what the others differ from it."""
    common = beam_window(settings.fwhm_arcmin * ARCMIN, settings.lmax)
    own, *beams = (channel.beam_window(settings.lmax) for channel in channels)
    reference = filter_alm(alm[:1], window_ratio(common, own))
    others = [
        difference_alm(alm[place : place + 1], beam, alm[:1], own, common=common)
        for place, beam in enumerate(beams, start=1)
    ]
    return np.concatenate([reference, *others])


def make_target(truth: SkyMap, settings: Petroff) -> Array:
    """Return what the network is to find: the CMB at the common beam.

    Returns
    -------
    numpy.ndarray
        Shape (1, npix), NESTED, float32, uK_CMB.

    Raises
    ------
    ValueError
        If the truth has another nside or holds values that are not finite.
    """
    check_map(truth.values[:1], "truth", nside=settings.nside, group="petroff")
    return nested(truth.values[:1]).astype(np.float32)


def nested(maps: Array) -> Array:
    """Return maps (n, npix) in RING order in NESTED order."""
    return np.stack([hp.reorder(values, r2n=True) for values in maps])


def ring(maps: Array) -> Array:
    """Return maps (n, npix) in NESTED order in RING order."""
    return np.stack([hp.reorder(values, n2r=True) for values in maps])
