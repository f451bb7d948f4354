"""Nodes of the simulation: each lifts a function of one simulation to a split."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from cmbml.partitions import Loader, Partition, lift, load
from cmbml.pipelines.simulation import one_sky
from cmbml.pipelines.simulation.foregrounds import fixed_foregrounds
from cmbml.pipelines.simulation.noise import noise_sources
from cmbml.pipelines.simulation.planck_nodes import maps_of_channels
from cmbml.pipelines.simulation.planck_sky import planck_foregrounds
from cmbml.pipelines.simulation.settings import (
    CMBSettings,
    CosmologySettings,
    ForegroundSettings,
    InstrumentSettings,
    Maps,
    MaskSettings,
    NoiseSettings,
    PlanckMaps,
    Simulations,
    Target,
)
from cmbml.pipelines.simulation.sky_mask import mask_statistics, sky_mask
from cmbml.science.instrument import Instrument, channel_names
from cmbml.science.skymap import SkyMap

SPLITS = ("train", "valid", "test")
Lazy = dict[str, Partition]
Loaders = Mapping[str, Loader]

# Raised when the results of a function change for equal settings, one for each function of `one_sky`.
SEEDS, COSMOLOGY, FOREGROUNDS, THEORY, CMB, TRUTH, OBSERVATIONS = 2, 2, 1, 4, 3, 2, 3
NOISE_SOURCES = 3


def select_channels(instrument_table: Instrument, instrument: InstrumentSettings) -> Instrument:
    """Return the channels of the settings, with their beams.

    Raises
    ------
    ValueError
        If a channel is not in the instrument table.
    """
    names = channel_names(instrument.channels, instrument_table.names)
    chosen = instrument_table.select(names).with_stokes(instrument.stokes)
    return chosen.with_beams(scale=instrument.beam_scale, floor_arcmin=instrument.fwhm_floor_arcmin)


def make_instrument(
    instrument_table: Instrument, instrument: InstrumentSettings, bandpass_table: Loader
) -> Instrument:
    """Return the channels to simulate, with their beams and bandpasses.

    Parameters
    ----------
    instrument_table, instrument
        All channels, and the settings.
    bandpass_table
        Loader of {channel: bandpass}; loaded only where bandpasses are tabulated.

    Raises
    ------
    ValueError
        If a channel is not in the instrument table, or not in the table of bandpasses.
    """
    bandpasses = bandpass_table() if instrument.bandpass == "tabulated" else None
    return select_channels(instrument_table, instrument).with_bandpasses(bandpasses)


def make_mask(mask: MaskSettings, mask_input: Loader) -> tuple[SkyMap, dict[str, dict[str, float]]]:
    """Return the masks of the comparison, and how much of the sky they keep.

    Parameters
    ----------
    mask
        The settings.
    mask_input
        Loader of a published mask; loaded only if a cut has the source "planck".
    """
    published = load(mask_input) if any(cut.source == "planck" for cut in mask.cuts) else None
    made = sky_mask(mask, published)
    return made, mask_statistics(made)


def assign_seeds(simulations: Simulations) -> tuple[Lazy, Lazy, Lazy]:
    """Return {simulation: lazy seeds} of the train, valid and test split."""
    train, valid, test = (_seeds(split, getattr(simulations, split), simulations.seed) for split in SPLITS)
    return train, valid, test


def _seeds(split: str, n: int, seed: int) -> Lazy:
    names = {f"sim{number:04d}": f"sim{number:04d}" for number in range(n)}
    return lift(
        one_sky.seeds,
        version=SEEDS,
        partitioned={"simulation": names},
        parameters={"split": split, "seed": seed},
    )


def draw_cosmology(
    seeds: Loaders, cosmology: CosmologySettings, wmap_chains_lcdm: Loader, wmap_chains_mnu: Loader
) -> Lazy:
    """Return {simulation: lazy cosmological parameters}; a chain is read only where it is drawn from."""
    choice = cosmology.of_split(_first(seeds)["split"])
    chains = {"lcdm": wmap_chains_lcdm, "mnu": wmap_chains_mnu}
    return lift(
        one_sky.cosmology,
        version=COSMOLOGY,
        partitioned={"seeds": seeds},
        shared={"chain": chains[choice.chain]} if choice.chain else {},
        parameters={"choice": choice},
    )


def draw_foregrounds(seeds: Loaders, foregrounds: ForegroundSettings) -> Lazy:
    """Return {simulation: lazy foreground parameters}; only what makes simulations differ counts."""
    variation = foregrounds.variation if foregrounds.vary else None
    return lift(
        one_sky.foregrounds,
        version=FOREGROUNDS,
        partitioned={"seeds": seeds},
        parameters={"variation": variation},
    )


def compute_theory(
    cosmology: Loaders, cmb: CMBSettings, instrument: Instrument, given_theory: Loader
) -> Lazy:
    """Return {simulation: lazy `TheorySpectra`}: computed, or given where there is no cosmology."""
    if _first(cosmology)["source"] == "given":
        return lift(
            one_sky.theory_as_given,
            version=THEORY,
            partitioned={"cosmology": cosmology},
            shared={"spectra": given_theory},
            parameters={"lmax": cmb.lmax, "polarised": instrument.is_polarised},
        )
    accuracy = cmb.lens_potential_accuracy if cmb.spectra == "camb" else None
    return lift(
        one_sky.theory,
        version=THEORY,
        partitioned={"cosmology": cosmology},
        parameters={"lmax": cmb.lmax, "accuracy": accuracy},
    )


def make_cmb(theory: Loaders, seeds: Loaders, instrument: Instrument, cmb: CMBSettings) -> Lazy:
    """Return {simulation: lazy coefficients of the CMB}, without beam."""
    return lift(
        one_sky.cmb,
        version=CMB,
        partitioned={"theory": theory, "seeds": seeds},
        parameters={"lmax": cmb.lmax, "polarised": instrument.is_polarised, "kind": cmb.kind},
    )


def _first(loaders: Loaders) -> Any:
    """Return the record of the first simulation, for what all of a split have in common."""
    return load(next(iter(loaders.values())))


def make_truth(cmb_alm: Loaders, target: Target) -> Lazy:
    """Return {simulation: lazy `SkyMap` of the CMB at the common target beam}."""
    return lift(one_sky.truth, version=TRUTH, partitioned={"cmb_alm": cmb_alm}, parameters={"target": target})


def prepare_foregrounds(
    foregrounds: ForegroundSettings,
    instrument: Instrument,
    maps: Maps,
    *,
    planck_maps: Loaders,
    planck_nilc: Loader,
    planck_instrument: Instrument,
    planck: PlanckMaps,
) -> dict[str, NDArray[Any]]:
    """Compute once what all simulations share of the foregrounds.

    Parameters
    ----------
    foregrounds, instrument, maps
        Settings, channels, band limit.
    planck_maps, planck_nilc
        Loaders of Planck's channels and of its CMB; read only for the source "planck".
    planck_instrument, planck
        Planck's beams, and what else is known of its maps.
    """
    if foregrounds.source != "planck":
        return fixed_foregrounds(foregrounds, instrument, maps)
    return planck_foregrounds(
        maps_of_channels(planck_maps, instrument),
        planck_nilc,
        own=planck_instrument,
        instrument=instrument,
        planck=planck,
        lmax=maps.lmax,
    )


def prepare_noise(
    instrument: Instrument,
    planck_variances: Loaders,
    noise_models: Loader,
    noise_averages: Loader,
    *,
    planck: PlanckMaps,
    maps: Maps,
    noise: NoiseSettings,
) -> Lazy:
    """Return {channel: lazy arrays}: what all simulations share of the noise; nothing if they share nothing.

    Parameters
    ----------
    instrument
        The channels.
    planck_variances
        By channel, loaders.
    noise_models, noise_averages
        Loaders of loaders by channel; called only if the kind of noise needs them.
    planck, maps, noise
        What is known of Planck's channels, and the settings.

    Raises
    ------
    ValueError
        If a channel lacks what the kind of noise needs.
    """
    given = {
        "variances": planck_variances if noise.uses_variances else None,
        "model": noise_models() if noise.uses_model else None,
        "average": noise_averages() if noise.uses_average else None,
    }
    used = {name: loaders for name, loaders in given.items() if loaders is not None}
    channels = list(instrument) if used else []
    for name, loaders in used.items():
        missing = [channel.name for channel in channels if channel.name not in loaders]
        if missing:
            raise ValueError(f"noise.kind {noise.kind}: channels {', '.join(missing)} have no {name}")
    return lift(
        noise_sources,
        version=NOISE_SOURCES,
        partitioned={
            "stokes": {channel.name: channel.stokes for channel in channels},
            "calibration": {channel.name: planck.calibration(channel) for channel in channels},
            **{name: {c.name: loaders[c.name] for c in channels} for name, loaders in used.items()},
        },
        parameters={"nside": maps.nside, "settings": noise.of_sources},
    )


def observe(
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
) -> Lazy:
    """Return {simulation: lazy `Observations`}: beam * (CMB + foregrounds) + noise.

    Parameters
    ----------
    cmb_alm, parameters, seeds
        By simulation: coefficients of the CMB, foreground parameters, seeds.
    foreground_alm
        What `prepare_foregrounds` computed.
    noise_sources
        By channel, loaders of what `prepare_noise` computed.
    instrument
        The channels.
    foregrounds, maps, noise
        The settings.
    """
    return lift(
        one_sky.observations,
        version=OBSERVATIONS,
        partitioned={"cmb_alm": cmb_alm, "parameters": parameters, "seeds": seeds},
        shared={"shared": foreground_alm, "noise_sources": noise_sources, "instrument": instrument},
        parameters={"settings": foregrounds.used, "maps": maps, "noise": noise.used},
    )
