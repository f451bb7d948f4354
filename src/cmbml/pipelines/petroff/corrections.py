"""What skies with a truth tell of a trained network: its bias, and the scale of its errors.

Neither is fitted to a sky that is cleaned: the bias of the spectrum is that on training skies, as published;
the scale of the errors is that on validation skies, which the network has not learnt from.

References
----------
Petroff et al. 2020, ApJ 903, 104, arXiv:2004.11507, section 4.2: the ratio of spectra of truth and cleaned
maps of 100 training skies is fitted by a quadratic polynomial of l. Levi et al. 2022, Sensors 22, 5540,
arXiv:1905.11659, section 3: errors scaled by one number to be calibrated.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmbml.partitions import Loader, load
from cmbml.science.harmonics import alm_lmax, alm_to_cl, analyse, filter_alm, synthesise
from cmbml.science.masks import remove_monopole_dipole
from cmbml.science.skymap import SkyMap

ONE_SIGMA = 0.6826894921370859
"""Share of a normal distribution within one standard deviation, erf(1 / sqrt 2)."""

BANDS = 16
"""Bands in which the ratio of spectra is told; the fit weighs multipoles by their number of modes."""

Array = NDArray[Any]
Predictions = Mapping[str, Loader]


def fit_spectrum(
    predictions: Predictions, truth: Predictions, mask: SkyMap, network: None, *, lmax: int
) -> dict[str, Any]:
    """Fit the ratio of the spectra of truth and predicted means by a quadratic polynomial of l.

    Spectra of a masked sky mix multipoles, and where the beam has left little, what comes from lower ones is
    most of it. So both are divided by the root of the mean spectrum of the truth first: that makes them
    white, and a mask changes a white spectrum by a factor alone.

    Parameters
    ----------
    predictions, truth
        By simulation, what loads its prediction and its truth, at one beam.
    mask
        The pixels that count, with the weights of its field I_APODISED if it has one.
    network
        Which network says it; recorded, not used.
    lmax
        Band limit.

    Returns
    -------
    dict
        `coefficients` of 1, l and l^2; `ell` and `ratio` of bands; `skies`.

    Raises
    ------
    ValueError
        If the predicted maps hold nothing at a multipole, or the polynomial is not positive up to lmax.
    """
    skies = {name: analyse(load(truth[name]).values[:1].astype(np.float64), lmax) for name in predictions}
    white = _whitening(list(skies.values()))
    true, found = np.zeros(lmax + 1), np.zeros(lmax + 1)
    for name, loader in predictions.items():
        mean = analyse(load(loader).values[:1].astype(np.float64), lmax)
        true += _masked_cl(filter_alm(skies[name], white), mask)
        found += _masked_cl(filter_alm(mean, white), mask)
    ell = np.arange(lmax + 1)
    if not found[2:].all():
        raise ValueError(
            f"the predicted maps hold nothing at l = {2 + int(np.argmin(found[2:]))}: the network has not "
            "learnt the CMB; train it longer, or set petroff_prediction.correct_spectrum to false"
        )
    ratio, modes = true[2:] / found[2:], 2 * ell[2:] + 1
    coefficients = np.polynomial.polynomial.polyfit(ell[2:], ratio, 2, w=np.sqrt(modes))
    fitted = np.polynomial.polynomial.polyval(ell, coefficients)
    if fitted.min() <= 0:
        raise ValueError(
            f"the ratio of true to predicted spectra, fitted as {coefficients[0]:.3g} + "
            f"{coefficients[1]:.3g} l + {coefficients[2]:.3g} l^2, is not positive up to lmax {lmax}: the "
            "network has not learnt the CMB; train it longer, or set petroff_prediction.correct_spectrum "
            "to false"
        )
    bands = bands_up_to(lmax)
    weights = 2 * ell + 1
    return {
        "coefficients": [float(value) for value in coefficients],
        "ell": [float(np.average(ell[band], weights=weights[band])) for band in bands],
        "ratio": [float((weights * true)[band].sum() / (weights * found)[band].sum()) for band in bands],
        "skies": len(predictions),
    }


def bands_up_to(lmax: int) -> list[slice]:
    """Return the bands of multipoles, from the quadrupole on, in which a ratio of spectra is told."""
    edges = np.unique(np.linspace(2, lmax + 1, BANDS + 1).astype(int))
    return [slice(int(first), int(last)) for first, last in pairwise(edges)]


def fit_errors(
    predictions: Predictions,
    truth: Predictions,
    mask: SkyMap,
    network: None,
    spectrum: Mapping[str, Any],
    *,
    lmax: int,
) -> dict[str, Any]:
    """Fit the factor by which errors are scaled so that 68.3 per cent of the pixels are within one of them.

    Parameters
    ----------
    predictions, truth
        By simulation, what loads its prediction and its truth.
    mask
        The pixels that count, as in the comparison: where it is above 0. Monopole and dipole are left out.
    network
        Which network says it; recorded, not used.
    spectrum
        What `fit_spectrum` gave, or nothing; means are corrected by it first.
    lmax
        Band limit.

    Returns
    -------
    dict
        `factor` and `skies`.

    Raises
    ------
    ValueError
        If the network gives no errors.
    """
    weights = mask.values[0]
    kept = weights > 0
    pulls = []
    for name, loader in predictions.items():
        prediction, sky = load(loader), load(truth[name]).values[0]
        difference = corrected_mean(prediction, spectrum, lmax=lmax) - sky
        apart = remove_monopole_dipole(difference[None], weights)[0, kept]
        error = total_error(prediction)[kept]
        if not error.all():
            raise ValueError(
                f"{name}: the network gives no error in some pixels, which cannot be scaled; train with "
                "loss gaussian or dropout, or set petroff_prediction.calibrate_errors to false"
            )
        pulls.append(np.abs(apart) / error)
    return {"factor": float(np.quantile(np.concatenate(pulls), ONE_SIGMA)), "skies": len(predictions)}


def corrected_mean(prediction: SkyMap, spectrum: Mapping[str, Any] | None, *, lmax: int) -> Array:
    """Return the mean of a prediction up to lmax, times the root of the fitted ratio of spectra.

    Parameters
    ----------
    prediction
        Of one sky.
    spectrum
        What `fit_spectrum` gave; None, or nothing in it, for no correction.
    lmax
        Band limit.

    Returns
    -------
    numpy.ndarray
        Shape (npix,), RING, float64.
    """
    ratio = np.ones(lmax + 1)
    if spectrum:
        ratio = np.polynomial.polynomial.polyval(np.arange(lmax + 1), spectrum["coefficients"])
    alm = analyse(prediction.values[:1].astype(np.float64), lmax)
    mean: Array = synthesise(filter_alm(alm, np.sqrt(ratio)), prediction.nside)[0]
    return mean


def total_error(prediction: SkyMap) -> Array:
    """Return both parts of a prediction's error added in squares, shape (npix,), float64."""
    return np.asarray(np.sqrt(np.square(prediction.values[1:].astype(np.float64)).sum(axis=0)))


