"""Foregrounds of one sky: what simulations share is computed once, what differs per simulation.

The emission of a component is linear in its brightness, and an offset of a
spectral index that is the same everywhere multiplies it by (nu / nu_ref)^offset.
So a sky with fixed morphology is a sum of coefficients that are computed once,
times scalars. Only what is no such factor is computed anew: a new morphology, a
dust temperature, and an index in a channel that averages over a band.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.simulation.compiled import keep_compiled
from cmbml.pipelines.simulation.embedded_sky import embedded_templates
from cmbml.pipelines.simulation.extragalactic import ExtragalacticComponent, extragalactic_components
from cmbml.pipelines.simulation.foreground_parameters import (
    component_kind,
    component_offset,
    draw_parameters,
)
from cmbml.pipelines.simulation.observe import foreground_alm as emission_alm
from cmbml.pipelines.simulation.pysm_presets import draws, redrawn_component
from cmbml.pipelines.simulation.settings import ForegroundSettings, Maps
from cmbml.pipelines.simulation.sky_components import (
    SpectralOffsets,
    add_emission,
    embedded_components,
    offset_factor,
    pysm_components,
)
from cmbml.pipelines.simulation.spectral_offsets import check_varied, mean_parameter, with_offsets
from cmbml.science.harmonics import alm_size, alm_to_map
from cmbml.science.instrument import Channel, Instrument
from cmbml.science.memory import returned_memory
from cmbml.science.pixels import nside_to_npix

Array = NDArray[Any]
Record = Mapping[str, Any]

LOGGER = logging.getLogger(__name__)

keep_compiled()


@returned_memory()
def fixed_foregrounds(settings: ForegroundSettings, instrument: Instrument, maps: Maps) -> dict[str, Array]:
    """Compute once what all simulations share: the coefficients of components of fixed morphology.

    Returns
    -------
    dict
        "components": names, shape (n_components,); "alm": shape (n_components,
        n_channels, 1 | 3, alm_size), uK_CMB, complex64, without beam;
        "index_response": ln(nu / nu_ref) of I, Q, U, shape (n_components,
        n_channels, 3), zero for a component whose index does not vary;
        "index_mean": mean of the index over the sky, shape (n_components,), NaN
        where it is not drawn itself. They hold the components for which `is_scaled`.
        "total": the sum of "alm" over components, only if nothing varies.

    Raises
    ------
    ValueError
        If an index or a temperature is to vary that a component does not have.
    """
    _warn_of_folding(settings.nside, maps.lmax)
    components = {} if varies_in_shape(settings) else fixed_sky(settings, instrument, maps.lmax)
    over_bands = instrument.has_bandpasses
    for name in [name for name in components if not is_scaled(name, settings, over_bands=over_bands)]:
        model = components.pop(name)()
        check_varied(model, **_varied(name, settings))
        _drawn_means(name, model, settings)
    size = {"fields": _fields(instrument), "lmax": maps.lmax}
    n = len(components)
    alm = np.empty((n, len(instrument), size["fields"], alm_size(maps.lmax)), np.complex64)
    responses, means = np.zeros((n, len(instrument), 3)), np.full(n, np.nan)
    for place, (name, build) in enumerate(components.items()):
        model = build()
        responses[place] = [_index_response(name, model, channel, settings) for channel in instrument]
        means[place] = _drawn_means(name, model, settings).get("index", np.nan)
        for row, channel in zip(alm[place], instrument, strict=True):
            row[:] = _component_alm(model, channel, settings.nside, **size)
        del model  # so that its templates are let go before those of the next
    shared = {
        "components": np.array(list(components), dtype="U16"),
        "alm": alm,
        "index_response": responses,
        "index_mean": means,
    }
    return shared if settings.vary else {**shared, "total": alm.sum(axis=0)}


def _warn_of_folding(nside: int, lmax: int) -> None:
    """Say so if the emission is analysed beyond what its pixels resolve well, see `emission_alm`."""
    if lmax > 2 * nside:
        LOGGER.warning(
            "maps.lmax %d is above twice foregrounds.nside %d: foregrounds are off by 2 per cent or more "
            "of their amplitude near lmax; raise foregrounds.nside or lower lmax",
            lmax,
            nside,
        )


def _drawn_means(name: str, model: Any, settings: ForegroundSettings) -> dict[str, float]:
    """Return the mean over the sky of each parameter of a component that is drawn itself, by quantity."""
    quantities = settings.variation.values_of(component_kind(name)) if settings.vary else ()
    return {quantity: mean_parameter(name, model, quantity) for quantity in quantities}


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
    if varies_in_shape(settings):
        sky = _embedded_sky(parameters, settings, polarised=instrument.is_polarised, lmax=lmax)
        size = {"fields": _fields(instrument), "lmax": lmax}
        return np.stack([_summed_alm(sky, channel, settings.nside, **size) for channel in instrument])
    if "total" in shared:
        return np.array(shared["total"])
    total = np.zeros(shared["alm"].shape[1:], np.complex64)
    for _, alm in component_alms(parameters, shared, instrument=instrument, settings=settings, lmax=lmax):
        total += alm
    return total


def varies_in_shape(settings: ForegroundSettings) -> bool:
    """Return whether every simulation has a morphology of its own."""
    return settings.vary and settings.source == "embedded"


def is_scaled(name: str, settings: ForegroundSettings, *, over_bands: bool) -> bool:
    """Return whether simulations differ in a component by factors per channel, if at all.

    Not if it draws small scales, its temperature varies, or its index varies and
    channels average over bands.

    Parameters
    ----------
    name
        Of the component.
    settings
        How simulations differ.
    over_bands
        Whether bandpasses are tabulated.
    """
    if not settings.vary:
        return True
    varied = _varied(name, settings)
    return not (draws(name) or varied["temperature"] or (varied["index"] and over_bands))


def _varied(name: str, settings: ForegroundSettings) -> dict[str, bool]:
    """Return which spectral parameters of a component vary."""
    kind, variation = component_kind(name), settings.variation
    return {"index": variation.index_of(kind) != 0, "temperature": variation.temperature_of(kind) != 0}


def component_alms(
    parameters: Record,
    shared: Mapping[str, Array],
    *,
    instrument: Instrument,
    settings: ForegroundSettings,
    lmax: int,
) -> Iterator[tuple[str, Array]]:
    """Yield the foregrounds of one simulation component by component.

    Parameters
    ----------
    parameters, shared, instrument, settings, lmax
        As in `foreground_alm`, which is the sum.

    Yields
    ------
    tuple
        Name, and coefficients as `foreground_alm` returns them.
    """
    size = {"fields": _fields(instrument), "lmax": lmax}

    def channels(model: Any) -> Array:
        return np.stack([_component_alm(model, channel, settings.nside, **size) for channel in instrument])

    if varies_in_shape(settings):
        sky = _embedded_sky(parameters, settings, polarised=instrument.is_polarised, lmax=lmax)
        yield from ((name, channels(model)) for name, model in sky.items())
        return
    places = {name: place for place, name in enumerate(shared["components"].tolist())}
    for name in settings.presets if settings.source == "pysm" else places:
        if name in places:
            yield name, _scaled_alm(name, places[name], shared, parameters)
        else:
            model = _simulated_preset(name, parameters, settings)
            offset = component_offset(name, parameters, partial(mean_parameter, name, model))
            yield name, np.float32(offset.brightness) * channels(with_offsets(model, offset))


def _scaled_alm(name: str, place: int, shared: Mapping[str, Array], parameters: Record) -> Array:
    """Return a shared component times the factors of one simulation."""
    offset = component_offset(name, parameters, lambda _: float(shared["index_mean"][place]))
    factors = offset.brightness * np.exp(offset.index * shared["index_response"][place])  # (n_channels, 3)
    alm = shared["alm"][place]
    scaled: Array = alm * factors[:, : alm.shape[1], None].astype(np.float32)
    return scaled


def _simulated_preset(name: str, parameters: Record, settings: ForegroundSettings) -> Any:
    """Return the model of a preset in one simulation, with the small scales that were drawn for it."""
    kept = _kept_presets(tuple(settings.presets), settings.nside)
    if name not in kept:
        kept[name] = _preset_model(name, settings.nside)
    model = kept[name]
    if settings.vary and draws(name):
        return redrawn_component(name, model, seed=int(parameters["morphology"]))
    return model


def _embedded_sky(
    parameters: Record, settings: ForegroundSettings, *, polarised: bool, lmax: int
) -> dict[str, Any]:
    """Draw the components of an embedded sky, by name."""
    morphology = int(parameters["morphology"])
    templates = embedded_templates(settings.nside, morphology, polarised=polarised)
    offsets = {
        name: component_offset(name, parameters, partial(mean_parameter, name, model))
        for name, model in embedded_components(templates).items()
    }
    return {
        **embedded_components(templates, offsets=offsets),
        **extragalactic_components(settings.extragalactic, morphology, lmax=lmax, polarised=polarised),
    }


def fixed_sky(
    settings: ForegroundSettings, instrument: Instrument, lmax: int
) -> dict[str, Callable[[], Any]]:
    """Return what builds the components of the one sky of simulations that do not vary, by name.

    Each is built when it is asked for, so that not all templates are there at once, and only once.

    Parameters
    ----------
    settings
        Where the foregrounds come from.
    instrument
        Whether there is polarisation.
    lmax
        Band limit of what is drawn as coefficients, inclusive.

    Raises
    ------
    ValueError
        If the source is "planck".
    """
    if settings.source == "planck":
        raise ValueError(
            "foregrounds.source planck: its sky is not made of components; take 'embedded' or 'pysm'"
        )
    if settings.source == "pysm":
        return {name: partial(_preset_model, name, settings.nside) for name in settings.presets}
    parameters = draw_parameters(0, None)
    sky = _embedded_sky(parameters, settings, polarised=instrument.is_polarised, lmax=lmax)
    return {name: partial(sky.pop, name) for name in sky}


def _preset_model(name: str, nside: int) -> Any:
    """Build PySM's model of a preset, with the draws that simulations share if they do not vary."""
    return pysm_components([name], nside, seed=int(draw_parameters(0, None)["morphology"]))[name]


