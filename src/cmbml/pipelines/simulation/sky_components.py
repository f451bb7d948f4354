"""Foreground components as PySM 3 models, and their emission in a channel.

The embedded sky's templates and PySM's presets become the same thing here: PySM's
own emission classes. Nothing is ever downloaded: a preset whose templates are not
on this computer is an error that says where they belong.
"""

from collections.abc import Mapping
from typing import Any

import healpy as hp
import numpy as np
import pysm3
import pysm3.units as u
from numpy.typing import NDArray

from cmbml.pipelines.simulation.band_emission import band_emission
from cmbml.pipelines.simulation.embedded_profiles import DUST_GHZ, LOW_GHZ
from cmbml.pipelines.simulation.embedded_sky import SkyTemplates
from cmbml.pipelines.simulation.embedded_targets import FREE_FREE_INDEX
from cmbml.pipelines.simulation.pysm_presets import Model, pysm_components
from cmbml.pipelines.simulation.spectral_offsets import (
    SpectralOffsets,
    check_index_offset,
    check_temperature,
    offset_factor,
    with_temperature_offset,
)
from cmbml.science.instrument import Channel

__all__ = [
    "SpectralOffsets",
    "add_emission",
    "component_emission",
    "embedded_components",
    "offset_factor",
    "pysm_components",
    "with_temperature_offset",
]

Array = NDArray[Any]

AME_PEAK_GHZ, AME_WIDTH = 25.0, 0.4264
"""Log-normal flux spectrum of the AME: peak, and width in ln of the frequency.

The width makes 100 GHz over 30 GHz 5e-4 in K_RJ, as measured
(`embedded_targets.AME_100_TO_30`); fits to single clouds have widths of 0.4 to 0.7.
"""


class InMemorySpDust(pysm3.SpDust):  # type: ignore[misc]
    """PySM's spinning dust with the emissivity given as an array instead of a file.

    `emissivity` has the frequencies in GHz in row 0 and a flux in row 1.
    """

    def read_txt(self, path: Array, **_: Any) -> Array:
        """Return the table that stands where PySM expects a path."""
        return path


def ame_emissivity() -> Array:
    """Return the flux spectrum of the AME, ln S = -(ln nu/nu_peak)^2 / (2 W^2).

    Returns
    -------
    numpy.ndarray
        Shape (2, 2001): frequency in GHz, flux (1 at the peak). Fine enough that
        a line between two points is within 0.1 per cent below 350 GHz.

    References
    ----------
    .. [1] Stevenson 2014, ApJ 781, 113.
    """
    frequency = np.geomspace(0.5, 5000, 2001)
    flux = np.exp(-0.5 * (np.log(frequency / AME_PEAK_GHZ) / AME_WIDTH) ** 2)
    return np.stack([frequency, flux])


def embedded_components(
    templates: SkyTemplates, *, offsets: Mapping[str, SpectralOffsets] | None = None
) -> dict[str, Model]:
    """Turn the templates of an embedded sky into PySM models.

    Parameters
    ----------
    templates
        Of one sky; they are used where they are, not copied.
    offsets
        By component: "dust", "synchrotron", "free_free", "ame". Those left out
        are as their templates.

    Returns
    -------
    dict
        A model for each of the four names.

    Raises
    ------
    ValueError
        If an offset names another component, or a quantity the component lacks.
    """
    given = dict(offsets or {})
    none = SpectralOffsets()
    components = {
        "dust": _dust(templates, given.pop("dust", none)),
        "synchrotron": _synchrotron(templates, given.pop("synchrotron", none)),
        "free_free": _free_free(templates, given.pop("free_free", none)),
        "ame": _ame(templates, given.pop("ame", none)),
    }
    if given:
        raise ValueError(f"offsets for {', '.join(given)}: the embedded sky has {', '.join(components)}")
    return components


def _stokes(maps: Array, brightness: float) -> tuple[Any, Any, Any]:
    """Return I, Q, U as quantities; Q and U without polarisation are zero.

    PySM's modified black body has no working form without Q and U.
    """
    scaled = maps if brightness == 1 else maps * np.float32(brightness)
    intensity = scaled[0] << u.uK_RJ
    if len(scaled) == 3:
        return intensity, scaled[1] << u.uK_RJ, scaled[2] << u.uK_RJ
    nothing = np.zeros_like(scaled[0]) << u.uK_RJ
    return intensity, nothing, nothing


