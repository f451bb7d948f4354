"""Nodes of the needlet ILC."""

from collections.abc import Mapping

import numpy as np

from cmbml.partitions import Loader, Partition, check_origin, lift, restrict
from cmbml.pipelines.pyilc.ilc import needlet_ilc, polarised_needlet_ilc
from cmbml.pipelines.pyilc.settings import NeedletILC
from cmbml.science.instrument import Instrument, Observations
from cmbml.science.skymap import SkyMap, beam_header
from cmbml.science.units import MAP_UNIT

VERSION = 2
"""Raised when the cleaned maps change for equal settings."""


def clean(
    observations: Mapping[str, Loader], instrument: Instrument, pyilc: NeedletILC
) -> dict[str, Partition]:
    """Clean every simulation of a split.

    Parameters
    ----------
    observations
        {simulation: loader of its `Observations`}.
    instrument
        The channels that were simulated.
    pyilc
        Settings of the ILC.

    Returns
    -------
    dict
        {simulation: lazy `SkyMap`}, I or I, Q, U at the common target beam, uK_CMB.

    Raises
    ------
    ValueError
        If observations were made with another instrument.
    """
    check_origin(
        observations,
        what="observations",
        remedy="make both anew: kedro run --pipeline=simulation",
        instrument=instrument,
    )
    names = used_channels(instrument, pyilc).names
    return lift(
        clean_simulation,
        version=VERSION,
        partitioned={"observations": restrict(observations, channels=names, stokes=pyilc.stokes)},
        shared={"instrument": instrument},
        parameters={"settings": pyilc},
    )


def clean_simulation(observations: Observations, instrument: Instrument, settings: NeedletILC) -> SkyMap:
    """Clean one simulation.

    Raises
    ------
    ValueError
        If a channel is missing, or its unit cannot become uK_CMB.
    """
    used = used_channels(instrument, settings)
    beams = np.stack([channel.beam_window(settings.lmax) for channel in used])  # (n_channels, lmax + 1)
    if settings.stokes == "I":
        cleaned = needlet_ilc(observations.intensity(used), beams, settings=settings).cleaned
    else:
        cleaned = polarised_needlet_ilc(observations.stokes(used), beams, settings=settings)
    return SkyMap(cleaned, MAP_UNIT, header=beam_header(settings.fwhm_arcmin, settings.lmax))


def used_channels(instrument: Instrument, settings: NeedletILC) -> Instrument:
    """Return the channels that the ILC combines.

    Raises
    ------
    ValueError
        If a chosen channel is not in the instrument.
    """
    numbers = settings.channel_numbers(instrument.names)
    return instrument.select(tuple(instrument.names[number] for number in numbers))
