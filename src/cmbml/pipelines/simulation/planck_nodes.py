"""Nodes that put Planck's own maps in place of a simulation."""

from collections.abc import Mapping

from cmbml.partitions import Loader, Partition, lift, restrict
from cmbml.pipelines.simulation.planck_sky import planck_observations, planck_truth
from cmbml.pipelines.simulation.settings import Maps, PlanckMaps, Target
from cmbml.science.instrument import Instrument

OBSERVATIONS, TRUTH = 1, 1
"""Raised when the results change for equal settings."""

SKY = {"sim0000": "sim0000"}
"""There is one sky, called like the first simulation of a split."""


def observe_planck(
    planck_maps: Mapping[str, Loader],
    planck_instrument: Instrument,
    *,
    instrument: Instrument,
    planck: PlanckMaps,
    maps: Maps,
) -> dict[str, Partition]:
    """Show Planck's maps in the channels of the instrument.

    Parameters
    ----------
    planck_maps
        {channel: loader of Planck's map}.
    planck_instrument
        Planck, for its beams.
    instrument
        The channels, with beams at least as wide.
    planck
        What is known of Planck's maps.
    maps
        Resolution and band limit.

    Returns
    -------
    dict
        {"sim0000": lazy `Observations`}.

    Raises
    ------
    ValueError
        If Planck has no map of a channel.
    """
    used = maps_of_channels(planck_maps, instrument)
    return lift(
        planck_observations,
        version=OBSERVATIONS,
        partitioned={"simulation": SKY},
        shared={"planck_maps": used, "own": planck_instrument, "instrument": instrument},
        parameters={"planck": planck, "maps": maps},
    )


def make_planck_truth(
    planck_nilc: Loader, instrument: Instrument, planck: PlanckMaps, target: Target
) -> dict[str, Partition]:
    """Put Planck's NILC map, at the common target beam, where the truth of a simulation stands.

    Returns
    -------
    dict
        {"sim0000": lazy `SkyMap`}.
    """
    return lift(
        planck_truth,
        version=TRUTH,
        partitioned={"simulation": SKY},
        shared=restrict({"planck_nilc": planck_nilc}, stokes="IQU" if instrument.is_polarised else "I"),
        parameters={"planck": planck, "target": target, "polarised": instrument.is_polarised},
    )


def maps_of_channels(planck_maps: Mapping[str, Loader], instrument: Instrument) -> dict[str, Loader]:
    """Return the loaders of the channels of an instrument.

    Raises
    ------
    ValueError
        If one is missing.
    """
    missing = [name for name in instrument.names if name not in planck_maps]
    if missing:
        raise ValueError(
            f"channels {', '.join(missing)}: Planck has none of that name, only {', '.join(planck_maps)}; "
            "choose others by the global channels"
        )
    return {name: planck_maps[name] for name in instrument.names}
