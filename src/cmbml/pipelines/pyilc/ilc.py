"""Needlet internal linear combination of channels into one map of the CMB.

Every channel is brought to a common beam and split into needlet scales. At each
scale, the weights that minimise the variance around a pixel while they keep the
CMB combine the channels' coefficients; the scales then add up to the cleaned map.

References
----------
McCarthy, F. & Hill, J. C. 2023, arXiv:2307.01043.
Delabrouille, J. et al. 2009, A&A 493, 835, arXiv:0807.0773.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.pyilc.covariance import (
    REFINEMENTS,
    coarse_covariance,
    is_narrow,
    local_covariance,
)
from cmbml.pipelines.pyilc.needlets import Scale, cosine_needlets, plan_scales, taper_window
from cmbml.pipelines.pyilc.settings import NeedletILC
from cmbml.pipelines.pyilc.weights import (
    SingularCovarianceError,
    general_weights,
    positive_weights,
    refine_weights,
)
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_to_map, analyse, change_lmax, filter_alm, map_to_alm, synthesise
from cmbml.science.instrument import STOKES
from cmbml.science.pixels import npix_to_nside, nside_to_npix

Array = NDArray[Any]

LOWEST_VALUE = -1e30
"""HEALPix marks missing pixels by -1.6375e30."""


@dataclass(frozen=True)
class NeedletILCResult:
    """What a needlet ILC returns."""

    cleaned: Array
    """Map of the CMB at the common beam, shape (1, npix), RING, float32, in the unit of the channels."""
    scales: tuple[Scale, ...]
    """The scales it was made from."""
    weights: tuple[Array, ...]
    """For each scale the weights of its channels, shape (n_used, 12 nside_j^2); empty unless kept."""


def needlet_ilc(
    maps: Array,
    beams: Array,
    *,
    settings: NeedletILC,
    scales: Sequence[Scale] | None = None,
    mixing: Array | None = None,
    keep_weights: bool = False,
) -> NeedletILCResult:
    """Clean the CMB out of the maps of several channels.

    Parameters
    ----------
    maps
        One intensity map per channel, shape (n_channels, npix), RING, uK_CMB.
    beams
        Beam windows b_l of the channels, shape (n_channels, lmax + 1).
    settings
        See `NeedletILC`; its `channels` are to be chosen before.
    scales
        Scales other than those of `ilc_scales`.
    mixing
        Response of every channel to the component that is kept, shape
        (n_channels,); 1 everywhere, that of the CMB in uK_CMB, unless given.
    keep_weights
        Whether to return the weights.

    Raises
    ------
    ValueError
        If maps, beams or mixing do not fit the settings, a map has missing
        pixels, a beam vanishes where it is needed, too few channels resolve a
        scale, or the covariance of a scale's channels is not positive definite.
    """
    _check_inputs(maps, beams, settings)
    response = _checked_mixing(mixing, len(maps))
    chosen = tuple(ilc_scales(beams, settings) if scales is None else scales)
    alm = _analyse(np.asarray(maps, dtype=np.float64), settings.lmax, settings)
    cleaned, kept = _combine(alm, beams, chosen, response, settings)
    weights = tuple(kept) if keep_weights else ()
    return NeedletILCResult(synthesise(cleaned, settings.nside).astype(np.float32), chosen, weights)


def polarised_needlet_ilc(maps: Sequence[Array], beams: Array, *, settings: NeedletILC) -> Array:
    """Clean the CMB's I, Q and U out of the maps of several channels.

    T, E and B are scalar fields on the sphere, and each is cleaned as `needlet_ilc`
    cleans the intensity: T from all channels, E and B from those that are polarised.

    Parameters
    ----------
    maps
        By channel, shape (1, npix) for I or (3, npix) for I, Q, U; RING, uK_CMB.
    beams
        Beam windows b_l of the channels, shape (n_channels, lmax + 1).
    settings
        See `NeedletILC`; its `channels` are to be chosen before.

    Returns
    -------
    numpy.ndarray
        I, Q, U of the CMB at the common beam, shape (3, npix), RING, float32, uK_CMB.

    Raises
    ------
    ValueError
        As `needlet_ilc`, for each of the fields.

    References
    ----------
    Basak, S. & Delabrouille, J. 2013, MNRAS 435, 18, arXiv:1204.0292: needlet ILC of E and B.
    """
    polarised = np.array([len(channel) == len(STOKES) for channel in maps])
    _check_inputs(np.stack([channel[0] for channel in maps]), beams, settings)
    for channel in maps:
        _check_inputs(channel, np.broadcast_to(beams[0], (len(channel), beams.shape[1])), settings)
    alm = [_analyse_stokes(channel, settings) for channel in maps]
    fields = [np.stack([fields[0] for fields in alm])]  # T: (n_channels, nalm)
    fields += [np.stack([fields[row] for fields in alm if len(fields) == len(STOKES)]) for row in (1, 2)]
    cleaned = []
    for field, held in zip(fields, (beams, beams[polarised], beams[polarised]), strict=True):
        scales = ilc_scales(held, settings)
        cleaned.append(_combine(field, held, scales, np.ones(len(held)), settings)[0])
    return alm_to_map(np.concatenate(cleaned), settings.nside).astype(np.float32)


def _combine(
    alm: Array, beams: Array, scales: Sequence[Scale], response: Array, settings: NeedletILC
) -> tuple[Array, list[Array]]:
    """Clean one scalar field: coefficients (1, nalm) at the common beam, and the weights of every scale."""
    common = beam_window(settings.fwhm_arcmin * ARCMIN, settings.lmax)
    common = common * taper_window(settings.taper_width, settings.lmax)
    cleaned = np.zeros((1, alm.shape[-1]), alm.dtype)
    kept = []
    for scale in scales:
        coefficients = _coefficients(alm, scale, _scale_windows(scale, beams, common))
        weights = _scale_weights(coefficients, scale, response[scale.channels], settings)
        cleaned += _scale_alm(np.sum(weights * coefficients, axis=0), scale, settings)
        kept.append(weights)
    return cleaned, kept


def ilc_scales(beams: Array, settings: NeedletILC) -> tuple[Scale, ...]:
    """Return the needlet scales of the settings for channels with these beams.

    Parameters
    ----------
    beams
        Beam windows b_l, shape (n_channels, lmax + 1).

    Raises
    ------
    ValueError
        If fewer than 2 channels resolve a scale.
    """
    return plan_scales(
        cosine_needlets(settings.peaks, settings.lmax),
        beams,
        nside=settings.nside,
        beam_criterion=settings.beam_criterion,
        bias_tolerance=settings.bias_tolerance,
    )


def _analyse(maps: Array, lmax: int, settings: NeedletILC) -> Array:
    """Analyse maps, with refinements fit for the band limit."""
    return analyse(maps, lmax, iterations=_refinements(maps, lmax, settings))


def _analyse_stokes(maps: Array, settings: NeedletILC) -> Array:
    """Analyse I, or I, Q, U of one channel: T, or T, E, B, in double precision."""
    iterations = _refinements(maps, settings.lmax, settings)
    return map_to_alm(np.asarray(maps, dtype=np.float64), settings.lmax, iterations=iterations)


def _refinements(maps: Array, lmax: int, settings: NeedletILC) -> int:
    # Up to 2 nside one refinement leaves about 1e-4 of the coefficients' rms. Near 3 nside
    # refinements do not converge, so that their number has to be that of the published results.
    enough = settings.transforms == "fast" and lmax <= 2 * npix_to_nside(maps.shape[-1])
    return 1 if enough else REFINEMENTS


def _scale_windows(scale: Scale, beams: Array, common: Array) -> Array:
    """Windows that take the channels to the scale at the common beam, shape (n_used, lmax + 1)."""
    held = np.flatnonzero(scale.window)
    used = beams[scale.channels][:, held]
    if np.any(used <= 0):
        row, column = np.argwhere(used <= 0)[0]
        raise ValueError(
            f"{scale.label}: the beam window of channel number {scale.channels[row]} is "
            f"{used[row, column]:g} at l = {held[column]} and cannot be divided out; raise beam_criterion or "
            "leave the channel out"
        )
    windows = np.zeros((len(scale.channels), len(scale.window)))
    windows[:, held] = scale.window[held] * common[held] / used
    return windows


def _coefficients(alm: Array, scale: Scale, windows: Array) -> Array:
    """Needlet coefficients of the scale's channels, shape (n_used, 12 nside_j^2)."""
    top = scale.highest_multipole
    return synthesise(filter_alm(change_lmax(alm[scale.channels], top), windows[:, : top + 1]), scale.nside)


