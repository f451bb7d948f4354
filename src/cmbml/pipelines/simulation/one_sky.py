"""One simulation, step by step: every function here computes a single sky."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.partitions import load
from cmbml.pipelines.simulation.cmb import gaussian_alm, lensed_alm
from cmbml.pipelines.simulation.cosmology_draws import cosmology_record
from cmbml.pipelines.simulation.foreground_parameters import draw_parameters
from cmbml.pipelines.simulation.foregrounds import foreground_alm
from cmbml.pipelines.simulation.noise import draw_noise, noise_seed
from cmbml.pipelines.simulation.observe import observe, target_map
from cmbml.pipelines.simulation.settings import (
    ForegroundSettings,
    Maps,
    NoiseSettings,
    SplitCosmology,
    Target,
    Variation,
)
from cmbml.pipelines.simulation.theory import given_theory, theory_of
from cmbml.science.chains import Chain
from cmbml.science.harmonics import alm_size, change_lmax
from cmbml.science.instrument import Channel, Instrument, Observations
from cmbml.science.seeds import generator_of, seed_of
from cmbml.science.skymap import SkyMap, beam_header
from cmbml.science.spectra import PowerSpectra, TheorySpectra
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
        because many readers of JSON would round the number; "split_cosmology" is
        that of a cosmology which all simulations of the split share.
    """
    own = {component: str(seed_of(seed, split, simulation, component)) for component in COMPONENTS}
    shared = {"split_cosmology": str(seed_of(seed, split, "cosmology"))}
    return {"split": split, "simulation": simulation, **own, **shared}


def cosmology(seeds: Record, *, choice: SplitCosmology, chain: Chain | None = None) -> dict[str, Any]:
    """Return the cosmological parameters of one simulation, and where they come from."""
    return cosmology_record(seeds, choice, chain)


def foregrounds(seeds: Record, *, variation: Variation | None) -> dict[str, Any]:
    """Return the foreground parameters of one simulation; without variation, those of all."""
    return draw_parameters(int(seeds["foregrounds"]), variation)


def theory(cosmology: Record, *, lmax: int, accuracy: float | None) -> TheorySpectra:
    """Return unlensed and lensed spectra of one cosmology."""
    return theory_of(cosmology["parameters"], lmax=lmax, accuracy=accuracy)


def theory_as_given(cosmology: Record, *, spectra: PowerSpectra, lmax: int, polarised: bool) -> TheorySpectra:
    """Return spectra that are given, for a simulation without a cosmology."""
    return given_theory(spectra, lmax=lmax, polarised=polarised)


def cmb(theory: TheorySpectra, seeds: Record, *, lmax: int, polarised: bool, kind: str) -> Array:
    """Return the coefficients of one CMB, (1 | 3, nalm), uK_CMB, without beam.

    Where only lensed spectra are known, a "lensed" sky is a Gaussian field of them.
    """

    def generators(field: str) -> np.random.Generator:
        return generator_of(int(seeds["cmb"]), field)

    if kind == "empty":
        return np.zeros((3 if polarised else 1, alm_size(lmax)), np.complex64)
    if kind == "lensed" and theory.unlensed is not None:
        return lensed_alm(theory.unlensed, generators, lmax=lmax, polarised=polarised)
    spectra = theory.require_unlensed() if kind == "unlensed" else theory.lensed
    return gaussian_alm(spectra, generators, lmax=lmax, polarised=polarised)


def truth(cmb_alm: Array, *, target: Target) -> SkyMap:
    """Return the CMB at the common target beam."""
    alm = change_lmax(cmb_alm, target.lmax)
    return SkyMap(
        target_map(alm, target.fwhm_arcmin, target.nside),
        MAP_UNIT,
        header=beam_header(target.fwhm_arcmin, target.lmax),
    )


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
    sky += change_lmax(cmb_alm, maps.lmax)
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