def _shifted(values: Array, offset: float) -> Array:
    return values if offset == 0 else values + np.float32(offset)


def _dust(templates: SkyTemplates, offsets: SpectralOffsets) -> Model:
    intensity, q, u_ = _stokes(templates.dust, offsets.brightness)
    temperature = _shifted(templates.dust_temperature, offsets.temperature)
    check_temperature("dust", temperature)
    return pysm3.ModifiedBlackBody(
        map_I=intensity,
        map_Q=q,
        map_U=u_,
        freq_ref_I=DUST_GHZ * u.GHz,
        freq_ref_P=DUST_GHZ * u.GHz,
        map_mbb_index=_shifted(templates.dust_index, offsets.index),
        map_mbb_temperature=temperature,
        unit_mbb_temperature="K",
        nside=templates.nside,
    )


def _synchrotron(templates: SkyTemplates, offsets: SpectralOffsets) -> Model:
    _refuse_temperature("synchrotron", offsets)
    intensity, q, u_ = _stokes(templates.synchrotron, offsets.brightness)
    return pysm3.PowerLaw(
        map_I=intensity,
        map_Q=q,
        map_U=u_,
        freq_ref_I=LOW_GHZ * u.GHz,
        freq_ref_P=LOW_GHZ * u.GHz,
        map_pl_index=_shifted(templates.synchrotron_index, offsets.index) << u.dimensionless_unscaled,
        nside=templates.nside,
    )


def _free_free(templates: SkyTemplates, offsets: SpectralOffsets) -> Model:
    _refuse_temperature("free_free", offsets)
    intensity, _, _ = _stokes(templates.free_free[None], offsets.brightness)
    return pysm3.PowerLaw(
        map_I=intensity,
        freq_ref_I=LOW_GHZ * u.GHz,
        map_pl_index=FREE_FREE_INDEX + offsets.index,
        nside=templates.nside,
        has_polarization=False,
    )


def _ame(templates: SkyTemplates, offsets: SpectralOffsets) -> Model:
    _refuse_temperature("ame", offsets)
    check_index_offset("ame", offsets.index)
    intensity, _, _ = _stokes(templates.ame[None], offsets.brightness)
    return InMemorySpDust(
        map_I=intensity,
        freq_ref_I=LOW_GHZ * u.GHz,
        emissivity=ame_emissivity(),
        freq_peak=AME_PEAK_GHZ * u.GHz,
        freq_ref_peak=AME_PEAK_GHZ * u.GHz,
        nside=templates.nside,
    )


def _refuse_temperature(name: str, offsets: SpectralOffsets) -> None:
    if offsets.temperature != 0:
        raise ValueError(
            f"{name}: temperature offset {offsets.temperature:g} K, but it has no temperature; set it to 0"
        )


def component_emission(model: Model, channel: Channel, *, n_stokes: int) -> Array:
    """Return the emission of a component in a channel, without beam.

    Parameters
    ----------
    model
        A model of `embedded_components` or `pysm_components`.
    channel
        With a delta or a tabulated bandpass.
    n_stokes
        1 for I, 3 for I, Q, U; a component without polarisation has Q = U = 0.

    Returns
    -------
    numpy.ndarray
        Shape (n_stokes, npix), float64, uK_CMB.

    Raises
    ------
    ValueError, FileNotFoundError
        As `band_emission` does.
    """
    emission = np.zeros((n_stokes, hp.nside2npix(model.nside)))
    add_emission(emission, model, channel)
    return emission


def add_emission(total: Array, model: Model, channel: Channel) -> None:
    """Add the emission of a component, as `component_emission` gives it, to a map.

    Parameters
    ----------
    total
        Shape (1 | 3, npix), uK_CMB; changed in place.
    model
        A model of `embedded_components` or `pysm_components`.
    channel
        With a delta or a tabulated bandpass.

    Raises
    ------
    ValueError, FileNotFoundError
        As `band_emission` does.
    """
    emission = band_emission(model, channel)[: len(total)]
    total[: len(emission)] += emission  # a component without polarisation adds to I
