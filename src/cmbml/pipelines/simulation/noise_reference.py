"""CMB-ML's recipe for correlated noise: intensity only, with its own seeds, to the last digits.

There, the spectrum and the map are drawn from one seed, and the spectrum of the map is forced to be the drawn
one at every multipole (Amato et al. 2025, repository CMB-ML/cmb-ml).
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.science.harmonics import alm_to_cl, analyse, filter_alm, synthesise
from cmbml.science.pixels import npix_to_nside

Array = NDArray[Any]


def reference_seed(split: str, simulation: str, channel: str, *, prefix: str) -> int:
    """Return CMB-ML's seed of one channel's noise, the SHA-256 of a text modulo 2^32.

    Parameters
    ----------
    split, simulation, channel
        Names, such as "train", "sim0000", "143".
    prefix
        "" for the text of CMB-ML's newer branches, "Train_sim0000_143_noise"; with the name of a published
        dataset, ``I-512-1450_``, the simulation is its number alone: "I-512-1450_Train_0000_143_noise".
    """
    name = simulation.removeprefix("sim") if prefix else simulation
    text = f"{prefix}{split.capitalize()}_{name}_{channel}_noise"
    return int(hashlib.sha256(text.encode()).hexdigest(), 16) % 2**32


def reference_noise(sigma: Array, *, seed: int, sources: Mapping[str, Array]) -> Array:
    """Draw noise as CMB-ML does.

    Parameters
    ----------
    sigma
        Standard deviation of every pixel, shape (npix,).
    seed
        What `reference_seed` returned.
    sources
        "mean" and "spread", see `noise_correlated.correlated_sources`.

    Returns
    -------
    numpy.ndarray
        Shape (npix,), float64, unit of the model; its mean is 0.
    """
    drawn = np.random.default_rng(seed).standard_normal(len(sources["spread"]))
    target = 10 ** (drawn @ sources["spread"][:, 0] + sources["mean"][0])
    white = np.random.default_rng(seed).normal(scale=sigma)
    return forced_noise(white, target)


def forced_noise(white: Array, target_cl: Array) -> Array:
    """Return a map filtered so that its own coefficients have exactly the spectrum `target_cl`.

    Parameters
    ----------
    white
        Shape (npix,).
    target_cl
        Shape (lmax + 1,).

    Returns
    -------
    numpy.ndarray
        Shape (npix,), without its mean.
    """
    alm = analyse(white, len(target_cl) - 1)
    noise: Array = synthesise(filter_alm(alm, np.sqrt(target_cl / alm_to_cl(alm))), npix_to_nside(len(white)))
    noise -= noise.mean()
    return noise
