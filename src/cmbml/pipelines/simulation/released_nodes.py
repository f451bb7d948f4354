"""Node that makes a released dataset usable in place of a simulation."""

from collections.abc import Mapping

from cmbml.partitions import Loader, Partition, lift
from cmbml.pipelines.simulation.released import common_truth
from cmbml.pipelines.simulation.settings import ReleasedTruth, Target
from cmbml.science.instrument import Instrument

VERSION = 1
"""Raised when the truth changes for equal settings."""


def bring_truth(
    released_cmb: Mapping[str, Loader],
    instrument: Instrument,
    target: Target,
    released_truth: ReleasedTruth,
) -> dict[str, Partition]:
    """Bring the true CMB of every simulation to the common target beam.

    Parameters
    ----------
    released_cmb
        {simulation: loader of its `SkyMap`}, as released.
    instrument
        The channels; without polarisation, the intensity of the truth is enough.
    target
        The common beam.
    released_truth
        What is known of the released maps.

    Returns
    -------
    dict
        {simulation: lazy `SkyMap`}.
    """
    return lift(
        common_truth,
        version=VERSION,
        partitioned={"released": released_cmb},
        parameters={
            "fwhm_arcmin": released_truth.fwhm_arcmin,
            "target": target,
            "polarised": instrument.is_polarised,
        },
    )
