"""Foregrounds of one sky: what simulations share is computed once, what differs per simulation.

The emission of a component is linear in its brightness, and an offset of a
spectral index that is the same everywhere multiplies it by (nu / nu_ref)^offset.
So a sky with fixed morphology is a sum of coefficients that are computed once,
times scalars. Only a new morphology, or a dust temperature, is computed anew.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.simulation.compiled import keep_compiled
from cmbml.pipelines.simulation.embedded_sky import embedded_templates
from cmbml.pipelines.simulation.observe import foreground_alm as emission_alm
from cmbml.pipelines.simulation.settings import ForegroundSettings, Maps, Variation
from cmbml.pipelines.simulation.sky_components import (
    SpectralOffsets,
    add_emission,
    embedded_components,
    offset_factor,
    pysm_components,
    with_temperature_offset,
)
from cmbml.science.instrument import Channel, Instrument
from cmbml.science.pixels import nside_to_npix
from cmbml.science.seeds import generator_of, seed_of

Array = NDArray[Any]
Record = Mapping[str, Any]

keep_compiled()

KINDS = ("dust", "synchrotron", "free_free", "ame")
"""Kinds of components whose parameters vary between simulations."""

_KIND_OF_LETTER = {"d": "dust", "s": "synchrotron", "f": "free_free", "a": "ame"}
"""PySM's presets by their first letter; others (CO, CMB, extragalactic) do not vary."""

FIXED_SEED = 0
"""Seed of the one embedded sky of simulations that do not vary."""


def draw_parameters(seed: int, variation: Variation | None) -> dict[str, Any]:
    """Return the foreground parameters of one simulation.

    Parameters
    ----------
    seed
        The simulation's seed for foregrounds; not used without variation.
    variation
        By how much simulations differ, or None for the same sky in all.

    Returns
    -------
    dict
        "morphology": seed of the embedded sky, as a decimal text; "offsets": by
        kind of component, what `SpectralOffsets` holds.
    """
    if variation is None:
        return {"morphology": str(seed_of(FIXED_SEED, "morphology")), "offsets": {}}
    offsets = {}
    for kind in KINDS:
        brightness, slope, kelvin = generator_of(seed, "offsets", kind).standard_normal(3)
        offsets[kind] = {
            "brightness": float(np.exp(variation.brightness * brightness)),
            "index": float(variation.index_of(kind) * slope),
            "temperature": float(variation.temperature_of(kind) * kelvin),
        }
    return {"morphology": str(seed_of(seed, "morphology")), "offsets": offsets}


def component_kind(name: str) -> str:
    """Return the kind of a component of the embedded sky or of a preset; "" for one that does not vary."""
    if name in KINDS:
        return name
    letters = name.rstrip("0123456789")
    return _KIND_OF_LETTER.get(letters, "")


def fixed_foregrounds(settings: ForegroundSettings, instrument: Instrument, maps: Maps) -> dict[str, Array]:
    """Compute once what all simulations share: the coefficients of components of fixed morphology.

    Returns
    -------
    dict
        "components": names, shape (n_components,); "alm": shape (n_components,
        n_channels, 1 | 3, alm_size), uK_CMB, complex64, without beam;
        "index_response": ln(nu / nu_ref) of I, Q, U, shape (n_components,
        n_channels, 3), zero for a component whose index does not vary. All are
        empty where every simulation has a morphology of its own.

    Raises
    ------
    ValueError
        If an index is to vary that a component does not have.
    """
    if varies_in_shape(settings):
        components: dict[str, Any] = {}
    else:
        components = _fixed_components(
            settings.source, tuple(settings.presets), settings.nside, instrument.is_polarised
        )
    alm = [
        [_component_alm(model, channel, instrument, maps.lmax) for channel in instrument]
        for model in components.values()
    ]
    responses = [
        [_index_response(name, model, channel, settings) for channel in instrument]
        for name, model in components.items()
    ]
    return {
        "components": np.array(list(components), dtype="U16"),
        "alm": np.array(alm, dtype=np.complex64),
        "index_response": np.array(responses, dtype=np.float64),
    }


