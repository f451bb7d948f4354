"""How far a cleaned map is from the truth, pixel by pixel."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.science.instrument import STOKES
from cmbml.science.masks import check_values

Array = NDArray[Any]


@dataclass(frozen=True)
class PixelMetrics:
    """Distance of a cleaned map p from the truth t over the kept pixels.

    Parameters
    ----------
    mae
        Mean absolute error, mean |p - t|, in the unit of the maps.
    rmse
        Root mean square error, sqrt(mean (p - t)^2), in the unit of the maps.
    nrmse
        ||p - t|| / ||t||: `rmse` over `truth_rms`.
    psnr
        Peak signal-to-noise ratio in dB, 20 log10[(max t - min t) / rmse]. The
        range is the truth's alone, so that a cleaned map with wild pixels does
        not raise its own score. Infinite for a perfect map.
    r2
        Coefficient of determination, 1 - sum (p - t)^2 / sum (t - mean t)^2.
    truth_rms
        sqrt(mean t^2), in the unit of the maps.
    """

    mae: float
    rmse: float
    nrmse: float
    psnr: float
    r2: float
    truth_rms: float


def pixel_metrics(
    truth: Array, cleaned: Array, kept: Array, *, name: str = "cleaned map"
) -> dict[str, PixelMetrics]:
    """Return the metrics of every Stokes field.

    Parameters
    ----------
    truth, cleaned
        Shape (1, npix) or (3, npix), of one unit.
    kept
        Shape (npix,), or that of the maps where fields differ: pixels where it is
        above 0 are compared, all alike.
    name
        What errors call the cleaned map.

    Returns
    -------
    dict
        By "I", or by "I", "Q", "U".

    Raises
    ------
    ValueError
        If the maps differ in shape, a compared pixel has no value, or a field
        of the truth is constant over the compared pixels.
    """
    if truth.shape != cleaned.shape:
        raise ValueError(
            f"{name}: has shape {cleaned.shape}, the truth has {truth.shape}; "
            "both need the same Stokes fields and nside"
        )
    check_values(truth, kept, name="truth")
    check_values(cleaned, kept, name=name)
    pixels = np.broadcast_to(kept > 0, truth.shape)
    return {
        field: _compare(t[own].astype(np.float64), p[own].astype(np.float64), field)
        for field, t, p, own in zip(STOKES, truth, cleaned, pixels, strict=False)  # only I, or all three
    }


def _compare(truth: Array, cleaned: Array, field: str) -> PixelMetrics:
    """Compare two fields over the same pixels, shape (n_kept,)."""
    span = np.ptp(truth) if truth.size else 0.0
    if span == 0:
        raise ValueError(
            f"truth: {field} is constant over the {truth.size} compared pixels, "
            "nothing can be measured against it; check the mask, or leave the field out"
        )
    error = cleaned - truth
    rmse = np.sqrt(np.mean(error**2))
    truth_rms = np.sqrt(np.mean(truth**2))
    return PixelMetrics(
        mae=float(np.mean(np.abs(error))),
        rmse=float(rmse),
        nrmse=float(rmse / truth_rms),
        psnr=float(20 * np.log10(span / rmse)) if rmse > 0 else float("inf"),
        r2=float(1 - np.sum(error**2) / np.sum((truth - truth.mean()) ** 2)),
        truth_rms=float(truth_rms),
    )
