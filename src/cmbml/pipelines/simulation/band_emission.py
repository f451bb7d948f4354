"""What a channel reads of an emission model of PySM 3, over its bandpass."""

from typing import Any

import numpy as np
import pysm3
import pysm3.units as u
from numpy.typing import NDArray
from pysm3.models import COLines, InterpolatingComponent, PointSourceCatalog

from cmbml.pipelines.simulation.band_spectra import smooth_band_emission
from cmbml.pipelines.simulation.pysm_presets import Model, undisturbed
from cmbml.pipelines.simulation.pysm_small_scales import DrawnDecorrelation
from cmbml.science.bandpasses import band_average, band_factor
from cmbml.science.beams import beam_window
from cmbml.science.harmonics import alm_to_map, filter_alm, map_to_alm
from cmbml.science.instrument import Channel

Array = NDArray[Any]

_SUMMED = (pysm3.HensleyDraine2017, PointSourceCatalog, DrawnDecorrelation)
"""Classes that are summed over the band here, frequency by frequency.

PySM 3.4.6 cannot integrate the first, and weighs the fluxes of the second as if
they were brightness temperatures; the third draws one function for all channels.
"""


def band_emission(model: Model, channel: Channel) -> Array:
    """Return the emission of a model in a channel, without beam.

    PySM integrates over a tabulated bandpass in its own way, in surface
    brightness; the average becomes thermodynamic by the same weights.

    Parameters
    ----------
    model
        An emission model of PySM, or a `pysm3.Sky` of several.
    channel
        With a tabulated or a delta bandpass.

    Returns
    -------
    numpy.ndarray
        Shape (1 | 3, npix), uK_CMB.

    Raises
    ------
    ValueError
        If the model is a table over frequency that does not cover the band, or
        emits in lines and the bandpass is a delta.
    FileNotFoundError
        If the model needs a file for this band that is not on this computer.
    """
    if hasattr(model, "components"):
        parts = [band_emission(part, channel) for part in model.components]
        total: Array = np.zeros((max(map(len, parts)), parts[0].shape[-1]))
        for part in parts:
            total[: len(part)] += part  # one without polarisation adds to I
        return total
    name = type(model).__name__
    if isinstance(model, COLines) and channel.bandpass is None:
        raise ValueError(
            f"channel {channel.name}: {name} emits in lines, which a delta bandpass never meets; set "
            "instrument.bandpass to tabulated, or leave the preset out"
        )
    if isinstance(model, InterpolatingComponent):
        _check_range(model, channel)
    with undisturbed(name):
        emission = _integrated(model, channel)
    if isinstance(model, InterpolatingComponent):
        model.cached_maps.clear()  # two maps per channel, which no other channel needs
        emission = _without_beam(emission, model)
    return emission


def _integrated(model: Model, channel: Channel) -> Array:
    band = channel.bandpass
    if band is not None and isinstance(model, _SUMMED):
        summed: Array = band_average(channel, lambda ghz: _in_rj(model, ghz))
        return summed
    if band is None:
        emission = _in_rj(model, channel.frequency_ghz)
    else:
        smooth = smooth_band_emission(model, channel)
        if smooth is not None:
            return smooth
        emission = _in_rj(model, np.array(band.frequencies_ghz), weights=np.array(band.weights))
    emission *= band_factor(channel)  # PySM's maps are made for the call, and large
    return emission


def _in_rj(model: Model, frequencies_ghz: Any, **options: Any) -> Array:
    """Return the emission in uK_RJ; some of PySM's classes give (npix,).

    At exactly the reference frequency of I, PySM's modified black body would give
    Q and U of their own reference frequency. A hair beside it, it does not.
    """
    reference = model.freq_ref_I.to_value(u.GHz) if hasattr(model, "freq_ref_I") else 0.0
    beside = np.where(frequencies_ghz == reference, np.nextafter(reference, np.inf), frequencies_ghz)
    if _has_beam(model):
        options["fwhm"] = _stated_beam(model)  # PySM: as the maps are
    emission: Array = np.atleast_2d(model.get_emission(beside * u.GHz, **options).to_value(u.uK_RJ))
    return emission


def _has_beam(model: Model) -> bool:
    """Return whether the maps of a model come with a beam."""
    return bool(getattr(model, "pre_applied_beam", None))


def _stated_beam(model: Model) -> Any:
    return model.pre_applied_beam[str(model.templates_nside)] * model.pre_applied_beam_units


def _check_range(model: Model, channel: Channel) -> None:
    """Refuse a channel for which PySM would warn and give an empty map."""
    band = channel.bandpass
    lowest, *_, highest = (channel.frequency_ghz,) * 2 if band is None else band.frequencies_ghz
    first, last = min(model.freqs), max(model.freqs)
    if lowest < first or highest > last:
        raise ValueError(
            f"channel {channel.name}: reaches from {lowest:g} to {highest:g} GHz, but the maps of "
            f"{type(model).__name__} from {first:g} to {last:g} GHz only; leave out the channel or the preset"
        )


def _without_beam(emission: Array, model: Model) -> Array:
    """Undo the Gaussian beam that some of PySM's maps come with, up to twice the nside."""
    if not _has_beam(model):
        return emission
    lmax = 2 * model.nside
    window = beam_window(_stated_beam(model).to_value(u.rad), lmax)
    return alm_to_map(filter_alm(map_to_alm(emission, lmax), 1 / window), model.nside)