def _index_response(name: str, model: Any, channel: Channel, settings: ForegroundSettings) -> Array:
    """Logarithm of what an index offset of 1 does to I, Q, U."""
    if not settings.vary or settings.variation.index_of(component_kind(name)) == 0:
        return np.zeros(3)
    response: Array = np.log(offset_factor(model, SpectralOffsets(index=1.0), channel.frequency_ghz))
    return response


def foreground_alm(
    parameters: Record,
    shared: Mapping[str, Array],
    *,
    instrument: Instrument,
    settings: ForegroundSettings,
    lmax: int,
) -> Array:
    """Return the foregrounds of one simulation.

    Parameters
    ----------
    parameters
        What `draw_parameters` drew.
    shared
        What `fixed_foregrounds` computed.
    instrument
        The channels.
    settings
        Where the foregrounds come from.
    lmax
        Band limit, inclusive.

    Returns
    -------
    numpy.ndarray
        Shape (n_channels, 1 | 3, alm_size), uK_CMB, complex64, without beam.
    """
    offsets = {kind: SpectralOffsets(**values) for kind, values in parameters["offsets"].items()}
    if varies_in_shape(settings):
        templates = embedded_templates(
            settings.nside, int(parameters["morphology"]), polarised=instrument.is_polarised
        )
        return _varied_alm(embedded_components(templates, offsets=offsets), instrument, lmax)
    return _fixed_alm(shared, offsets, instrument=instrument, settings=settings, lmax=lmax)


def varies_in_shape(settings: ForegroundSettings) -> bool:
    """Return whether every simulation has a morphology of its own."""
    return settings.vary and settings.source == "embedded"


@lru_cache(maxsize=1)
def _fixed_components(source: str, presets: tuple[str, ...], nside: int, polarised: bool) -> dict[str, Any]:
    """Return PySM's models of the sky that all simulations share, by name."""
    if source == "pysm":
        return pysm_components(presets, nside)
    return embedded_components(
        embedded_templates(nside, seed_of(FIXED_SEED, "morphology"), polarised=polarised)
    )


def _empty_sky(nside: int, instrument: Instrument) -> Array:
    return np.zeros((3 if instrument.is_polarised else 1, nside_to_npix(nside)), np.float32)


def _component_alm(model: Any, channel: Channel, instrument: Instrument, lmax: int) -> Array:
    emission = _empty_sky(model.nside, instrument)
    add_emission(emission, model, channel.frequency_ghz)
    return emission_alm(emission, lmax)  # (1 | 3, nalm) complex64


def _varied_alm(components: Mapping[str, Any], instrument: Instrument, lmax: int) -> Array:
    """Sum the components in pixels, so that each channel is analysed once."""
    channels = []
    for channel in instrument:
        emission = _empty_sky(next(iter(components.values())).nside, instrument)
        for model in components.values():
            add_emission(emission, model, channel.frequency_ghz)
        channels.append(emission_alm(emission, lmax))
    return np.stack(channels)


def _fixed_alm(
    shared: Mapping[str, Array],
    offsets: Mapping[str, SpectralOffsets],
    *,
    instrument: Instrument,
    settings: ForegroundSettings,
    lmax: int,
) -> Array:
    """Scale and sum the shared coefficients; what a dust temperature changes is computed anew."""
    total = np.zeros(shared["alm"].shape[1:], np.complex64)
    for name, alm, response in zip(
        shared["components"].tolist(), shared["alm"], shared["index_response"], strict=True
    ):
        offset = offsets.get(component_kind(name), SpectralOffsets())
        if offset.temperature:
            models = _fixed_components(
                settings.source, tuple(settings.presets), settings.nside, instrument.is_polarised
            )
            model = with_temperature_offset(models[name], offset.temperature)
            alm = np.stack([_component_alm(model, channel, instrument, lmax) for channel in instrument])  # noqa: PLW2901
        factors = offset.brightness * np.exp(offset.index * response)  # (n_channels, 3)
        total += alm * factors[:, : alm.shape[1], None].astype(np.float32)
    return total
