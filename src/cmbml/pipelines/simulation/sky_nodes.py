"""Nodes of the pipelines that look at the sky component by component."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from cmbml.partitions import Loader, Partition, lift
from cmbml.pipelines.simulation.saved_components import observed_components
from cmbml.pipelines.simulation.settings import ForegroundSettings, Maps, NoiseSettings, SkyStatistics
from cmbml.pipelines.simulation.sky_statistics import sky_statistics
from cmbml.science.instrument import Instrument

Loaders = Mapping[str, Loader]

COMPONENTS = 2
"""Raised when the components change for equal settings."""


def observe_components(
    cmb_alm: Loaders,
    parameters: Loaders,
    seeds: Loaders,
    *,
    foreground_alm: Mapping[str, NDArray[Any]],
    noise_sources: Loaders,
    instrument: Instrument,
    foregrounds: ForegroundSettings,
    maps: Maps,
    noise: NoiseSettings,
) -> dict[str, Partition]:
    """Return {simulation: lazy components}, see `observed_components`.

    Parameters
    ----------
    cmb_alm, parameters, seeds, foreground_alm, noise_sources, instrument, foregrounds, maps, noise
        As for the node that makes the observations.
    """
    return lift(
        observed_components,
        version=COMPONENTS,
        partitioned={"cmb_alm": cmb_alm, "parameters": parameters, "seeds": seeds},
        shared={"shared": foreground_alm, "noise_sources": noise_sources, "instrument": instrument},
        parameters={"settings": foregrounds.used, "maps": maps, "noise": noise.used},
    )


def measure_sky(
    foregrounds: ForegroundSettings, instrument: Instrument, maps: Maps, statistics: SkyStatistics
) -> pd.DataFrame:
    """Return the statistics of every foreground component, see `sky_statistics`."""
    return sky_statistics(foregrounds, instrument, maps, presets=statistics.presets)
