"""Statistics of foreground components: how bright each is in every channel and Stokes field."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cmbml.pipelines.simulation.foregrounds import component_map, fixed_sky
from cmbml.pipelines.simulation.settings import ForegroundSettings, Maps
from cmbml.science.instrument import Channel, Instrument
from cmbml.science.units import MAP_UNIT

Array = NDArray[Any]

QUARTILES = {"minimum": 0.0, "first_quartile": 0.25, "median": 0.5, "third_quartile": 0.75, "maximum": 1.0}
"""Columns of the table that are quantiles of the pixels."""


def sky_statistics(
    foregrounds: ForegroundSettings, instrument: Instrument, maps: Maps, *, presets: list[str]
) -> pd.DataFrame:
    """Measure the components of the sky that simulations share where foregrounds do not vary.

    Parameters
    ----------
    foregrounds
        The run's own foregrounds, embedded or presets.
    instrument
        Channels; beams do not count.
    maps
        Band limit of components that are drawn as coefficients.
    presets
        Presets of PySM 3 to measure besides.

    Returns
    -------
    pandas.DataFrame
        A row per component, channel and Stokes field that the channel measures:
        quantiles, mean and standard deviation of the pixels at `foregrounds.nside`
        in uK_CMB; "build_seconds", in which the component was built, templates and
        all (the embedded sky is drawn whole: the same for all its components); and
        "seconds" of the emission, for all fields together.

    Raises
    ------
    ValueError
        If the source of the foregrounds is "planck".
    """
    rows: list[dict[str, Any]] = []
    for settings in _sources(foregrounds, presets):
        start = time.perf_counter()
        components = fixed_sky(settings, instrument, maps.lmax)
        drawing = time.perf_counter() - start
        for name, build in components.items():
            start = time.perf_counter()
            model = build()
            building = drawing + time.perf_counter() - start
            for channel in instrument:
                for row in _channel_rows(name, model, channel, nside=settings.nside, lmax=maps.lmax):
                    rows.append({**row, "build_seconds": building})
            del model  # so that its templates are let go before those of the next
    return pd.DataFrame(rows)


def _sources(foregrounds: ForegroundSettings, presets: list[str]) -> Iterator[ForegroundSettings]:
    """Yield the settings of the run, and those of each further preset."""
    still = foregrounds.model_copy(update={"vary": False})
    yield still
    known = foregrounds.presets if foregrounds.source == "pysm" else []
    for preset in presets:
        if preset not in known:
            yield still.model_copy(update={"source": "pysm", "presets": [preset]})


def _channel_rows(
    name: str, model: Any, channel: Channel, *, nside: int, lmax: int
) -> Iterator[dict[str, Any]]:
    """Yield a row per Stokes field of one component in one channel."""
    start = time.perf_counter()
    emission = component_map(model, channel, nside, fields=len(channel.stokes), lmax=lmax)
    seconds = time.perf_counter() - start
    for stokes, values in zip(channel.stokes, emission, strict=True):
        mean = values.mean(dtype=np.float64)
        yield {
            "component": name,
            "channel": channel.name,
            "stokes": stokes,
            **dict(zip(QUARTILES, np.quantile(values, list(QUARTILES.values())).tolist(), strict=True)),
            "mean": mean,
            "standard_deviation": values.std(dtype=np.float64, mean=mean),
            "unit": MAP_UNIT,
            "seconds": seconds,
        }
