"""Black bodies and power laws over a band, by one smooth function of their parameters.

PySM evaluates such a spectrum at every frequency of a band in every pixel. But the
band average depends on the pixel only through its index and temperature, and its
logarithm is a smooth function of the index and of the inverse temperature: a
polynomial of low degree, which costs a pixel no more than a few frequencies do.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pysm3.units as u
from astropy import constants
from numpy.polynomial.chebyshev import chebgrid2d, chebpts1, chebval2d, chebvander
from numpy.typing import NDArray
from pysm3 import ModifiedBlackBody, PowerLaw
from pysm3.models import ModifiedBlackBodyRealization, PowerLawRealization

from cmbml.pipelines.simulation.pysm_presets import Model
from cmbml.science.bandpasses import band_average
from cmbml.science.instrument import Channel

Array = NDArray[Any]
Average = Callable[[Array, Array], Array]
"""Band average of a spectrum as a function of index and inverse temperature in 1/K."""

_CLASSES = (PowerLaw, PowerLawRealization, ModifiedBlackBody, ModifiedBlackBodyRealization)
"""Exactly these: what is derived from them has other spectra."""

_DEGREES = (4, 8, 16)
_TOLERANCE = 1e-7
"""Of the band average, relative: below the single precision of templates."""

_CHUNK = 2**15
"""Pixels at a time, so that all terms stay in the processor's cache."""

_KELVIN_PER_GHZ = float((constants.h * u.GHz / constants.k_B).to_value(u.K))


def smooth_band_emission(model: Model, channel: Channel) -> Array | None:
    """Return the band average of black bodies and power laws in uK_CMB, as PySM integrates it.

    Parameters
    ----------
    model
        A model of PySM.
    channel
        With a tabulated bandpass.

    Returns
    -------
    numpy.ndarray or None
        Shape (1 | 3, npix); None if the model has another spectrum, or parameters
        over which its band average is no such polynomial to 1e-7.
    """
    if type(model) not in _CLASSES:
        return None
    fields = [(model.I_ref, model.freq_ref_I)]
    if model.has_polarization:
        fields += [(model.Q_ref, model.freq_ref_P), (model.U_ref, model.freq_ref_P)]
    factors: dict[float, Array | None] = {}
    emission = np.empty((len(fields), len(model.I_ref)))
    for row, (template, reference) in zip(emission, fields, strict=True):
        ghz = reference.to_value(u.GHz)
        if ghz not in factors:
            factors[ghz] = _band_factor(model, channel, ghz)
        factor = factors[ghz]
        if factor is None:
            return None
        np.multiply(template.value, factor, out=row)
    return emission


def _band_factor(model: Model, channel: Channel, reference_ghz: float) -> Array | None:
    """Return the band average over the brightness at the reference frequency, scalar or shape (npix,)."""
    is_thermal = isinstance(model, ModifiedBlackBody)
    spectrum = _black_body if is_thermal else _power_law
    index = np.asarray((model.mbb_index if is_thermal else model.pl_index).value)
    inverse = 1 / np.asarray(model.mbb_temperature.value, float) if is_thermal else np.zeros(())

    def average(index: Array, inverse: Array) -> Array:
        averaged: Array = band_average(channel, lambda ghz: spectrum(ghz, reference_ghz, index, inverse))
        return averaged

    if index.ndim == inverse.ndim == 0:
        return average(index, inverse)
    ranges = [(float(values.min()), float(values.max())) for values in (index, inverse)]
    logarithm = _fitted_logarithm(average, *ranges) if np.all(np.isfinite(ranges)) else None
    if logarithm is None:
        return None
    size = max(index.size, inverse.size)
    factor = np.empty(size)
    for start in range(0, size, _CHUNK):
        part = slice(start, start + _CHUNK)
        x, y = (
            _to_unit(values[part] if values.ndim else np.full(len(factor[part]), values), *ends)
            for values, ends in zip((index, inverse), ranges, strict=True)
        )
        np.exp(chebval2d(x, y, logarithm), out=factor[part])
    return factor


def _power_law(ghz: float, reference_ghz: float, index: Array, _: Array) -> Array:
    """Return the brightness temperature relative to that at the reference frequency."""
    relative: Array = (ghz / reference_ghz) ** index
    return relative


def _black_body(ghz: float, reference_ghz: float, index: Array, inverse: Array) -> Array:
    """Return the same of nu^(index - 2) B_nu(T)."""
    x = _KELVIN_PER_GHZ * inverse
    relative: Array = (ghz / reference_ghz) ** (index + 1) * np.expm1(x * reference_ghz) / np.expm1(x * ghz)
    return relative


def _fitted_logarithm(
    average: Average, index: tuple[float, float], inverse: tuple[float, float]
) -> Array | None:
    """Return Chebyshev coefficients of ln(average) between ends of index and inverse temperature.

    Returns
    -------
    numpy.ndarray or None
        Shape (degree + 1, degree + 1), of the unit interval; None if no degree is
        good enough.
    """

    def exact(x: Array, y: Array) -> Array:
        with np.errstate(all="ignore"):  # what is not finite fits nothing
            logarithm: Array = np.log(average(_from_unit(x, *index)[:, None], _from_unit(y, *inverse)))
        return logarithm

    for degree in _DEGREES:
        degrees = [degree if high > low else 0 for low, high in (index, inverse)]
        x, y = (chebpts1(number + 1) for number in degrees)
        values = exact(x, y)
        if not np.all(np.isfinite(values)):
            return None
        half = np.linalg.solve(chebvander(x, degrees[0]), values)
        coefficients: Array = np.linalg.solve(chebvander(y, degrees[1]), half.T).T
        check = np.linspace(-1, 1, 3 * degree)
        if np.abs(chebgrid2d(check, check, coefficients) - exact(check, check)).max() <= _TOLERANCE:
            return coefficients
    return None


def _to_unit(values: Array, low: float, high: float) -> Array:
    """Map [low, high] to [-1, 1]; a range of one value to 0."""
    unit: Array = (2 * values.astype(float) - (low + high)) / ((high - low) or 1.0)
    return unit


def _from_unit(unit: Array, low: float, high: float) -> Array:
    values: Array = (low + high) / 2 + unit * (high - low) / 2
    return values
