"""A trained network cleans a sky."""

from collections.abc import Mapping
from typing import Any

from cmbml.learning.checkpoints import check_checkpoint
from cmbml.learning.inference import predict, trained
from cmbml.learning.transform import transform_from_state
from cmbml.partitions import Loader
from cmbml.pipelines.cmbnncs.features import cleaned_map, make_features
from cmbml.pipelines.cmbnncs.settings import Cmbnncs
from cmbml.pipelines.cmbnncs.training import data_facts
from cmbml.science.instrument import Instrument, Observations
from cmbml.science.skymap import SkyMap


def clean_simulation(
    observations: Observations, checkpoint: Loader, instrument: Instrument, settings: Cmbnncs
) -> SkyMap:
    """Clean one simulation.

    Parameters
    ----------
    observations
        Of one sky.
    checkpoint
        Loader of the trained network; a process loads it once.
    instrument
        The channels that were simulated.
    settings
        What the network sees.

    Returns
    -------
    SkyMap
        I or I, Q, U at the common beam, uK_CMB.

    Raises
    ------
    ValueError
        If the network was trained on other channels, beams, fields or another resolution; a channel is
        missing or has pixels that are not finite; or the result is not finite.
    """
    cleaner = trained(checkpoint)
    check_checkpoint(cleaner.checkpoint, data_facts(instrument, settings))
    scaling: Mapping[str, Any] = cleaner.checkpoint["facts"]["scaling"]
    features = make_features(observations, instrument, settings)
    scaled = transform_from_state(scaling["features"])(features)
    output = predict(cleaner.network, scaled[None])[0]  # (n_fields, 4 nside, 3 nside)
    return cleaned_map(transform_from_state(scaling["target"]).inverse(output), settings)
