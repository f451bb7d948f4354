"""Nodes of the analysis."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cmbml.partitions import Loader, Partition, check_origin, known, lift, load
from cmbml.pipelines.analysis.calibration import (
    has_errors_at,
    matching_errors,
    predicted_errors,
)
from cmbml.pipelines.analysis.calibration_figure import calibration_figure
from cmbml.pipelines.analysis.compare import Record, measure, measure_channels
from cmbml.pipelines.analysis.figures import sky_figure, spectra_figure
from cmbml.pipelines.analysis.postprocess import AnalysisMask, analysis_mask, postprocess
from cmbml.pipelines.analysis.settings import Analysis
from cmbml.pipelines.analysis.tables import (
    CALIBRATION,
    KEYS,
    METRICS,
    best_single_channel,
    comparison_table,
)
from cmbml.science.instrument import Instrument
from cmbml.science.skymap import SkyMap

LOGGER = logging.getLogger(__name__)
VERSION = 1
"""Raised when the numbers change for equal maps and settings."""

SPLIT = "test"


def prepare_mask(mask: SkyMap, analysis: Analysis) -> AnalysisMask:
    """Return the weights of the comparison from the mask of the sky."""
    return analysis_mask(mask, analysis=analysis, fwhm_arcmin=analysis.map_fwhm_arcmin)


def measure_method(
    truth: Mapping[str, Loader],
    cleaned: Mapping[str, Loader],
    observations: Mapping[str, Loader],
    mask: AnalysisMask,
    analysis: Analysis,
    *,
    errors: Mapping[str, Loader],
) -> dict[str, Partition]:
    """Compare one method's maps with the truth, simulation by simulation.

    Parameters
    ----------
    truth, cleaned
        {simulation: loader of its `SkyMap`}; simulations that were not cleaned
        are left out.
    observations
        {simulation: loader of its `Observations`}: what cleaned maps must have
        been made from.
    mask
        Weights of the comparison.
    analysis
        The settings.
    errors
        {simulation: loader of the `SkyMap` of the errors that the method predicts}: empty for a method
        that predicts none. Cleaned simulations without one are compared, and nothing is said of their
        predicted errors; error maps without a cleaned map are left out.

    Returns
    -------
    dict
        {simulation: lazy record with the rows "metrics" and "spectra", and of those with an error map
        "calibration"}; empty for a method without products.

    Raises
    ------
    ValueError
        If a cleaned simulation has no truth, a cleaned map or an error map was made from other
        observations than those at hand, or an error map from another thing than its cleaned map.
    """
    orphans = sorted(set(cleaned) - set(truth))
    if orphans:
        raise ValueError(
            f"cleaned maps {', '.join(orphans[:5])} have no truth; clean the simulations that there are"
        )
    check_origin(
        cleaned,
        what="cleaned map",
        remedy="clean again, with --params on_mismatch=recompute",
        observations=observations,
    )
    predicted = matching_errors(errors, cleaned, observations, analysis)
    every = {"truth": truth, "cleaned": cleaned, "errors": predicted}
    plain = set(cleaned) - set(predicted)  # their recipes do not speak of errors
    weights = known(mask)
    measured: dict[str, Partition] = {}
    for names, inputs in ((plain, ("truth", "cleaned")), (set(predicted), ("truth", "cleaned", "errors"))):
        measured |= lift(
            measure,
            version=VERSION,
            partitioned={key: {name: every[key][name] for name in names} for key in inputs},
            shared={"mask": weights},
            parameters={"analysis": analysis},
        )
    return {name: measured[name] for name in sorted(measured)}


def measure_single_channels(
    truth: Mapping[str, Loader],
    observations: Mapping[str, Loader],
    instrument: Instrument,
    mask: AnalysisMask,
    analysis: Analysis,
) -> dict[str, Partition]:
    """Compare every single channel, brought to the common beam, with the truth.

    Returns
    -------
    dict
        {simulation: lazy record with the rows "metrics" and "spectra" of each channel}.

    Raises
    ------
    ValueError
        If observations were made with another instrument.
    """
    check_origin(
        observations,
        what="observations",
        remedy="make both anew: kedro run --pipeline=simulation",
        instrument=instrument,
    )
    return lift(
        measure_channels,
        version=VERSION,
        partitioned={"truth": truth, "observations": observations},
        shared={"instrument": instrument, "mask": mask},
        parameters={"analysis": analysis},
    )


def compare_methods(
    single_channels: Mapping[str, Loader], **methods: Mapping[str, Loader]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Put the methods and the best single channel side by side.

    Parameters
    ----------
    single_channels
        {simulation: loader of the rows of `measure_single_channels`}.
    **methods
        By method, {simulation: loader of the rows of `measure_method`}. A method
        without products is skipped, and one with error maps of only some simulations
        is told of the others; both with a warning that names it.

    Returns
    -------
    comparison
        Mean and standard deviation over simulations, one row per method.
    metrics
        One row per method, simulation and field.
    spectra
        One row per method, simulation, spectrum and band.
    calibration
        One row per method, simulation, field and bin of the predicted error; none where no method
        predicts errors.
    """
    channels = {kind: _rows(kind, _loaded(single_channels)) for kind in ("metrics", "spectra")}
    best = best_single_channel(channels["metrics"])
    label = f"best single channel ({best} GHz)"
    tables = {kind: [rows[rows["method"] == best].assign(method=label)] for kind, rows in channels.items()}
    tables["calibration"] = []
    for method, loaders in methods.items():
        if not loaders:
            LOGGER.warning(
                "method %s has no cleaned maps and is skipped; run it with: kedro run --pipeline=%s",
                method,
                method,
            )
            continue
        records = _loaded(loaders)
        predicting = {name: record for name, record in records.items() if "calibration" in record}
        _tell_of_missing_errors(method, sorted(set(records) - set(predicting)), len(records))
        for kind, own in (("metrics", records), ("spectra", records), ("calibration", predicting)):
            if own:
                tables[kind].append(_rows(kind, own).assign(method=method))
    metrics = pd.concat(tables["metrics"], ignore_index=True).reindex(columns=[*KEYS, *METRICS])
    spectra = pd.concat(tables["spectra"], ignore_index=True)
    bins = pd.concat(tables["calibration"] or [pd.DataFrame()], ignore_index=True)
    return comparison_table(metrics), metrics, spectra, bins.reindex(columns=list(CALIBRATION))