def correction_table(corrections: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return the fitted numbers: the ratio of spectra in bands, and the factor of the errors.

    Returns
    -------
    pandas.DataFrame
        Columns quantity ("spectrum" or "errors"), ell, measured, fitted, skies.
    """
    rows = []
    if "spectrum" in corrections:
        record = corrections["spectrum"]
        fitted = np.polynomial.polynomial.polyval(np.array(record["ell"]), record["coefficients"])
        for ell, ratio, value in zip(record["ell"], record["ratio"], fitted, strict=True):
            rows.append(("spectrum", ell, ratio, float(value), record["skies"]))
    if "errors" in corrections:
        record = corrections["errors"]
        rows.append(("errors", np.nan, record["factor"], record["factor"], record["skies"]))
    return pd.DataFrame(rows, columns=["quantity", "ell", "measured", "fitted", "skies"])


def _whitening(skies: list[Array]) -> Array:
    """Return one over the root of the mean spectrum of skies (1, nalm) from l = 2 on; 0 where that is 0."""
    cl: Array = np.mean([alm_to_cl(alm)[0] for alm in skies], axis=0)
    cl[:2] = 0
    return np.asarray(np.divide(1.0, np.sqrt(cl), out=np.zeros_like(cl), where=cl > 0))


def _masked_cl(alm: Array, mask: SkyMap) -> Array:
    """Return the spectrum of a sky (1, nalm) behind the mask, in one factor."""
    field = mask.fields.index("I_APODISED") if "I_APODISED" in mask.fields else 0
    weights = mask.values[field].astype(np.float64)
    cl: Array = alm_to_cl(analyse(synthesise(alm, mask.nside) * weights, alm_lmax(alm)))[0]
    return cl
