"""One simulation, step by step: every function here computes a single sky."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.partitions import load
from cmbml.pipelines.simulation.cmb import lensed_alm
from cmbml.pipelines.simulation.cosmology import (
    cosmology_spectra,
    draw_cosmology,
    mean_cosmology,
    parameter_table,
)
from cmbml.pipelines.simulation.foreground_parameters import draw_parameters
from cmbml.pipelines.simulation.foregrounds import foreground_alm
from cmbml.pipelines.simulation.noise import draw_noise, noise_seed
from cmbml.pipelines.simulation.observe import observe, target_map
from cmbml.pipelines.simulation.settings import (
    CMBSettings,
    CosmologySettings,
    ForegroundSettings,
    Maps,
    NoiseSettings,
    Target,
    Variation,
)
from cmbml.science.instrument import Channel, Instrument, Observations
from cmbml.science.seeds import generator_of, seed_of
from cmbml.science.skymap import SkyMap
from cmbml.science.spectra import TheorySpectra
from cmbml.science.units import MAP_UNIT

Array = NDArray[Any]
Record = Mapping[str, Any]

COMPONENTS = ("cosmology", "cmb", "foregrounds", "noise")
"""What of a simulation is drawn, each from a seed of its own."""


def seeds(simulation: str, *, split: str, seed: int) -> dict[str, Any]:
    """Return the seed of every random component of one simulation.

    Returns
    -------
    dict
        "split", "simulation", and by component a 128-bit seed as a decimal text,
        because many readers of JSON would round the number.
    """
    own = {component: str(seed_of(seed, split, simulation, component)) for component in COMPONENTS}
    return {"split": split, "simulation": simulation, **own}


def cosmology(seeds: Record, *, settings: CosmologySettings) -> dict[str, float]:
    """Return the cosmological parameters of one simulation, by CAMB's names."""
    table = parameter_table(settings.table)
    return (
        draw_cosmology(table, generator_of(int(seeds["cosmology"])))
        if settings.vary
        else mean_cosmology(table)
    )


def foregrounds(seeds: Record, *, variation: Variation | None) -> dict[str, Any]:
    """Return the foreground parameters of one simulation; without variation, those of all."""
    return draw_parameters(int(seeds["foregrounds"]), variation)


def theory(cosmology: Mapping[str, float], *, settings: CMBSettings) -> TheorySpectra:
    """Return unlensed and lensed spectra of one cosmology."""
    return cosmology_spectra(cosmology, lmax=settings.lmax, accuracy=settings.lens_potential_accuracy)


def cmb(theory: TheorySpectra, seeds: Record, *, lmax: int, polarised: bool) -> Array:
    """Return the coefficients of one lensed CMB, (1 | 3, nalm), uK_CMB, without beam."""

    def generators(field: str) -> np.random.Generator:
        return generator_of(int(seeds["cmb"]), field)

    return lensed_alm(theory.unlensed, generators, lmax=lmax, polarised=polarised)


def truth(cmb_alm: Array, *, target: Target) -> SkyMap:
    """Return the CMB at the common target beam."""
    return SkyMap(target_map(cmb_alm, target.fwhm_arcmin, target.nside), MAP_UNIT)


def observations(
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
) -> Observations:
    """Return what the instrument observes of one sky, uK_CMB."""
    sky = foreground_alm(parameters, shared, instrument=instrument, settings=settings, lmax=maps.lmax)
    sky += cmb_alm
    observed = {}
    for channel, alm in zip(instrument, sky, strict=True):
        own_noise = channel_noise(seeds, channel, maps.nside, settings=noise, sources=noise_sources)
        observed[channel.name] = observe(alm, channel, maps.nside, own_noise)
    return Observations(observed, dict.fromkeys(observed, MAP_UNIT))


def channel_noise(
    seeds: Record, channel: Channel, nside: int, *, settings: NoiseSettings, sources: Mapping[str, Any]
) -> Array:
    """Return the noise of one channel of one simulation, (n_stokes, npix), uK_CMB.

    Parameters
    ----------
    seeds
        The simulation's seeds.
    channel, nside
        The channel, and the resolution of its map.
    settings
        Kind of the noise.
    sources
        By channel, what simulations share, or its loader: only this channel's is loaded, and not kept.
    """
    own = load(sources.get(channel.name, {}))
    seed = noise_seed(seeds, channel, settings)
    return draw_noise(channel, nside, seed=seed, settings=settings, sources=own)
