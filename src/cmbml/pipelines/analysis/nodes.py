"""Nodes of the analysis."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cmbml.partitions import Loader, Partition, check_origin, lift, load
from cmbml.pipelines.analysis.compare import measure, measure_channels
from cmbml.pipelines.analysis.figures import sky_figure, spectra_figure
from cmbml.pipelines.analysis.postprocess import AnalysisMask, analysis_mask, postprocess
from cmbml.pipelines.analysis.settings import Analysis
from cmbml.pipelines.analysis.tables import best_single_channel, comparison_table
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

    Returns
    -------
    dict
        {simulation: lazy record with the rows "metrics" and "spectra"}; empty
        for a method without products.

    Raises
    ------
    ValueError
        If a cleaned simulation has no truth, or was cleaned from other
        observations than those at hand.
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
    return lift(
        measure,
        version=VERSION,
        partitioned={"truth": {name: truth[name] for name in cleaned}, "cleaned": cleaned},
        shared={"mask": mask},
        parameters={"analysis": analysis},
    )


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
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Put the methods and the best single channel side by side.

    Parameters
    ----------
    single_channels
        {simulation: loader of the rows of `measure_single_channels`}.
    **methods
        By method, {simulation: loader of the rows of `measure_method`}. A method
        without products is skipped, with a warning that names it.

    Returns
    -------
    comparison
        Mean and standard deviation over simulations, one row per method.
    metrics
        One row per method, simulation and field.
    spectra
        One row per method, simulation, spectrum and band.
    """
    channels = _rows("metrics", single_channels), _rows("spectra", single_channels)
    best = best_single_channel(channels[0])
    label = f"best single channel ({best} GHz)"
    metrics, spectra = ([rows[rows["method"] == best].assign(method=label)] for rows in channels)
    for method, records in methods.items():
        if not records:
            LOGGER.warning(
                "method %s has no cleaned maps and is skipped; run it with: kedro run --pipeline=%s",
                method,
                method,
            )
            continue
        metrics.append(_rows("metrics", records).assign(method=method))
        spectra.append(_rows("spectra", records).assign(method=method))
    every = pd.concat(metrics, ignore_index=True)
    return comparison_table(every), every, pd.concat(spectra, ignore_index=True)


def _rows(kind: str, records: Mapping[str, Loader]) -> pd.DataFrame:
    tables = [pd.DataFrame(load(record)[kind]).assign(simulation=name) for name, record in records.items()]
    return pd.concat(tables, ignore_index=True).assign(split=SPLIT)


def draw_skies(
    truth: Mapping[str, Loader], mask: AnalysisMask, analysis: Analysis, **methods: Mapping[str, Loader]
) -> dict[str, Figure]:
    """Draw truth, cleaned maps and residuals of the first simulations.

    Returns
    -------
    dict
        {simulation: figure of its intensity}.
    """
    figures = {}
    for name in sorted(truth)[: analysis.figure_simulations]:
        maps = {method: cleaned[name] for method, cleaned in methods.items() if name in cleaned}
        fields = {
            label: _intensity(loader, mask, analysis)
            for label, loader in {"truth": truth[name], **maps}.items()
        }
        figures[name] = sky_figure(
            fields.pop("truth"),
            fields,
            mask.intensity.kept,
            title=f"{SPLIT} {name}, intensity",
            analysis=analysis,
        )
    return figures


def _intensity(loader: Loader, mask: AnalysisMask, analysis: Analysis) -> Any:
    sky: SkyMap = load(loader)
    return np.asarray(
        postprocess(sky.values[:1], mask, analysis=analysis, fwhm_arcmin=analysis.map_fwhm_arcmin)[0]
    )


def draw_spectra(spectra: pd.DataFrame) -> Figure:
    """Draw the spectra of truth, cleaned maps and residuals, deviations below."""
    return spectra_figure(spectra, title=f"{SPLIT} split: spectra outside the mask")
