"""Whether the errors that a method predicts are those that it makes."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.partitions import Loader, check_origin, made_from
from cmbml.pipelines.analysis.settings import Analysis
from cmbml.science.instrument import STOKES
from cmbml.science.skymap import SkyMap, check_beam

LOGGER = logging.getLogger(__name__)
Array = NDArray[Any]

COVERED_SIGMAS = (1, 2, 3)
"""Multiples of the predicted error within which pixels are counted."""

N_BINS = 20
"""Of predicted errors: of half a sky at nside 16 each has 77 pixels, enough for an rms to 8 per cent."""

REMEDY = "clean again, with --params on_mismatch=recompute"


@dataclass(frozen=True, eq=False)
class ErrorBins:
    """Pixels of a sky in bins of their predicted error, the smallest first; every array has shape (n_bins,).

    Parameters
    ----------
    predicted
        sqrt(mean sigma^2) of the bin's pixels, in the unit of the maps.
    rms
        sqrt(mean (p - t)^2) of the same pixels: as large, if the prediction is right.
    pixels
        Their number.
    """

    predicted: NDArray[np.float64]
    rms: NDArray[np.float64]
    pixels: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Calibration:
    """Predicted errors sigma against the errors p - t of a cleaned map, over the kept pixels.

    Parameters
    ----------
    coverage
        Share of the pixels with |p - t| <= n sigma, for the n of `COVERED_SIGMAS`.
    mean_predicted
        Mean of sigma, in the unit of the maps.
    reduced_chi2
        Mean of (p - t)^2 / sigma^2: 1 where errors are as large as predicted.
    bins
        The same pixels in bins of sigma.
    """

    coverage: tuple[float, ...]
    mean_predicted: float
    reduced_chi2: float
    bins: ErrorBins


def calibration(error: Array, sigma: Array) -> Calibration:
    """Return how well predicted errors describe the errors made.

    Parameters
    ----------
    error
        Cleaned map minus truth, shape (n_pixels,).
    sigma
        Predicted standard deviation of the same pixels, finite and above 0.
    """
    error, sigma = error.astype(np.float64), sigma.astype(np.float64)
    pull = np.abs(error / sigma)
    return Calibration(
        coverage=tuple(float(np.mean(pull <= n)) for n in COVERED_SIGMAS),
        mean_predicted=float(np.mean(sigma)),
        reduced_chi2=float(np.mean(pull**2)),
        bins=error_bins(error, sigma),
    )


def error_bins(error: Array, sigma: Array) -> ErrorBins:
    """Return pixels in bins of their predicted error, as many in each, give or take one.

    There are `N_BINS` of them, or as many as there are pixels. Pixels of equal prediction
    share a bin, so that the order of pixels does not count; there may be fewer bins then.

    Parameters
    ----------
    error, sigma
        As for `calibration`.
    """
    n_bins = min(N_BINS, sigma.size)
    firsts = np.sort(sigma)[np.arange(n_bins) * sigma.size // n_bins]  # the smallest of each bin
    bins = np.searchsorted(np.unique(firsts), sigma, side="right") - 1
    pixels = np.bincount(bins)
    return ErrorBins(
        predicted=np.sqrt(np.bincount(bins, sigma**2) / pixels),
        rms=np.sqrt(np.bincount(bins, error**2) / pixels),
        pixels=pixels,
    )


def calibrations(
    truth: Array, cleaned: Array, sigmas: Mapping[str, Array], kept: Array
) -> dict[str, Calibration]:
    """Return the calibration of every Stokes field that has a predicted error.

    Parameters
    ----------
    truth, cleaned
        Shape (1, npix) or (3, npix), of one unit.
    sigmas
        Predicted error by field, shape (npix,).
    kept
        Shape (npix,), or that of the maps: pixels where it is above 0 are compared, all alike.

    Returns
    -------
    dict
        By "I", "Q", "U", those that `sigmas` has.

    Raises
    ------
    ValueError
        If the predicted error of a compared pixel is not a finite number above 0.
    """
    found = {}
    pixels = np.broadcast_to(kept > 0, truth.shape)
    for field, t, p, own in zip(STOKES, truth, cleaned, pixels, strict=False):  # only I, or all three
        if field not in sigmas:
            continue
        sigma = sigmas[field]
        wrong = own & ~(np.isfinite(sigma) & (sigma > 0))  # UNSEEN is below 0
        if wrong.any():
            raise ValueError(
                f"error map: {field}_ERROR of {np.count_nonzero(wrong)} compared pixels is no finite number "
                f"above 0, first of pixel {np.argmax(wrong)}; a method gives the error of every pixel that "
                "it cleans, or no error map"
            )
        found[field] = calibration(p[own].astype(np.float64) - t[own], sigma[own])
    return found


def predicted_errors(errors: SkyMap, *, analysis: Analysis) -> dict[str, Array]:
    """Return the predicted error of every Stokes field that an error map holds.

    Parameters
    ----------
    errors
        Fields I_ERROR and maybe Q_ERROR, U_ERROR: one standard deviation per pixel; further
        fields are passed over.
    analysis
        The settings.

    Returns
    -------
    dict
        {field: shape (npix,), uK_CMB, RING}.

    Raises
    ------
    ValueError
        If there is no field I_ERROR, the unit cannot become uK_CMB, or the map is of another
        resolution, beam or band limit than cleaned maps.
    """
    check_beam(errors, fwhm_arcmin=analysis.map_fwhm_arcmin, lmax=analysis.lmax, name="error map")
    if errors.npix != 12 * analysis.nside**2:
        raise ValueError(
            f"error map: has npix {errors.npix}, the analysis expects {12 * analysis.nside**2} "
            f"(nside {analysis.nside})"
        )
    if "I_ERROR" not in errors.fields:
        raise ValueError(
            f"error map: holds {', '.join(errors.fields)}, but not I_ERROR; name the predicted error of I so"
        )
    values = dict(zip(errors.fields, errors.in_unit("uK_CMB").values, strict=True))
    return {field: values[f"{field}_ERROR"] for field in STOKES if f"{field}_ERROR" in values}


def has_errors_at(analysis: Analysis) -> bool:
    """Return whether the comparison is at the beam at which error maps hold, that of the cleaned maps.

    How far errors of neighbouring pixels correlate is not predicted, so a wider beam's errors do not follow.
    """
    return analysis.fwhm_arcmin == analysis.map_fwhm_arcmin


def matching_errors(
    errors: Mapping[str, Loader],
    cleaned: Mapping[str, Loader],
    observations: Mapping[str, Loader],
    analysis: Analysis,
) -> dict[str, Loader]:
    """Return the error maps that cleaned maps are compared with.

    Parameters
    ----------
    errors, cleaned, observations
        {simulation: loader}; `errors` may be empty, or lack simulations.
    analysis
        The settings.

    Returns
    -------
    dict
        Those of cleaned simulations; none where the comparison is at a wider beam than theirs, which
        is logged.

    Raises
    ------
    ValueError
        If an error map was made from other observations than those at hand, or from another
        thing (a network, say) than the cleaned map of its simulation.
    """
    own = {name: errors[name] for name in sorted(errors) if name in cleaned}
    if own and not has_errors_at(analysis):
        LOGGER.info(
            "error maps hold at the beam of the cleaned maps, %g arcmin; at the %g arcmin of this comparison "
            "nothing is said of predicted errors",
            analysis.map_fwhm_arcmin,
            analysis.fwhm_arcmin,
        )
        return {}
    check_origin(own, what="error map", remedy=REMEDY, observations=observations, cleaned=cleaned)
    for name, loader in own.items():
        recorded, of_map = made_from(loader), made_from(cleaned[name])
        for argument in sorted(set(recorded) & set(of_map)):
            if recorded[argument] != of_map[argument]:
                raise ValueError(
                    f"error map {name}: made from another {argument} than the cleaned map; {REMEDY}"
                )
    return own
