"""Figures of skies and spectra, made without pyplot and its global state."""

from collections.abc import Mapping
from typing import Any

import healpy as hp
import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Ellipse
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import NDArray

from cmbml.pipelines.analysis.settings import Analysis
from cmbml.science.pixels import npix_to_nside

Array = NDArray[Any]

DPI = 100
PANEL_WIDTH = 320
"""Pixels across a map: as many as the figure shows of it at `DPI`."""

DRAWN_NSIDE = 64
"""Its pixels are as large as those of the picture; finer maps are averaged to it, not sampled."""

COLOUR_LEVELS = 17
"""Odd, so that zero has a level of its own. Few levels keep the files of noisy maps small."""

MASK_GREY = "0.72"
RESIDUALS = "residuals: cleaned map − truth"  # noqa: RUF001
UNIT = r"$\mathrm{\mu K_{CMB}}$"
DL_LABEL = r"$D_\ell = \ell(\ell+1)C_\ell/2\pi$   [$\mathrm{\mu K_{CMB}^2}$]"

METHOD_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Told apart with any colour vision (Okabe & Ito 2008); black and grey are left for the truth."""

BAND_PERCENTILES = (16, 84)
"""The scatter over skies that a shaded band shows: one standard deviation of a Gaussian."""

TRANSFER_RANGE = 0.02
"""Least distance from 1 that the panel of transfer functions shows."""

LINEAR_PERCENT = 1.0
"""Deviations are drawn to scale up to this, logarithmically beyond: methods differ by orders of magnitude."""


def sky_figure(
    truth: Array,
    cleaned: Mapping[str, Array],
    kept: Array,
    *,
    title: str,
    analysis: Analysis,
    errors: Mapping[str, Array] | None = None,
) -> Figure:
    """Return a figure of one sky: the truth, and each method's map, residual and predicted error.

    Mollweide projections in Galactic coordinates, the centre of the Galaxy in
    the middle and longitude growing to the left. Truth and cleaned maps share
    one range of colours, the residuals (cleaned - truth) and predicted errors
    another. The rms of a residual, or of a predicted error, is that of the kept
    pixels at the resolution of the map.

    Parameters
    ----------
    truth
        One field, shape (npix,), RING, uK_CMB.
    cleaned
        The same field by the name of the method.
    kept
        Shape (npix,): pixels where it is 0 are drawn in grey.
    title
        Heading, naming the simulation and the field.
    analysis
        The settings, for the ranges of colours.
    errors
        Predicted standard deviation of the same field by the name of the method; methods may lack it.
    """
    predicted = errors or {}
    rows, columns = 1 + len(cleaned), 3 if predicted else 2
    figure = Figure(figsize=(3.3 * columns, 0.4 + 1.85 * rows), dpi=DPI, layout="constrained")
    figure.suptitle(title, fontsize=12)
    axes = figure.subplots(rows, columns, squeeze=False)
    _draw_map(axes[0, 0], truth, kept, limit=analysis.map_range_uk)
    axes[0, 0].set_title("truth", fontsize=10)
    _draw_colour_bars(
        axes[0, 1], analysis, second=RESIDUALS + (", and predicted errors" if predicted else "")
    )
    for panel in axes[:, 2:].flat:
        panel.set_axis_off()
    for row, (method, values) in zip(axes[1:], cleaned.items(), strict=True):
        _draw_map(row[0], values, kept, limit=analysis.map_range_uk)
        row[0].set_title(method, fontsize=10)
        _draw_errors(row[1], values - truth, kept, limit=analysis.residual_range_uk, name="residual")
        if method in predicted:
            _draw_errors(
                row[2], predicted[method], kept, limit=analysis.residual_range_uk, name="predicted error"
            )
    return figure


def _draw_errors(axes: Axes, values: Array, kept: Array, *, limit: float, name: str) -> None:
    """Draw a map of errors with its rms in the title."""
    rms = np.sqrt(np.mean(values[kept > 0].astype(np.float64) ** 2))
    _draw_map(axes, values, kept, limit=limit)
    axes.set_title(f"{name},  rms {rms:.3g} {UNIT}", fontsize=10)


def mollweide_pixels(nside: int, *, width: int) -> NDArray[np.int64]:
    """Return the map pixel behind every pixel of a Mollweide picture of the whole sky.

    Parameters
    ----------
    nside
        Resolution of the map, RING.
    width
        Pixels across the picture, even.

    Returns
    -------
    numpy.ndarray
        Shape (width // 2, width), from north to south and from longitude +180
        degrees on the left to -180 on the right; -1 outside the ellipse.

    References
    ----------
    Snyder 1987, Map Projections: A Working Manual, USGS Professional Paper
    1395, section 31 (the inverse of the Mollweide projection).
    """
    x = 2 * (np.arange(width) + 0.5) / width - 1  # centres of picture pixels, -1 to 1
    y = 1 - 2 * (np.arange(width // 2) + 0.5) / (width // 2)
    x, y = np.meshgrid(x, y)  # (width // 2, width)
    inside = x**2 + y**2 < 1
    theta = np.arcsin(y[inside])
    latitude = np.arcsin((2 * theta + np.sin(2 * theta)) / np.pi)
    longitude = -np.pi * x[inside] / np.cos(theta)
    pixels = np.full(x.shape, -1, dtype=np.int64)
    pixels[inside] = hp.ang2pix(nside, np.degrees(longitude), np.degrees(latitude), lonlat=True)
    return pixels


def _colours() -> Colormap:
    """Diverging colours, white at zero, told apart with any colour vision."""
    return colormaps["RdBu_r"].resampled(COLOUR_LEVELS).with_extremes(bad=MASK_GREY)


def _draw_map(axes: Axes, values: Array, kept: Array, *, limit: float) -> AxesImage:
    """Draw one map as an ellipse, between -limit and limit."""
    shown = np.where(kept > 0, values, hp.UNSEEN)
    nside = npix_to_nside(values.size)
    if nside > DRAWN_NSIDE:
        shown = hp.ud_grade(shown, DRAWN_NSIDE)  # means of the kept pixels
    lookup = mollweide_pixels(min(nside, DRAWN_NSIDE), width=PANEL_WIDTH)
    picture = np.ma.masked_array(shown[lookup], mask=(shown[lookup] == hp.UNSEEN) | (lookup < 0))
    image = axes.imshow(
        picture,
        cmap=_colours(),
        norm=Normalize(-limit, limit),
        extent=(-2, 2, -1, 1),
        interpolation="nearest",
    )
    outline = Ellipse((0, 0), 4, 2, facecolor="none", edgecolor="0.3", linewidth=0.8)
    axes.add_patch(outline)
    image.set_clip_path(outline)
    axes.set_xlim(-2.02, 2.02)
    axes.set_ylim(-1.02, 1.02)
    axes.set_axis_off()
    return image


def _draw_colour_bars(axes: Axes, analysis: Analysis, *, second: str) -> None:
    """Fill a panel with the two colour bars and the key of the mask."""
    axes.set_axis_off()
    bars = (
        (0.76, analysis.map_range_uk, "truth and cleaned maps"),
        (0.37, analysis.residual_range_uk, second),
    )
    for height, limit, label in bars:
        bar = axes.inset_axes((0.12, height, 0.76, 0.07))
        scale = ScalarMappable(norm=Normalize(-limit, limit), cmap=_colours())
        axes.figure.colorbar(scale, cax=bar, orientation="horizontal", extend="both")
        bar.tick_params(labelsize=7.5, pad=1.5)
        bar.set_title(f"{label}  [{UNIT}]", fontsize=9, pad=4)
    key = axes.inset_axes((0.12, 0.04, 0.06, 0.075), xticks=[], yticks=[], facecolor=MASK_GREY)
    key.text(1.4, 0.5, "left out by the mask", transform=key.transAxes, va="center", fontsize=9)


def spectra_figure(rows: pd.DataFrame, *, title: str, spectrum: str = "TT") -> Figure:
    """Return a figure of binned spectra, with the relative deviation and the transfer function below.

    Lines are means over the skies, shaded bands their 16th to 84th percentile.
    Every point stands at the mean multipole of its band.

    Parameters
    ----------
    rows
        Rows of `spectrum_rows` of one split, any number of methods.
    title
        Heading.
    spectrum
        Which of the spectra is drawn.

    Raises
    ------
    ValueError
        If there is no row of that spectrum.
    """
    chosen = rows[rows["spectrum"] == spectrum]
    if chosen.empty:
        raise ValueError(
            f"figure of spectra: no rows of {spectrum}; "
            f"the table has {', '.join(rows['spectrum'].unique()) or 'none'}"
        )
    figure = Figure(figsize=(7.0, 7.6), dpi=DPI, layout="constrained")
    figure.suptitle(title, fontsize=12)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(1.9, 1, 0.8))
    _draw_scatter(top, chosen, "dl_truth_uK2", color="0.55", label="truth", linewidth=5, zorder=1)
    for index, (method, part) in enumerate(chosen.groupby("method", sort=False)):
        percent = part.assign(percent=100 * part["deviation"])
        colour = METHOD_COLOURS[index % len(METHOD_COLOURS)]
        _draw_scatter(top, part, "dl_cleaned_uK2", color=colour, label=str(method), marker="o")
        _draw_scatter(top, part, "dl_residual_uK2", color=colour, linestyle="--")
        _draw_scatter(middle, percent, "percent", color=colour, marker="o")
        _draw_scatter(bottom, part, "transfer", color=colour, marker="o")
    _finish_spectra(top, spectrum=spectrum)
    _finish_deviations(middle)
    means = chosen.groupby(["method", "ell"])["transfer"].mean()
    _finish_transfer(bottom, lmax=int(chosen["ell_last"].max()), farthest=float((means - 1).abs().max()))
    return figure


def _draw_scatter(axes: Axes, rows: pd.DataFrame, column: str, *, color: str, **style: Any) -> None:
    """Draw the mean over skies of every band, and its scatter where there are several skies."""
    bands = rows.groupby("ell")[column]
    means = bands.mean()
    axes.plot(means.index, means, color=color, **({"linewidth": 1.4, "markersize": 3.5} | style))
    low, high = (bands.quantile(percentile / 100) for percentile in BAND_PERCENTILES)
    axes.fill_between(means.index, low, high, color=color, alpha=0.15, linewidth=0)


def _finish_spectra(axes: Axes, *, spectrum: str) -> None:
    """Set scale, labels and legend of the upper panel."""
    axes.set_yscale("log")
    axes.set_ylabel(DL_LABEL)
    axes.text(0.985, 0.95, spectrum, transform=axes.transAxes, ha="right", va="top", fontsize=11)
    axes.plot([], [], color="0.2", linestyle="--", linewidth=1.4, label="residuals: cleaned − truth")  # noqa: RUF001
    axes.legend(
        fontsize=8.5, frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2
    )
    _finish_ticks(axes)


def _finish_deviations(axes: Axes) -> None:
    """Set scale and label of the panel of deviations."""
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_yscale("symlog", linthresh=LINEAR_PERCENT, subs=[2, 5])
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_ylabel("relative deviation of\n" + r"$D_\ell$ from the truth  [%]")
    _finish_ticks(axes)


def _finish_transfer(axes: Axes, *, lmax: int, farthest: float) -> None:
    """Set scales and labels of the panel of transfer functions, which shows every mean."""
    reach = max(TRANSFER_RANGE, 1.1 * farthest)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_ylim(1 - reach, 1 + reach)
    axes.set_ylabel("transfer function\n(cross / truth)")
    axes.set_xlabel(r"multipole $\ell$")
    axes.set_xlim(0, lmax + 1)
    _finish_ticks(axes)


def _finish_ticks(axes: Axes) -> None:
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.tick_params(direction="in", which="both", top=True, right=True)
