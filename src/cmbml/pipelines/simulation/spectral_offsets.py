"""Offsets by which the foregrounds of one simulation differ from their templates."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pysm3.units as u
from numpy.typing import NDArray

from cmbml.pipelines.simulation.pysm_presets import Model

Array = NDArray[Any]


@dataclass(frozen=True)
class SpectralOffsets:
    """How one component of one simulation differs from its templates.

    Parameters
    ----------
    brightness
        Factor on the emission, at the reference frequency.
    index
        Added to the spectral index everywhere.
    temperature
        Added to the temperature everywhere, K.
    """

    brightness: float = 1.0
    index: float = 0.0
    temperature: float = 0.0


def check_temperature(name: str, temperature: Any) -> None:
    """Raise if a temperature map (K) is not above 0 everywhere.

    Raises
    ------
    ValueError
        If its lowest value is 0 K or below.
    """
    lowest = float(np.min(temperature))
    if lowest <= 0:
        raise ValueError(f"{name}: temperature falls to {lowest:.3g} K by its offset; take a smaller one")


def check_index_offset(name: str, index: float) -> None:
    """Raise if an index offset is given to a component that has no index.

    Raises
    ------
    ValueError
        If `index` is not 0.
    """
    if index != 0:
        raise ValueError(
            f"{name}: index offset {index:g}, but its spectrum is no power law; only brightness applies, "
            "set the index offset to 0"
        )


_ATTRIBUTES = {"index": ("mbb_index", "pl_index"), "temperature": ("mbb_temperature",)}
"""What PySM's classes call their parameters."""


def mean_parameter(name: str, model: Model, quantity: str) -> float:
    """Return the mean over the sky of a spectral parameter of a component.

    Parameters
    ----------
    name
        Of the component, for the message.
    model
        A model of PySM.
    quantity
        "index" or "temperature" (K).

    Raises
    ------
    ValueError
        If the model has no such parameter, or has parts that differ in it.
    """
    means = []
    for part in getattr(model, "components", [model]):
        held = [getattr(part, attribute) for attribute in _ATTRIBUTES[quantity] if hasattr(part, attribute)]
        if not held:
            raise ValueError(
                f"{name}: has no {quantity} whose value could be drawn; give foregrounds.variation an offset"
            )
        means.append(float(np.mean(getattr(held[0], "value", held[0]), dtype=np.float64)))
    if np.ptp(means) > 1e-6 * abs(means[0]):
        raise ValueError(
            f"{name}: its parts differ in {quantity}, so that one value cannot be drawn for them; "
            "give foregrounds.variation an offset"
        )
    return means[0]


def offset_factor(model: Model, offsets: SpectralOffsets, frequency_ghz: float) -> Array:
    """Return what an offset of brightness and index does to the emission of a component.

    brightness (nu / nu_ref)^index, exact for power laws and modified black bodies,
    where nu_ref may differ between I and Q, U.

    Parameters
    ----------
    model
        A model without the offset.
    offsets
        With temperature 0: that offset is no factor, see `with_temperature_offset`.
    frequency_ghz
        Centre frequency of the channel.

    Returns
    -------
    numpy.ndarray
        Shape (3,), for I, Q, U.

    Raises
    ------
    ValueError
        If the temperature offset is not 0; if the index offset is not 0 and the
        model has no index, or has parts on which it acts differently.
    """
    if offsets.temperature != 0:
        raise ValueError(
            f"temperature offset {offsets.temperature:g} K: not a factor; apply it with "
            "with_temperature_offset and leave 0 here"
        )
    if offsets.index == 0:
        return np.full(3, offsets.brightness)
    factors = [
        _index_factor(part, offsets.index, frequency_ghz) for part in getattr(model, "components", [model])
    ]
    if not np.allclose(factors, factors[0], rtol=1e-12):
        raise ValueError(
            f"index offset {offsets.index:g}: acts differently on the parts of the model; set it to 0"
        )
    return offsets.brightness * factors[0]


def _index_factor(model: Model, index: float, frequency_ghz: float) -> Array:
    """Return (nu / nu_ref)^index for I, Q, U of a single model."""
    if not hasattr(model, "pl_index") and not hasattr(model, "mbb_index"):
        check_index_offset(type(model).__name__, index)
    intensity = getattr(model, "freq_ref_I", None)
    if intensity is None:  # models in layers have one reference frequency
        intensity = model.freq_ref
    polarisation = getattr(model, "freq_ref_P", None)
    if polarisation is None:
        polarisation = intensity
    references = np.array([q.to_value(u.GHz) for q in (intensity, polarisation, polarisation)])
    factor: Array = (frequency_ghz / references) ** index
    return factor


def check_varied(model: Model, *, index: bool, temperature: bool) -> None:
    """Raise if a parameter is to vary that a model does not have.

    Raises
    ------
    ValueError
        If `index` and a part has no spectral index, or `temperature` and a part has
        no temperature.
    """
    for part in getattr(model, "components", [model]):
        if index and not _attribute(part, "index"):
            check_index_offset(type(part).__name__, 1.0)
        if temperature and not _attribute(part, "temperature"):
            raise ValueError(
                f"{type(part).__name__}: has no temperature that could vary; set its variation to 0"
            )


def _attribute(model: Model, quantity: str) -> str:
    """Return what a class of PySM calls a parameter; "" if it has none."""
    return next((name for name in _ATTRIBUTES[quantity] if hasattr(model, name)), "")


def with_offsets(model: Model, offsets: SpectralOffsets) -> Model:
    """Return a model with offsets of index and temperature, but its own brightness; `model` is kept.

    For where they act as no common factor.

    Parameters
    ----------
    model
        A model of PySM, or several.
    offsets
        What is added to its parameters.

    Raises
    ------
    ValueError
        If an offset is not 0 and the model has no such parameter, or a temperature
        would fall to 0 K or below.
    """
    shifted = with_temperature_offset(model, offsets.temperature) if offsets.temperature else model
    return _with_index_offset(shifted, offsets.index) if offsets.index else shifted


def _with_index_offset(model: Model, index: float) -> Model:
    shifted = copy.copy(model)
    if hasattr(model, "components"):
        shifted.components = [_with_index_offset(part, index) for part in model.components]
        return shifted
    attribute = _attribute(model, "index")
    if not attribute:
        check_index_offset(type(model).__name__, index)
    setattr(shifted, attribute, getattr(model, attribute) + index)
    return shifted


def with_temperature_offset(model: Model, kelvin: float) -> Model:
    """Return a copy of a model whose dust temperature is shifted everywhere; the model is kept.

    Parameters
    ----------
    model
        A modified black body, or several.
    kelvin
        Offset in K.

    Raises
    ------
    ValueError
        If the model has no temperature, or one would fall to 0 K or below.
    """
    shifted = copy.copy(model)
    if hasattr(model, "components"):
        shifted.components = [with_temperature_offset(part, kelvin) for part in model.components]
        return shifted
    if not hasattr(model, "mbb_temperature"):
        raise ValueError(
            f"{type(model).__name__}: has no temperature to shift by {kelvin:g} K; set the offset to 0"
        )
    shifted.mbb_temperature = model.mbb_temperature + kelvin * u.K
    check_temperature(type(model).__name__, shifted.mbb_temperature.value)
    return shifted
