"""Foreground parameters of one simulation: what is drawn, and what it means for a component."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import ndtr

from cmbml.pipelines.simulation.settings import Normal, Uniform, Variation
from cmbml.pipelines.simulation.spectral_offsets import SpectralOffsets
from cmbml.science.seeds import generator_of, seed_of

Record = Mapping[str, Any]

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
        kind of component, what `SpectralOffsets` holds; "values", where parameters
        themselves are drawn and not offsets: by kind, "index" and "temperature".
    """
    if variation is None:
        return {"morphology": str(seed_of(FIXED_SEED, "morphology")), "offsets": {}}
    offsets: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for kind in KINDS:
        brightness, *deviates = generator_of(seed, "offsets", kind).standard_normal(3)
        offsets[kind] = {"brightness": float(np.exp(variation.brightness * brightness))}
        spreads = (variation.index_of(kind), variation.temperature_of(kind))
        for name, spread, deviate in zip(("index", "temperature"), spreads, deviates, strict=True):
            drawn = _drawn(spread, deviate)
            is_value = name in variation.values_of(kind)
            offsets[kind][name] = 0.0 if is_value else drawn
            if is_value:
                values.setdefault(kind, {})[name] = drawn
    shapes = seed if variation.morphology else FIXED_SEED
    record = {"morphology": str(seed_of(shapes, "morphology")), "offsets": offsets}
    return {**record, "values": values} if values else record


def _drawn(spread: float | Normal | Uniform, deviate: float) -> float:
    """Turn a standard normal deviate into a draw, so that every distribution uses one number."""
    if isinstance(spread, Normal):
        return float(spread.mean + spread.sd * deviate)
    if isinstance(spread, Uniform):
        return float(spread.low + (spread.high - spread.low) * ndtr(deviate))
    return float(spread * deviate)


def component_kind(name: str) -> str:
    """Return the kind of a component of the embedded sky or of a preset; "" for one that does not vary."""
    if name in KINDS:
        return name
    letters = name.rstrip("0123456789")
    return _KIND_OF_LETTER.get(letters, "")


def component_offset(name: str, parameters: Record, mean_of: Callable[[str], float]) -> SpectralOffsets:
    """Return the offsets of one component of one simulation.

    A value that was drawn becomes the offset that brings the mean over the sky to it.

    Parameters
    ----------
    name
        Of the component.
    parameters
        What `draw_parameters` drew.
    mean_of
        Given "index" or "temperature", returns the mean over the sky of that parameter
        without offset; asked only where values were drawn.
    """
    kind = component_kind(name)
    own = dict(parameters["offsets"].get(kind, {}))
    for quantity, value in parameters.get("values", {}).get(kind, {}).items():
        own[quantity] = value - mean_of(quantity)
    return SpectralOffsets(**own)
