"""The same last steps for the truth and for every cleaned map."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.analysis.settings import Analysis
from cmbml.science.apodisation import apodise
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_to_map, filter_alm, map_to_alm
from cmbml.science.instrument import Channel, Instrument
from cmbml.science.masks import check_values, remove_monopole_dipole
from cmbml.science.skymap import SkyMap

Array = NDArray[Any]

MASK_FIELDS = ("I_MASK", "P_MASK")
"""Fields of a mask that say which pixels are kept, of the intensity and of the polarisation."""

_SMALLEST_WINDOW = float(np.finfo(np.float32).eps)
"""A signal weakened more than this is lost in the rounding of a float32 map."""


@dataclass(frozen=True, eq=False)
class FieldMask:
    """Where a field is compared; every array has shape (npix,), RING.

    Parameters
    ----------
    guard
        Weights by which maps are multiplied before a change of beam, so that
        nothing of the left-out sky is smeared into the kept one.
    kept
        True where pixels are compared. Where the beam changes, these are the
        pixels of full weight in `guard`.
    apodised
        Weights for spectra: `kept`, tapered, so that it only shrinks.
    """

    guard: NDArray[np.float64]
    kept: NDArray[np.bool_]
    apodised: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AnalysisMask:
    """Where skies are compared.

    Parameters
    ----------
    intensity
        Of I, and of T in spectra.
    polarisation
        Of Q and U, and of E and B: the same object where one mask serves all.
    """

    intensity: FieldMask
    polarisation: FieldMask

    def rows(self, weights: Literal["guard", "kept", "apodised"], n_stokes: int) -> Array:
        """Return the weights for maps of `n_stokes` fields: (npix,) if all share them, or a row for each."""
        intensity = getattr(self.intensity, weights)
        if n_stokes == 1 or self.polarisation is self.intensity:
            return np.asarray(intensity)
        polarisation = getattr(self.polarisation, weights)
        return np.stack([intensity] + [polarisation] * (n_stokes - 1))


def analysis_mask(mask: SkyMap, *, analysis: Analysis, fwhm_arcmin: float) -> AnalysisMask:
    """Return the weights that belong to a mask of the sky.

    Parameters
    ----------
    mask
        Above 0 where the sky may be used: the field I_MASK for the intensity and P_MASK for the
        polarisation, or, of a map without these, the first one for both.
    analysis
        The settings.
    fwhm_arcmin
        Beam of the maps before the comparison, in arcmin.

    Raises
    ------
    ValueError
        If the mask is not of the resolution of the analysis, or no pixel is left.
    """
    cuts = [mask.values[mask.fields.index(name) if name in mask.fields else 0] for name in MASK_FIELDS]
    intensity = field_mask(cuts[0], analysis=analysis, fwhm_arcmin=fwhm_arcmin)
    if np.array_equal(cuts[0] > 0, cuts[1] > 0):
        return AnalysisMask(intensity, intensity)
    return AnalysisMask(intensity, field_mask(cuts[1], analysis=analysis, fwhm_arcmin=fwhm_arcmin))


def field_mask(cut: Array, *, analysis: Analysis, fwhm_arcmin: float) -> FieldMask:
    """Return the weights that belong to the cut of one field.

    Parameters
    ----------
    cut
        Shape (npix,), RING: above 0 where the sky may be used.
    analysis
        The settings.
    fwhm_arcmin
        Beam of the maps before the comparison, in arcmin.

    Raises
    ------
    ValueError
        If `cut` is not of the resolution of the analysis, or no pixel is left.
    """
    _check_resolution(cut, analysis, name="mask")
    whole = (cut > 0).astype(np.float64)
    guard = apodise(whole, analysis.apodisation_deg, taper=analysis.taper)
    kept = whole == 1 if fwhm_arcmin == analysis.fwhm_arcmin else guard == 1
    if not kept.any():
        raise ValueError(
            f"mask: no pixel is left of {np.count_nonzero(whole)} after an apodisation of "
            f"{analysis.apodisation_deg:g} deg; narrow the taper or the cut"
        )
    soft = apodise(kept.astype(np.float64), analysis.apodisation_deg, taper=analysis.taper)
    return FieldMask(guard, kept, soft)


def postprocess(
    maps: Array, mask: AnalysisMask, *, analysis: Analysis, fwhm_arcmin: float, name: str = "map"
) -> Array:
    """Return maps at the beam of the comparison, without monopole and dipole.

    Monopole and dipole are those of the compared pixels of the intensity. Where the beam
    changes, they are removed before as well, so that the edge of the mask does
    not turn them into a step; the maps are then multiplied by the mask's guard,
    and their coefficients by b_comparison / b_maps. Where the beams are equal,
    nothing is transformed.

    Parameters
    ----------
    maps
        Shape (n_stokes, npix), RING, uK_CMB. They are not changed.
    mask
        The weights of the comparison.
    analysis
        The settings.
    fwhm_arcmin
        Beam of `maps` in arcmin.
    name
        What errors call the maps.

    Returns
    -------
    numpy.ndarray
        Shape (n_stokes, npix), RING, uK_CMB; of use where the mask keeps its pixels.

    Raises
    ------
    ValueError
        If the maps are not of the resolution of the analysis, a pixel outside
        the mask has no value, or the comparison's beam is the narrower one.
    """
    _check_resolution(maps, analysis, name=name)
    if fwhm_arcmin > analysis.fwhm_arcmin:
        raise ValueError(
            f"{name}: its beam of {fwhm_arcmin:g} arcmin is wider than that of the comparison, "
            f"{analysis.fwhm_arcmin:g} arcmin, and maps are not sharpened; raise fwhm_arcmin of the analysis"
        )
    guard, kept = mask.rows("guard", len(maps)), mask.intensity.kept
    check_values(maps, guard, name=name)
    levelled = remove_monopole_dipole(maps, kept)
    if fwhm_arcmin == analysis.fwhm_arcmin:
        return levelled
    guarded = np.where(guard > 0, levelled * guard, 0).astype(maps.dtype)  # NaN * 0 is not 0
    alm = map_to_alm(guarded, analysis.lmax)
    window = beam_ratio(fwhm_arcmin, analysis.fwhm_arcmin, lmax=analysis.lmax)
    return remove_monopole_dipole(alm_to_map(filter_alm(alm, window), analysis.nside), kept)


def sharpenable_channels(
    instrument: Instrument, *, stokes: str, fwhm_arcmin: float, lmax: int
) -> tuple[str, ...]:
    """Return the channels that `single_channel_map` can bring to the common beam.

    Parameters
    ----------
    instrument
        The instrument.
    stokes
        The fields that the compared maps have, "I" or "IQU".
    fwhm_arcmin
        The common beam in arcmin.
    lmax
        Band limit, inclusive.

    Returns
    -------
    tuple of str
        Names of the channels that measure all of `stokes` and whose beam leaves
        a signal up to `lmax`.
    """

    def leaves_signal(channel: Channel) -> bool:
        window = _difference_window(channel.fwhm_arcmin, fwhm_arcmin, lmax)
        return channel.fwhm_arcmin <= fwhm_arcmin or window[-1] >= _SMALLEST_WINDOW

    return tuple(
        channel.name
        for channel in instrument
        if set(stokes) <= set(channel.stokes) and leaves_signal(channel)
    )


def single_channel_map(
    channel_map: Array, channel: Channel, *, fwhm_arcmin: float, lmax: int, nside: int
) -> Array:
    """Return one channel at the common beam: what one has without any cleaning.

    Its coefficients are multiplied by b_common / b_channel. For a channel with
    a wider beam than the common one this amplifies the noise.

    Parameters
    ----------
    channel_map
        Shape (n_stokes, npix), RING, uK_CMB, full sky.
    channel
        The channel, for its beam.
    fwhm_arcmin
        The common beam in arcmin.
    lmax
        Band limit, inclusive.
    nside
        Resolution of the result.

    Returns
    -------
    numpy.ndarray
        Shape (n_stokes, npix), RING, uK_CMB.

    Raises
    ------
    ValueError
        If a pixel has no value, or the channel's beam leaves nothing at `lmax`
        that could be sharpened.
    """
    name = f"channel {channel.name}"
    check_values(channel_map, np.ones(channel_map.shape[-1]), name=name)
    try:
        window = beam_ratio(channel.fwhm_arcmin, fwhm_arcmin, lmax=lmax)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    return alm_to_map(filter_alm(map_to_alm(channel_map, lmax), window), nside)


def beam_ratio(fwhm_arcmin: float, to_arcmin: float, *, lmax: int) -> NDArray[np.float64]:
    """Return the window that turns one Gaussian beam into another.

    b_l(to) / b_l(from) is the window of the beam whose squared width is the
    difference of the two, or one over it where the beam is sharpened.

    Parameters
    ----------
    fwhm_arcmin
        Full width at half maximum to start from, in arcmin.
    to_arcmin
        The one to arrive at, in arcmin.
    lmax
        Band limit, inclusive.

    Returns
    -------
    numpy.ndarray
        Shape (lmax + 1,).

    Raises
    ------
    ValueError
        If the beam is to be sharpened and the signal is lost at `lmax`: the
        ratio exceeds the precision of a float32 map.
    """
    window = _difference_window(fwhm_arcmin, to_arcmin, lmax)
    if to_arcmin >= fwhm_arcmin:
        return window
    if window[-1] < _SMALLEST_WINDOW:
        raise ValueError(
            f"a beam of {fwhm_arcmin:g} arcmin cannot be sharpened to {to_arcmin:g} arcmin at lmax {lmax}: "
            "a map in single precision holds nothing of the signal there; "
            "take a wider common beam or a lower lmax"
        )
    return 1 / window


def _difference_window(fwhm_arcmin: float, other_arcmin: float, lmax: int) -> NDArray[np.float64]:
    """Return the window of the beam by which two Gaussian beams differ."""
    return beam_window(np.sqrt(abs(other_arcmin**2 - fwhm_arcmin**2)) * ARCMIN, lmax)


def _check_resolution(maps: Array, analysis: Analysis, *, name: str) -> None:
    if maps.shape[-1] != 12 * analysis.nside**2:
        raise ValueError(
            f"{name}: has npix {maps.shape[-1]}, the analysis expects {12 * analysis.nside**2} "
            f"(nside {analysis.nside})"
        )
