"""Small pictures of data, as Kedro-Viz shows them: PNG in base64."""

import base64
import io
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import healpy as hp
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from numpy.typing import NDArray
from PIL import Image

from cmbml.science.pixels import npix_to_nside
from cmbml.science.skymap import UNSEEN, is_unseen

_LARGEST_NSIDE = 64
"""Finer maps are averaged to this; a pixel is then still smaller than two of the picture's."""

_WIDTH = 600
"""Width of the projection in its own pixels; its height is half of that."""

_LARGEST_SIDE = 1000
"""Pixels; with 256 colours this keeps a picture below 200 kB."""

_COLOURS = colormaps["RdBu_r"].with_extremes(bad="0.7")
_RANGE_PERCENT = (1, 99)
"""The colours span these percentiles, so that bright pixels do not hide the rest."""


def figure_png(figure: Figure, *, dpi: float | str = "figure") -> bytes:
    """Return a figure as PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def small_png_text(png: bytes) -> str:
    """Return a PNG with at most 256 colours and 1000 pixels a side, in base64 without a prefix."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE))
    buffer = io.BytesIO()
    palette = picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette.save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def sky_picture(maps: Mapping[str, NDArray[Any]]) -> str:
    """Draw maps in the Mollweide projection, one panel each.

    Parameters
    ----------
    maps
        By title, shape (npix,), RING.

    Returns
    -------
    str
        PNG in base64. The Galactic centre is in the middle, longitude grows to
        the left; what was not observed is grey.
    """
    columns = 1 if len(maps) == 1 else 3
    rows = -(-len(maps) // columns)
    figure = Figure(figsize=(6.4, 3.4) if columns == 1 else (7.2, 1.5 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, (title, values) in zip(panels, maps.items(), strict=False):
        image = _project(values, _WIDTH // columns)
        seen = image[np.isfinite(image)]
        low, high = np.percentile(seen, _RANGE_PERCENT) if seen.size else (0.0, 1.0)
        drawn = panel.imshow(image, extent=(-2, 2, -1, 1), origin="lower", cmap=_COLOURS, vmin=low, vmax=high)
        drawn.set_clip_path(Ellipse((0, 0), 4, 2, transform=panel.transData))
        panel.set_title(title, fontsize=9 if columns == 1 else 7)
        if columns == 1:
            figure.colorbar(drawn, ax=panel, orientation="horizontal", shrink=0.6, aspect=40)
    return small_png_text(figure_png(figure))


def curve_picture(
    curves: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], *, xlabel: str, ylabel: str
) -> str:
    """Draw the sizes of curves on logarithmic axes.

    Parameters
    ----------
    curves
        By label, abscissa and ordinate of one length.
    xlabel, ylabel
        Labels of the axes.

    Returns
    -------
    str
        PNG in base64.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for label, (x, y) in curves.items():
        drawn = (x > 0) & (y != 0)
        axes.loglog(x[drawn], np.abs(y[drawn]), label=label)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.legend(ncols=4, fontsize=8)
    return small_png_text(figure_png(figure))


def _project(values: NDArray[Any], width: int) -> NDArray[np.float64]:
    """Return the picture of a map, shape (width / 2, width), NaN where there is nothing."""
    nside = npix_to_nside(len(values))
    if nside > _LARGEST_NSIDE:
        values, nside = hp.ud_grade(values, _LARGEST_NSIDE), _LARGEST_NSIDE
    pixels = _pixels(nside, width)
    image = np.where(pixels >= 0, values[pixels], UNSEEN).astype(np.float64)
    image[is_unseen(image)] = np.nan
    return image


@lru_cache(maxsize=8)
def _pixels(nside: int, width: int) -> NDArray[np.int64]:
    """Return the map's pixel at each point of the picture, -1 outside the ellipse.

    Inverse of the Mollweide projection with x in [-2, 2], y in [-1, 1]:
    sin t = y, sin(latitude) = (2 t + sin 2t) / pi, longitude = pi x / (2 cos t).
    """
    x = np.linspace(-2, 2, width + 1)[:-1] + 2 / width
    y = np.linspace(-1, 1, width // 2 + 1)[:-1] + 2 / width
    angle = np.arcsin(y)[:, None]  # (width / 2, 1)
    longitude = np.pi * x / (2 * np.cos(angle))  # (width / 2, width)
    sine = (2 * angle + np.sin(2 * angle)) / np.pi
    inside = np.abs(longitude) <= np.pi
    colatitude = np.broadcast_to(np.arccos(np.clip(sine, -1, 1)), longitude.shape)
    return np.where(inside, hp.ang2pix(nside, colatitude, np.where(inside, -longitude, 0)), -1)
