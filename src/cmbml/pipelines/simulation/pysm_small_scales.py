"""PySM's presets that draw something: the same again from the same seed, another for another seed.

PySM draws from numpy's global random state. Where it takes seeds these are given,
and the state is put back afterwards; the loss of correlation between frequencies
of d6, for which it takes none, is drawn here.
"""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pysm3
import pysm3.units as u
from numpy.typing import NDArray
from pysm3.models import ModifiedBlackBodyRealization, PowerLawRealization

from cmbml.science.seeds import generator_of, seed_of

Array = NDArray[Any]
Model = Any

_DRAWN_FIELDS: Mapping[type, tuple[str, ...]] = {
    ModifiedBlackBodyRealization: ("I_ref", "Q_ref", "U_ref", "mbb_index", "mbb_temperature"),
    PowerLawRealization: ("I_ref", "Q_ref", "U_ref", "pl_index"),
}
"""What a draw of each class returns."""

_STREAMS = ("brightness", "index", "temperature")
"""PySM draws each from a seed of its own, in this order; Q and U with the brightness."""

_MODES = 40
"""Terms of the series of `DrawnDecorrelation`: the last is below 1e-9 up to three correlation lengths."""


class DrawnDecorrelation(pysm3.DecorrelatedModifiedBlackBody):  # type: ignore[misc]
    """PySM's decorrelated dust as one random function of frequency, the same for all channels.

    The emission at nu is multiplied by f(nu), separately for I and for Q, U: a
    Gaussian process in x = ln(nu / nu_ref) with the covariance exp(-(x - x')^2 /
    (2 L^2)), conditioned on f(nu_ref) = 1. Expanded in powers of x x' / L^2,

        f = exp(-x^2 / (2 L^2)) (1 + sum_{n >= 1} a_n (x / L)^n / sqrt(n!)),

    with independent standard normal a_n. PySM's own class draws anew at every
    call, so that channels would be independent of one another.

    References
    ----------
    .. [1] Vansyngel et al. 2017, A&A 603, A62; the covariance is that of PySM's class.
    """

    modes: Array
    """a_n of I and of Q, U, shape (2, n)."""

    def draw(self, seed: int) -> None:
        """Draw the function of frequency from a seed."""
        self.modes = np.stack(
            [generator_of(seed, "decorrelation", stokes).standard_normal(_MODES) for stokes in ("I", "P")]
        )

    def factors(self, frequency_ghz: float) -> Array:
        """Return f of I, Q, U at a frequency, shape (3, 1)."""
        references = np.array([self.freq_ref_I.to_value(u.GHz), self.freq_ref_P.to_value(u.GHz)])
        x = np.log(frequency_ghz / references) / float(self.correlation_length)  # (2,)
        order = np.arange(1, _MODES + 1)
        powers = np.cumprod(x[:, None] / np.sqrt(order), axis=1)  # x^n / sqrt(n!)
        intensity, polarisation = np.exp(-0.5 * x**2) * (1 + np.sum(self.modes * powers, axis=1))
        return np.array([intensity, polarisation, polarisation])[:, None]

    def get_emission(self, freqs: Any, weights: Any = None) -> Any:
        """Return the emission at one frequency.

        Raises
        ------
        ValueError
            If more than one frequency is given; a band is summed outside.
        """
        if np.size(freqs) != 1 or weights is not None:
            raise ValueError(f"{type(self).__name__}: emission at one frequency at a time, got {freqs}")
        frequency = u.Quantity(freqs).reshape(-1)[0]
        plain = pysm3.ModifiedBlackBody.get_emission(self, frequency)
        return self.factors(frequency.to_value(u.GHz)) * plain


def is_drawn(preset: Mapping[str, Any]) -> bool:
    """Return whether a preset, given by its configuration, draws small scales or a decorrelation."""
    names = {cls.__name__ for cls in _DRAWN_FIELDS} | {"DecorrelatedModifiedBlackBody"}
    return preset.get("class") in names


def drawn_model(preset: Mapping[str, Any], nside: int, *, seed: int) -> Model:
    """Build the model of a preset that draws, from a seed; to be called within `undisturbed`.

    Parameters
    ----------
    preset
        Its configuration.
    nside
        Resolution of the emission. The same seed gives another sky at another one.
    seed
        Of this preset in this simulation.
    """
    config = {key: value for key, value in preset.items() if key != "class"}
    for cls in _DRAWN_FIELDS:
        if preset["class"] == cls.__name__:
            return cls(**config, nside=nside, seeds=_pysm_seeds(seed))
    model = DrawnDecorrelation(**config, nside=nside)
    model.draw(seed)
    return model


def redrawn(model: Model, *, seed: int) -> Model:
    """Return a copy of a model of `drawn_model` with a draw from another seed.

    The templates are shared with `model`, which is kept; to be called within `undisturbed`.
    """
    other = copy.copy(model)
    if isinstance(model, DrawnDecorrelation):
        other.draw(seed)
        return other
    fields = model.draw_realization(seeds=_pysm_seeds(seed))
    for name, field in zip(_DRAWN_FIELDS[type(model)], fields, strict=True):
        setattr(other, name, field)
    return other


def _pysm_seeds(seed: int) -> list[list[int]]:
    """Return a seed for each of PySM's draws, as four words of 32 bits, which numpy's old generator takes."""
    numbers = [seed_of(seed, stream) for stream in _STREAMS]
    return [[number >> shift & 0xFFFFFFFF for shift in (0, 32, 64, 96)] for number in numbers]
