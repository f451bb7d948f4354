"""From observations to what a trained network says of them, and from that to maps.

A prediction is a `SkyMap` of three fields, RING, uK_CMB, at the beam of the cleaned map: the mean, and the
two parts of its standard deviation.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.learning.checkpoints import check_checkpoint
from cmbml.learning.inference import device_of, trained
from cmbml.learning.transform import transform_from_state
from cmbml.partitions import Loader
from cmbml.pipelines.petroff.corrections import corrected_mean, total_error
from cmbml.pipelines.petroff.features import make_features, ring
from cmbml.pipelines.petroff.sampling import sampled
from cmbml.pipelines.petroff.settings import Petroff, SamplingSettings
from cmbml.pipelines.petroff.training import data_facts
from cmbml.science.instrument import Instrument, Observations
from cmbml.science.skymap import SkyMap, beam_header
from cmbml.science.units import MAP_UNIT

PREDICTED = ("I", "I_ERROR_STATISTICAL", "I_ERROR_MODEL")
"""Fields of a prediction: the mean; the scatter of passes with active dropout; the error that they state."""

ERRORS = ("I_ERROR", *PREDICTED[1:])
"""Fields of an error map: all of it, and its two parts."""

Array = NDArray[Any]


def predict_simulation(
    observations: Observations,
    simulation: str,
    network: None,
    checkpoint: Loader,
    instrument: Instrument,
    *,
    settings: Petroff,
    sampling: SamplingSettings,
) -> SkyMap:
    """Return what a network says of one simulation.

    Parameters
    ----------
    observations
        Of one sky.
    simulation
        Its split and name, which the dropped features follow from.
    network
        Which network is asked, and how; recorded, not used.
    checkpoint
        Loader of the trained network; a process loads it once.
    instrument
        The channels that were simulated.
    settings
        What the network sees.
    sampling
        How often it is asked.

    Returns
    -------
    SkyMap
        Fields `PREDICTED`, RING, uK_CMB.

    Raises
    ------
    ValueError
        If the network was trained on other channels, beams or another resolution; a channel is missing or has
        pixels that are not finite; a GPU is asked for that is not there; or the result is not finite.
    """
    cleaner = trained(checkpoint)
    check_checkpoint(cleaner.checkpoint, data_facts(instrument, settings))
    scaling: Mapping[str, Any] = cleaner.checkpoint["facts"]["scaling"]
    features = transform_from_state(scaling["features"])(make_features(observations, instrument, settings))
    answer = sampled(
        cleaner.network.to(device_of(sampling.accelerator)),
        features,
        fields=1,
        samples=sampling.samples,
        batch=sampling.batch,
        key=(sampling.seed, simulation),
    )
    target = transform_from_state(scaling["target"])
    unit = target.inverse(np.ones((1, 1))) - target.inverse(np.zeros((1, 1)))  # uK_CMB, of 1 in its scale
    values = [
        target.inverse(answer.mean),
        *(np.sqrt(part) * abs(unit) for part in (answer.scatter, answer.noise)),
    ]
    return SkyMap(
        ring(np.concatenate(values)).astype(np.float32),
        MAP_UNIT,
        PREDICTED,
        header=beam_header(settings.fwhm_arcmin, settings.lmax),
    )


def clean_simulation(
    prediction: SkyMap, observations: None, settings: Petroff, spectrum: Mapping[str, Any] | None = None
) -> SkyMap:
    """Return the cleaned map: the mean up to lmax, with the spectrum corrected if that is wanted.

    Parameters
    ----------
    prediction
        Of one sky.
    observations
        What was predicted from; recorded, not used.
    settings
        What the network finds.
    spectrum
        See `cmbml.pipelines.petroff.corrections.fit_spectrum`; None for no correction.

    Returns
    -------
    SkyMap
        I at the common beam, RING, uK_CMB.
    """
    cleaned = corrected_mean(prediction, spectrum, lmax=settings.lmax)
    return SkyMap(cleaned[None].astype(np.float32), MAP_UNIT, header=prediction.header)


def error_simulation(
    prediction: SkyMap, observations: None, errors: Mapping[str, Any] | None = None
) -> SkyMap:
    """Return one standard deviation per pixel: all of it, and its two parts, scaled if that is wanted.

    Parameters
    ----------
    prediction
        Of one sky.
    observations
        What was predicted from; recorded, not used.
    errors
        See `cmbml.pipelines.petroff.corrections.fit_errors`; None for no scaling.

    Returns
    -------
    SkyMap
        Fields I_ERROR, I_ERROR_STATISTICAL and I_ERROR_MODEL, RING, uK_CMB.
    """
    factor = 1.0 if errors is None else float(errors["factor"])
    values = np.concatenate([total_error(prediction)[None], prediction.values[1:]]) * factor
    return SkyMap(values.astype(np.float32), MAP_UNIT, ERRORS, header=prediction.header)


def cut_simulation(errors: SkyMap, cut_uk: float) -> SkyMap:
    """Return 1 where the error is at most the cut, else 0; no pixel of the cleaned map is changed by it.

    References
    ----------
    Petroff et al. 2020, ApJ 903, 104, arXiv:2004.11507, section 4: pixels above 50 uK are cut.
    """
    return SkyMap((errors.values[:1] <= cut_uk).astype(np.float32), "", ("I_MASK",))