def _scale_weights(coefficients: Array, scale: Scale, mixing: Array, settings: NeedletILC) -> Array:
    """Weights of the scale's channels, shape (n_used, 12 nside_j^2)."""
    # A Gaussian of few pixels leaves nothing to gain: then fast is what the reference does.
    as_published = settings.transforms == "reference" or is_narrow(scale.covariance_fwhm, scale.nside)
    try:
        if as_published:
            return general_weights(local_covariance(coefficients, scale.covariance_fwhm), mixing)
        weights = positive_weights(coarse_covariance(coefficients, scale.covariance_fwhm), mixing)
    except SingularCovarianceError as error:
        raise SingularCovarianceError(
            f"{scale.label}: {error}; channels numbered {scale.channels.tolist()} repeat one another or "
            "hold no signal here: leave such channels out, or check that their noise was added"
        ) from error
    return refine_weights(weights, scale.nside)


def _scale_alm(combined: Array, scale: Scale, settings: NeedletILC) -> Array:
    """Turn a scale's combined coefficients into its part of the cleaned map, shape (1, nalm)."""
    lmax = min(settings.lmax, 3 * scale.nside - 1)
    alm = _analyse(combined[None], lmax, settings)
    return change_lmax(filter_alm(alm, scale.window[: lmax + 1]), settings.lmax)


def _check_inputs(maps: Array, beams: Array, settings: NeedletILC) -> None:
    npix = nside_to_npix(settings.nside)
    if maps.shape != (len(maps), npix):
        raise ValueError(
            f"maps have shape {maps.shape}, the ILC expects (n_channels, {npix}) (nside {settings.nside}); "
            "set the ILC's nside to that of the observations"
        )
    if beams.shape != (len(maps), settings.lmax + 1):
        raise ValueError(
            f"beams have shape {beams.shape}, {len(maps)} channels up to lmax {settings.lmax} need "
            f"{(len(maps), settings.lmax + 1)}"
        )
    for number, channel in enumerate(maps):
        n_missing = npix - np.count_nonzero(np.isfinite(channel) & (channel > LOWEST_VALUE))
        if n_missing:
            raise ValueError(
                f"the map of channel number {number} has {n_missing} missing pixels (not finite or HEALPix's "
                "UNSEEN); the ILC needs full-sky maps: fill them or leave the channel out"
            )


def _checked_mixing(mixing: Array | None, n_channels: int) -> Array:
    if mixing is None:
        return np.ones(n_channels)
    if mixing.shape != (n_channels,):
        raise ValueError(f"mixing has shape {mixing.shape}, {n_channels} channels need {(n_channels,)}")
    return mixing.astype(np.float64)
