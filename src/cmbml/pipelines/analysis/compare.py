"""Compare one simulation with its truth."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmbml.pipelines.analysis.calibration import Calibration, calibrations, predicted_errors
from cmbml.pipelines.analysis.metrics import pixel_metrics
from cmbml.pipelines.analysis.postprocess import (
    AnalysisMask,
    postprocess,
    sharpenable_channels,
    single_channel_map,
)
from cmbml.pipelines.analysis.settings import Analysis
from cmbml.pipelines.analysis.spectra import band_edges, mean_relative_deviation, sky_spectra
from cmbml.pipelines.analysis.tables import (
    add_calibration,
    calibration_rows,
    simulation_rows,
    spectrum_rows,
)
from cmbml.science.instrument import Instrument, Observations
from cmbml.science.skymap import SkyMap, check_beam

Array = NDArray[Any]
Record = dict[str, list[dict[str, Any]]]


def measure(
    truth: SkyMap,
    cleaned: SkyMap,
    mask: AnalysisMask,
    analysis: Analysis,
    errors: SkyMap | None = None,
) -> Record:
    """Return the numbers and spectra of one cleaned sky.

    Parameters
    ----------
    truth, cleaned
        At the common target beam, uK_CMB; the cleaned map may hold fewer fields.
    mask
        Weights of the comparison.
    analysis
        The settings.
    errors
        What the method predicts of the errors of the cleaned map, at the same beam; its numbers are used as
        they are, whatever monopole and dipole the maps lose.

    Returns
    -------
    dict
        "metrics" and "spectra": rows as in `simulation_rows` and `spectrum_rows`. With predicted errors also
        "calibration": rows as in `calibration_rows`.

    Raises
    ------
    ValueError
        If the cleaned map holds more fields than the truth, a unit is not uK_CMB, one of the maps says
        that it was made at another beam or band limit than the comparison's, or a predicted error is not
        a finite number above 0.
    """
    known, found = (
        _prepared(sky, mask, analysis, name) for sky, name in ((truth, "truth"), (cleaned, "cleaned map"))
    )
    if len(found) > len(known):
        raise ValueError(
            f"the cleaned map holds {cleaned.stokes}, the truth only {truth.stokes}; simulate stokes IQU"
        )
    known = known[: len(found)]
    record = _record(known, found, mask, analysis, method="")
    if errors is None:
        return record
    sigmas = predicted_errors(errors, analysis=analysis)
    return _with_calibration(record, calibrations(known, found, sigmas, mask.rows("kept", len(found))))


def measure_channels(
    truth: SkyMap, observations: Observations, instrument: Instrument, mask: AnalysisMask, analysis: Analysis
) -> Record:
    """Return the numbers and spectra of each channel's intensity, at the common target beam.

    Channels whose beam leaves nothing of the highest multipoles are left out.
    """
    known = _prepared(truth, mask, analysis, "truth")[:1]
    names = sharpenable_channels(
        instrument, stokes="I", fwhm_arcmin=analysis.map_fwhm_arcmin, lmax=analysis.lmax
    )
    record: Record = {"metrics": [], "spectra": []}
    for channel in instrument.select(names):
        maps = observations.intensity(Instrument((channel,)))  # (1, npix)
        sharp = single_channel_map(
            maps, channel, fwhm_arcmin=analysis.map_fwhm_arcmin, lmax=analysis.lmax, nside=analysis.nside
        )
        found = postprocess(
            sharp, mask, analysis=analysis, fwhm_arcmin=analysis.map_fwhm_arcmin, name=channel.name
        )
        rows = _record(known, found, mask, analysis, method=channel.name)
        record = {kind: record[kind] + rows[kind] for kind in record}
    return record


def _prepared(sky: SkyMap, mask: AnalysisMask, analysis: Analysis, name: str) -> Array:
    check_beam(sky, fwhm_arcmin=analysis.map_fwhm_arcmin, lmax=analysis.lmax, name=name)
    values = sky.in_unit("uK_CMB").values
    return postprocess(values, mask, analysis=analysis, fwhm_arcmin=analysis.map_fwhm_arcmin, name=name)


def _record(truth: Array, cleaned: Array, mask: AnalysisMask, analysis: Analysis, *, method: str) -> Record:
    edges = band_edges(analysis.lmax, analysis.bin_width)
    fields = len(truth)
    spectra = sky_spectra(truth, cleaned, mask.rows("apodised", fields), lmax=analysis.lmax)
    names = {"method": method, "split": "", "simulation": ""}
    metrics = simulation_rows(
        pixel_metrics(truth, cleaned, mask.rows("kept", fields)),
        mean_relative_deviation(spectra, edges),
        **names,
    )
    return {"metrics": _plain(metrics), "spectra": _plain(spectrum_rows(spectra, edges, **names))}


def _with_calibration(record: Record, found: Mapping[str, Calibration]) -> Record:
    """Return the record with what predicted errors are worth."""
    metrics = add_calibration(pd.DataFrame(record["metrics"]), found)
    rows = calibration_rows(found, method="", split="", simulation="")
    return {
        **record,
        "metrics": _plain(metrics.assign(split="", simulation="")),
        "calibration": _plain(rows),
    }


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows in JSON's types; what is not a finite number is left out."""
    return [
        {str(key): value for key, value in row.items() if not isinstance(value, float) or np.isfinite(value)}
        for row in table.drop(columns=["split", "simulation"]).to_dict(orient="records")
    ]
