"""Nodes of the pipeline `noise_model`: each lifts a function of one channel to the channels."""

from collections.abc import Mapping
from typing import Any

from cmbml.partitions import Loader, Partition, lift
from cmbml.pipelines.simulation import noise_model as models
from cmbml.pipelines.simulation.nodes import select_channels
from cmbml.pipelines.simulation.settings import InstrumentSettings, NoiseModelSettings, PlanckMaps
from cmbml.science.instrument import Instrument

Simulations = Mapping[str, Mapping[str, Loader]]
Lazy = dict[str, Partition]

# Raised when the results of a function change for equal settings.
AVERAGE, MODEL = 2, 3


def average_noise(
    noise_simulations: Simulations,
    instrument_table: Instrument,
    *,
    instrument: InstrumentSettings,
    noise_model: NoiseModelSettings,
    planck: PlanckMaps,
) -> Lazy:
    """Return {channel: lazy average of its noise simulations}.

    Parameters
    ----------
    noise_simulations
        By channel and name, loaders of maps.
    instrument_table, instrument
        The channels there are, and which are chosen.
    noise_model
        How many simulations are used.
    planck
        How surface brightness becomes temperature.

    Raises
    ------
    ValueError
        If a channel has fewer simulations than asked for, or than 2.
    """
    channels = select_channels(instrument_table, instrument)
    return lift(
        models.average_map,
        version=AVERAGE,
        partitioned={
            "simulations": chosen_simulations(noise_simulations, channels, noise_model.simulations),
            "stokes": {channel.name: channel.stokes for channel in channels},
            "calibration": {channel.name: planck.calibration(channel) for channel in channels},
        },
    )


def fit_noise_model(
    noise_simulations: Simulations,
    noise_averages: Loader,
    instrument_table: Instrument,
    *,
    instrument: InstrumentSettings,
    noise_model: NoiseModelSettings,
    planck: PlanckMaps,
) -> Lazy:
    """Return {channel: lazy noise model}.

    Parameters
    ----------
    noise_simulations
        By channel and name, loaders of maps.
    noise_averages
        Loader of what `average_noise` computed: loaders by channel.
    instrument_table, instrument, noise_model, planck
        As in `average_noise`.

    Raises
    ------
    ValueError
        If a channel has fewer simulations than asked for, or than 2.
    """
    channels, averages = select_channels(instrument_table, instrument), noise_averages()
    return lift(
        models.fit_noise_model,
        version=MODEL,
        partitioned={
            "simulations": chosen_simulations(noise_simulations, channels, noise_model.simulations),
            "average": {name: averages[name] for name in channels.names},
            "calibration": {channel.name: planck.calibration(channel) for channel in channels},
        },
        parameters={"settings": noise_model},
    )


def chosen_simulations(
    simulations: Simulations, instrument: Instrument, count: int | None
) -> dict[str, dict[str, Any]]:
    """Return the first `count` simulations of every channel, by name; all for None.

    Raises
    ------
    ValueError
        If a channel has fewer than that, or than 2.
    """
    few = {
        name: len(simulations.get(name, {}))
        for name in instrument.names
        if len(simulations.get(name, {})) < (count or 2)
    }
    if few:
        listed = ", ".join(f"{name} has {number}" for name, number in few.items())
        raise ValueError(
            f"noise simulations: at least {count or 2} are needed per channel, but {listed}; fetch them with "
            "the pipeline assets, choose other channels, or lower noise_model.simulations"
        )
    return {
        name: {key: simulations[name][key] for key in sorted(simulations[name])[:count]}
        for name in instrument.names
    }
