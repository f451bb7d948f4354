"""Tables of the analysis: rows per sky, and the comparison of methods.

Columns carry their unit at the end of the name: uK and uK2 stand for uK_CMB
and uK_CMB2.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmbml.pipelines.analysis.calibration import COVERED_SIGMAS, Calibration
from cmbml.pipelines.analysis.metrics import PixelMetrics
from cmbml.pipelines.analysis.spectra import (
    SkySpectra,
    band_dl,
    band_ell,
    relative_deviation,
    transfer_function,
)

Array = NDArray[Any]

COVERAGES = tuple(f"coverage_{n}sigma" for n in COVERED_SIGMAS)
PREDICTIONS = (*COVERAGES, "mean_predicted_error_uK", "reduced_chi2")
"""Columns with numbers of a sky that has an error map, see `add_calibration`."""

METRICS = ("mae_uK", "rmse_uK", "nrmse", "psnr_dB", "r2", "dl_deviation", "truth_rms_uK", *PREDICTIONS)
"""Columns with numbers of a sky, see `simulation_rows`."""

KEYS = ("method", "split", "simulation", "field")
"""Columns that say which sky a row is of."""

CALIBRATION = (*KEYS, "bin", "predicted_uK", "rms_uK", "pixels")
"""Columns of `calibration_rows`."""

FIELDS = ("I", "Q", "U", "E", "B")
"""Order of the fields in a table. The spectrum TT is listed with I."""

_FIELD_OF_SPECTRUM = {"TT": "I", "EE": "E", "BB": "B"}


def simulation_rows(
    metrics: dict[str, PixelMetrics],
    deviations: dict[str, float],
    *,
    method: str,
    split: str,
    simulation: str,
) -> pd.DataFrame:
    """Return the numbers of one cleaned sky, one row per field.

    Parameters
    ----------
    metrics
        By "I", "Q", "U".
    deviations
        Mean relative deviation by "TT", "EE", "BB"; may be empty.
    method, split, simulation
        What was compared.

    Returns
    -------
    pandas.DataFrame
        Columns method, split, simulation, field and `METRICS`; dl_deviation is
        the mean relative deviation of the spectrum. Rows I, Q, U, with the
        deviation of TT in that of I; rows E and B hold nothing but theirs.
        `PREDICTIONS` are empty.
    """
    rows = {
        field: {
            "mae_uK": values.mae,
            "rmse_uK": values.rmse,
            "nrmse": values.nrmse,
            "psnr_dB": values.psnr,
            "r2": values.r2,
            "truth_rms_uK": values.truth_rms,
        }
        for field, values in metrics.items()
    }
    for spectrum, deviation in deviations.items():
        rows.setdefault(_FIELD_OF_SPECTRUM[spectrum], {})["dl_deviation"] = deviation
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(METRICS), dtype=np.float64)
    table = table.rename_axis("field").reset_index()
    for position, (column, value) in enumerate(
        (("method", method), ("split", split), ("simulation", simulation))
    ):
        table.insert(position, column, value)
    return table


def add_calibration(table: pd.DataFrame, found: Mapping[str, Calibration]) -> pd.DataFrame:
    """Return rows of one sky with what its error map is worth.

    Parameters
    ----------
    table
        Rows of `simulation_rows` of one sky. It is not changed.
    found
        Calibration by field, of some of the fields or of none.

    Returns
    -------
    pandas.DataFrame
        The rows with `PREDICTIONS`: the share of the pixels within 1, 2 and 3 predicted
        errors, the mean predicted error and the reduced chi-squared; not a number where
        a field has no predicted error.
    """
    numbers = {field: (*one.coverage, one.mean_predicted, one.reduced_chi2) for field, one in found.items()}
    columns = pd.DataFrame.from_dict(numbers, orient="index", columns=list(PREDICTIONS), dtype=np.float64)
    columns = columns.reindex(table["field"]).set_axis(table.index)
    return table.assign(**{name: columns[name] for name in PREDICTIONS})


def calibration_rows(
    found: Mapping[str, Calibration], *, method: str, split: str, simulation: str
) -> pd.DataFrame:
    """Return the bins of predicted error of one sky, one row per field and bin.

    Parameters
    ----------
    found
        Calibration by field.
    method, split, simulation
        What was compared.

    Returns
    -------
    pandas.DataFrame
        Columns `CALIBRATION`: predicted and actual root mean square error of the bin's
        pixels, and their number; bins count from 1, the smallest predicted error first.
    """
    parts = [
        pd.DataFrame(
            {
                **dict(zip(KEYS, (method, split, simulation, field), strict=True)),
                "bin": np.arange(1, len(one.bins.pixels) + 1),
                "predicted_uK": one.bins.predicted,
                "rms_uK": one.bins.rms,
                "pixels": one.bins.pixels,
            }
        )
        for field, one in found.items()
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(CALIBRATION))


def spectrum_rows(
    spectra: SkySpectra, edges: Array, *, method: str, split: str, simulation: str
) -> pd.DataFrame:
    """Return the binned spectra of one sky, one row per spectrum and band.

    Parameters
    ----------
    spectra
        Of one sky.
    edges
        The bands.
    method, split, simulation
        What was compared.

    Returns
    -------
    pandas.DataFrame
        Columns method, split, simulation, spectrum; ell_first, ell_last (both
        inclusive) and ell (mean, weighted by 2l + 1) of the band; D_l of truth,
        cleaned map, residual and truth x cleaned; deviation and transfer as in
        `relative_deviation` and `transfer_function`.
    """
    n_spectra, n_bands = len(spectra.names), len(edges) - 1
    columns = {
        "method": method,
        "split": split,
        "simulation": simulation,
        "spectrum": np.repeat(spectra.names, n_bands),
        "ell_first": np.tile(edges[:-1], n_spectra),
        "ell_last": np.tile(edges[1:] - 1, n_spectra),
        "ell": np.tile(band_ell(edges), n_spectra),
        "dl_truth_uK2": band_dl(spectra.truth, edges).ravel(),
        "dl_cleaned_uK2": band_dl(spectra.cleaned, edges).ravel(),
        "dl_residual_uK2": band_dl(spectra.residual, edges).ravel(),
        "dl_cross_uK2": band_dl(spectra.cross, edges).ravel(),
        "deviation": relative_deviation(spectra, edges).ravel(),
        "transfer": transfer_function(spectra, edges).ravel(),
    }
    return pd.DataFrame(columns)


def best_single_channel(rows: pd.DataFrame) -> str:
    """Return the channel whose intensity has the lowest RMSE, averaged over its skies.

    Parameters
    ----------
    rows
        Rows of `simulation_rows` with the channel's name as the method.

    Raises
    ------
    ValueError
        If there is no row of intensity.
    """
    means = rows[rows["field"] == "I"].groupby("method")["rmse_uK"].mean()
    if means.empty:
        raise ValueError(
            "best single channel: the table has no row with field I to choose by; compare a channel first"
        )
    return str(means.idxmin())


def comparison_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return mean and standard deviation over the skies, one row per method.

    Parameters
    ----------
    rows
        Rows of `simulation_rows` of any number of methods, splits and skies. A
        metric without a column is not a number.

    Returns
    -------
    pandas.DataFrame
        Columns split, field, method, n_simulations, and for every metric
        `<metric>_mean` and `<metric>_std` (ddof = 1: not a number for a single
        sky). Sorted by split, field and mean absolute error, the best first.

    Raises
    ------
    ValueError
        If a sky occurs twice for one method and field.
    """
    keys = ["split", "field", "method"]
    repeated = rows[rows.duplicated([*keys, "simulation"])]
    if not repeated.empty:
        first = repeated.iloc[0]
        raise ValueError(
            f"comparison: {first['method']} has {first['simulation']} of split {first['split']} twice "
            f"(field {first['field']}); give every sky once"
        )
    groups = rows.reindex(columns=[*keys, "simulation", *METRICS]).groupby(keys, sort=False)
    table = groups["simulation"].count().rename("n_simulations").to_frame()
    for metric in METRICS:
        table[f"{metric}_mean"] = groups[metric].mean()
        table[f"{metric}_std"] = groups[metric].std(ddof=1)
    table = table.reset_index()
    order = table.assign(field=pd.Categorical(table["field"], FIELDS, ordered=True))
    return table.loc[order.sort_values(["split", "field", "mae_uK_mean", "method"]).index].reset_index(
        drop=True
    )
