"""The components of one simulation, each as the instrument observes it."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.simulation.foregrounds import component_alms
from cmbml.pipelines.simulation.observe import observe
from cmbml.pipelines.simulation.one_sky import channel_noise
from cmbml.pipelines.simulation.settings import ForegroundSettings, Maps, NoiseSettings
from cmbml.science.harmonics import change_lmax
from cmbml.science.instrument import Instrument, Observations
from cmbml.science.pixels import nside_to_npix
from cmbml.science.units import MAP_UNIT

Array = NDArray[Any]
Record = Mapping[str, Any]


def observed_components(
    cmb_alm: Array,
    parameters: Record,
    seeds: Record,
    *,
    shared: Mapping[str, Array],
    noise_sources: Mapping[str, Any],
    instrument: Instrument,
    settings: ForegroundSettings,
    maps: Maps,
    noise: NoiseSettings,
) -> Iterator[tuple[str, Observations]]:
    """Yield the components of one sky: "cmb", the foregrounds by their names, and "noise".

    They are made again from what the simulation was made of, one at a time, and
    their sum is what `one_sky.observations` returns, up to the rounding of single
    precision. All but the noise are under the channels' beams.
    """
    cmb = change_lmax(cmb_alm, maps.lmax)
    yield "cmb", _observed([cmb] * len(instrument), instrument, maps.nside)
    for name, alm in component_alms(
        parameters, shared, instrument=instrument, settings=settings, lmax=maps.lmax
    ):
        yield name, _observed(alm, instrument, maps.nside)
    drawn = {
        channel.name: channel_noise(seeds, channel, maps.nside, settings=noise, sources=noise_sources)
        for channel in instrument
    }
    yield "noise", Observations(drawn, dict.fromkeys(drawn, MAP_UNIT))


def _observed(sky: Any, instrument: Instrument, nside: int) -> Observations:
    """Return what the channels see of coefficients (n_channels, 1 | 3, alm_size), without noise."""
    maps = {}
    for channel, alm in zip(instrument, sky, strict=True):
        nothing = np.zeros((len(channel.stokes), nside_to_npix(nside)), np.float32)
        maps[channel.name] = observe(alm, channel, nside, nothing)
    return Observations(maps, dict.fromkeys(maps, MAP_UNIT))
