"""Figure of predicted errors against the errors made."""

from math import erf, sqrt
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from cmbml.pipelines.analysis.calibration import COVERED_SIGMAS
from cmbml.pipelines.analysis.figures import BAND_PERCENTILES, DPI, METHOD_COLOURS, UNIT
from cmbml.pipelines.analysis.tables import COVERAGES

GAUSSIAN_COVERAGE = tuple(erf(n / sqrt(2)) for n in COVERED_SIGMAS)
"""Shares of a Gaussian within 1, 2 and 3 standard deviations."""

NO_ERRORS = "No method has error maps at the beam of the comparison."
SIDESTEP = 0.14
"""Between points of different methods."""

DECADE_TICKS, SHORT_TICKS = (1, 2, 5), (1, 1.5, 2, 3, 5, 7)
"""Where a decade has ticks, on axes that are longer than one and on shorter ones."""

MARGIN = 1.15
"""Factor by which the axes reach beyond the points."""


def calibration_figure(metrics: pd.DataFrame, calibration: pd.DataFrame, *, title: str) -> Figure:
    """Return a figure of the calibration of every method with error maps, of the intensity.

    Left: share of the pixels within 1, 2 and 3 predicted errors, mean and standard
    deviation over skies, beside that of a Gaussian. Right: actual rms error against the
    predicted one, in bins of the latter; lines are means over skies, shaded bands their
    16th to 84th percentile. Where no method has error maps, the figure says so.

    Parameters
    ----------
    metrics
        Rows of `simulation_rows` of one split.
    calibration
        Rows of `calibration_rows` of the same split.
    title
        Heading.
    """
    figure = Figure(figsize=(9.0, 4.3), dpi=DPI, layout="constrained")
    figure.suptitle(title, fontsize=12)
    skies, bins = (table[table["field"] == "I"] for table in (metrics, calibration))
    methods = list(dict.fromkeys(bins["method"]))
    if not methods:
        figure.text(0.5, 0.5, NO_ERRORS, ha="center", va="center", fontsize=11)
        return figure
    places = {method: place for place, method in enumerate(skies["method"].unique())}  # as in other figures
    left, right = figure.subplots(1, 2)
    for index, method in enumerate(methods):
        colour = METHOD_COLOURS[places[method] % len(METHOD_COLOURS)]
        shift = SIDESTEP * (index - (len(methods) - 1) / 2)
        _draw_coverage(left, skies[skies["method"] == method], shift, color=colour, label=str(method))
        _draw_bins(right, bins[bins["method"] == method], color=colour)
    _finish_coverage(left)
    _finish_bins(right)
    return figure


def _draw_coverage(axes: Axes, rows: pd.DataFrame, shift: float, **style: Any) -> None:
    """Draw mean and standard deviation over skies, beside the number of predicted errors."""
    percent = 100 * rows[list(COVERAGES)]
    spread = percent.std(ddof=1).fillna(0)  # of a single sky
    axes.errorbar(
        np.array(COVERED_SIGMAS) + shift,
        percent.mean(),
        yerr=spread,
        fmt="o",
        markersize=5,
        capsize=3,
        **style,
    )


def _draw_bins(axes: Axes, rows: pd.DataFrame, *, color: str) -> None:
    """Draw mean and scatter over skies of the actual error of every bin."""
    bins = rows.groupby("bin")[["predicted_uK", "rms_uK"]]
    means = bins.mean()
    axes.plot(means["predicted_uK"], means["rms_uK"], color=color, marker="o", linewidth=1.4, markersize=3.5)
    low, high = (bins.quantile(percentile / 100)["rms_uK"] for percentile in BAND_PERCENTILES)
    axes.fill_between(means["predicted_uK"], low, high, color=color, alpha=0.15, linewidth=0)


def _finish_coverage(axes: Axes) -> None:
    """Draw what a Gaussian would give; set scale, labels and legend."""
    for n, share in zip(COVERED_SIGMAS, GAUSSIAN_COVERAGE, strict=True):
        label = "Gaussian errors of the predicted size" if n == COVERED_SIGMAS[0] else ""
        axes.hlines(100 * share, n - 0.4, n + 0.4, color="0.3", linewidth=1.2, label=label, zorder=1)
    axes.set_xticks(
        COVERED_SIGMAS,
        [f"{n}\n({100 * p:.1f} %)" for n, p in zip(COVERED_SIGMAS, GAUSSIAN_COVERAGE, strict=True)],
    )
    axes.set_xlim(COVERED_SIGMAS[0] - 0.5, COVERED_SIGMAS[-1] + 0.5)
    axes.set_ylim(top=min(axes.get_ylim()[1], 102))
    axes.set_xlabel("predicted errors (share of a Gaussian)")
    axes.set_ylabel("pixels within so many predicted errors  [%]")
    axes.grid(axis="y", alpha=0.25, linewidth=0.5)
    axes.legend(fontsize=8.5, frameon=False, loc="lower right")


def _finish_bins(axes: Axes) -> None:
    """Draw the diagonal; set scales, labels and equal ranges."""
    points = np.concatenate([np.asarray(line.get_xydata()).ravel() for line in axes.lines])
    points = points[points > 0]
    span = points.min() / MARGIN, points.max() * MARGIN
    axes.plot(span, span, color="0.3", linewidth=1.2, zorder=1)
    axes.set(xscale="log", yscale="log", xlim=span, ylim=span, aspect="equal")
    subs = DECADE_TICKS if span[1] > 10 * span[0] else SHORT_TICKS
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=subs))
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_locator(NullLocator())
    axes.set_xlabel(f"predicted error, rms of the bin  [{UNIT}]")
    axes.set_ylabel(f"actual error, rms of the bin  [{UNIT}]")
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.tick_params(direction="in", which="both", top=True, right=True)