@lru_cache(maxsize=1)
def _kept_presets(presets: tuple[str, ...], nside: int) -> dict[str, Any]:
    """Return the presets that a process has built for its simulations, none at first.

    It keeps those that each simulation computes anew, and forgets them with the next settings.
    """
    return {}


def _fields(instrument: Instrument) -> int:
    return 3 if instrument.is_polarised else 1


def _component_alm(model: Any, channel: Channel, nside: int, *, fields: int, lmax: int) -> Array:
    """Return the coefficients of one component in one channel, shape (fields, alm_size), complex64."""
    emission = np.zeros((fields, nside_to_npix(nside)), np.float32)
    _add_to_map(emission, model, channel)
    alm = np.zeros((fields, alm_size(lmax)), np.complex64)
    emitted = fields if emission[1:].any() else 1  # where Q and U are zero, so are E and B
    if emission.any():
        alm[:emitted] = emission_alm(emission[:emitted], lmax)
    _add_to_alm(alm, model, channel)
    return alm


def component_map(model: Any, channel: Channel, nside: int, *, fields: int, lmax: int) -> Array:
    """Return the emission of one component in one channel.

    Parameters
    ----------
    model
        A component that `fixed_sky` builds.
    channel
        Its bandpass counts, its beam does not.
    nside
        Resolution of the emission.
    fields
        1 for I, 3 for I, Q, U.
    lmax
        Band limit of what is given as coefficients.

    Returns
    -------
    numpy.ndarray
        Shape (fields, npix), uK_CMB, RING, float32.
    """
    emission = np.zeros((fields, nside_to_npix(nside)), np.float32)
    _add_to_map(emission, model, channel)
    alm = np.zeros((fields, alm_size(lmax)), np.complex64)
    _add_to_alm(alm, model, channel)
    return emission + alm_to_map(alm, nside) if alm.any() else emission


def _summed_alm(
    components: Mapping[str, Any], channel: Channel, nside: int, *, fields: int, lmax: int
) -> Array:
    """Sum the components in pixels, so that the channel is analysed once; shape (fields, alm_size)."""
    emission = np.zeros((fields, nside_to_npix(nside)), np.float32)
    for model in components.values():
        _add_to_map(emission, model, channel)
    alm = emission_alm(emission, lmax)
    for model in components.values():
        _add_to_alm(alm, model, channel)
    return alm


def _add_to_map(total: Array, model: Any, channel: Channel) -> None:
    """Add what a component emits, as far as it is given in pixels."""
    if isinstance(model, ExtragalacticComponent):
        model.add_to_map(total, channel)
    else:
        add_emission(total, model, channel)


def _add_to_alm(total: Array, model: Any, channel: Channel) -> None:
    """Add what a component emits, as far as it is given in coefficients."""
    if isinstance(model, ExtragalacticComponent):
        model.add_to_alm(total, channel)