def _loaded(records: Mapping[str, Loader]) -> dict[str, Record]:
    return {name: load(record) for name, record in records.items()}


def _rows(kind: str, records: Mapping[str, Record]) -> pd.DataFrame:
    tables = [pd.DataFrame(record[kind]).assign(simulation=name) for name, record in records.items()]
    return pd.concat(tables, ignore_index=True).assign(split=SPLIT)


def _tell_of_missing_errors(method: str, lacking: list[str], n_cleaned: int) -> None:
    """Warn if some of a method's simulations have an error map and others have none."""
    if 0 < len(lacking) < n_cleaned:
        LOGGER.warning(
            "method %s has no error map of %d of its %d simulations (%s); coverage and predicted error are "
            "those of the others",
            method,
            len(lacking),
            n_cleaned,
            ", ".join(lacking[:5]) + (" ..." if len(lacking) > 5 else ""),
        )


def draw_skies(
    truth: Mapping[str, Loader], mask: AnalysisMask, analysis: Analysis, **products: Mapping[str, Loader]
) -> dict[str, Figure]:
    """Draw truth, cleaned maps, residuals and predicted errors of the first simulations.

    Parameters
    ----------
    truth
        {simulation: loader of its `SkyMap`}.
    mask
        Weights of the comparison.
    analysis
        The settings.
    **products
        By ``cleaned_<method>``, {simulation: loader of its cleaned map}; by ``errors_<method>``, that of its
        error map. Predicted errors are drawn where they hold, at the beam of the cleaned maps.

    Returns
    -------
    dict
        {simulation: figure of its intensity}.
    """
    figures = {}
    for name in sorted(truth)[: analysis.figure_simulations]:
        errors = _of_simulation(name, "errors_", products) if has_errors_at(analysis) else {}
        figures[name] = sky_figure(
            _intensity(truth[name], mask, analysis),
            {
                method: _intensity(loader, mask, analysis)
                for method, loader in _of_simulation(name, "cleaned_", products).items()
            },
            mask.intensity.kept,
            title=f"{SPLIT} {name}, intensity",
            analysis=analysis,
            errors={
                method: predicted_errors(load(loader), analysis=analysis)["I"]
                for method, loader in errors.items()
            },
        )
    return figures


def _of_simulation(name: str, prefix: str, products: Mapping[str, Mapping[str, Loader]]) -> dict[str, Loader]:
    """Return {method: loader} of one simulation's products of one kind."""
    return {
        key.removeprefix(prefix): loaders[name]
        for key, loaders in products.items()
        if key.startswith(prefix) and name in loaders
    }


def _intensity(loader: Loader, mask: AnalysisMask, analysis: Analysis) -> Any:
    sky: SkyMap = load(loader)
    return np.asarray(
        postprocess(sky.values[:1], mask, analysis=analysis, fwhm_arcmin=analysis.map_fwhm_arcmin)[0]
    )


def draw_spectra(spectra: pd.DataFrame) -> Figure:
    """Draw the spectra of truth, cleaned maps and residuals, deviations below."""
    return spectra_figure(spectra, title=f"{SPLIT} split: spectra outside the mask")


def draw_calibration(metrics: pd.DataFrame, calibration: pd.DataFrame) -> Figure:
    """Draw how often predicted errors cover the errors made, and how large they are against them."""
    return calibration_figure(metrics, calibration, title=f"{SPLIT} split: predicted errors outside the mask")
