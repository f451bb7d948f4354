"""The noise of a channel, of whatever kind: the one interface of the others."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.simulation.noise_correlated import correlated_noise, correlated_sources
from cmbml.pipelines.simulation.noise_reference import reference_noise, reference_seed
from cmbml.pipelines.simulation.noise_sensitivity import white_noise
from cmbml.pipelines.simulation.noise_settings import NoiseSettings
from cmbml.pipelines.simulation.noise_variance import rooted_noise, variance_root
from cmbml.science.instrument import Channel
from cmbml.science.pixels import nside_to_npix
from cmbml.science.skymap import SkyMap
from cmbml.science.units import Calibration

Array = NDArray[Any]
Record = Mapping[str, Any]


def noise_sources(
    stokes: str,
    calibration: Calibration,
    *,
    nside: int,
    settings: NoiseSettings,
    variances: SkyMap | None = None,
    model: Mapping[str, Array] | None = None,
    average: SkyMap | None = None,
) -> dict[str, Array]:
    """Return what all simulations share of one channel's noise, computed once.

    Parameters
    ----------
    stokes, calibration
        Fields of the channel, and how surface brightness becomes temperature in it.
    nside
        Resolution of the maps.
    settings
        Kind of the noise.
    variances, model, average
        What the kind needs of them: (co)variances of the channel's pixels, its noise model, and the average
        of its noise simulations.

    Returns
    -------
    dict
        See `variance_root` ("root") and `correlated_sources`.

    Raises
    ------
    ValueError
        If they do not fit the channel.
    """
    if model is not None:
        return correlated_sources(
            model,
            stokes,
            calibration,
            nside=nside,
            settings=settings,
            variances=variances,
            average=average,
        )
    if variances is None:
        return {}
    return {"root": variance_root(variances, nside, stokes=stokes, calibration=calibration)}


def noise_seed(seeds: Record, channel: Channel, settings: NoiseSettings) -> int:
    """Return the seed of one channel's noise in one simulation.

    Parameters
    ----------
    seeds
        The simulation's seeds, with its "split" and "simulation".
    channel
        The channel, which counts only in the recipe "reference".
    settings
        Kind and recipe.
    """
    if settings.kind == "correlated" and settings.recipe == "reference":
        prefix = settings.reference_prefix
        return reference_seed(seeds["split"], seeds["simulation"], channel.name, prefix=prefix)
    return int(seeds["noise"])


def draw_noise(
    channel: Channel, nside: int, *, seed: int, settings: NoiseSettings, sources: Mapping[str, Array]
) -> Array:
    """Draw the noise of one channel.

    Parameters
    ----------
    channel
        Its name, fields and noise levels.
    nside
        Resolution of the map.
    seed
        What `noise_seed` returned; every channel and Stokes field has a stream of its own.
    settings
        Kind and scale.
    sources
        What `noise_sources` returned for this channel; empty for kinds that need none.

    Returns
    -------
    numpy.ndarray
        Shape (n_stokes, npix), uK_CMB, float32: I, or I, Q, U.

    Raises
    ------
    ValueError
        If the kind is "sensitivity" and a level of the channel is not known.
    """
    if settings.kind == "none" or settings.scale == 0:
        return np.zeros((len(channel.stokes), nside_to_npix(nside)), np.float32)
    if settings.kind == "sensitivity":
        return white_noise(channel, nside, seed=seed, settings=settings)
    if settings.kind == "variance":
        noise = rooted_noise(channel, nside, seed=seed, root=sources["root"])
    elif settings.recipe == "reference":
        noise = reference_noise(sources["root"][0], seed=seed, sources=sources)[None]
    else:
        noise = correlated_noise(channel, nside, seed=seed, settings=settings, sources=sources)
    if "average" in sources:
        noise = noise + sources["average"]
    return (noise * np.float32(settings.scale)).astype(np.float32)
