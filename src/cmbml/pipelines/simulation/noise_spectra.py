"""Spectra of noise, in the form in which their differences are described.

Logarithms of TT, EE and BB, and for TE the inverse hyperbolic tangent of the correlation of T and E (Fisher's
transformation): whatever is added to them, the result is the spectra of some field.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmbml.science.harmonics import alm_to_cl

Array = NDArray[Any]

SPECTRA = ("TT", "EE", "BB", "TE")
"""Order of the spectra of a noise map; intensity alone has the first."""

LOGARITHMS = 3
"""How many of them are kept as logarithms."""


def spectra_of_alm(alm: Array) -> Array:
    """Return TT, or TT, EE, BB, TE, of coefficients.

    Parameters
    ----------
    alm
        Shape (1 | 3, alm_size): T, or T, E, B.

    Returns
    -------
    numpy.ndarray
        Shape (1 | 4, lmax + 1), C_l.
    """
    auto = alm_to_cl(alm)
    return auto if len(alm) == 1 else np.concatenate([auto, alm_to_cl(alm[:1], alm[1:2])])


def to_features(spectra: Array) -> Array:
    """Return log10 of TT, EE and BB, and arctanh of TE / sqrt(TT EE).

    Parameters
    ----------
    spectra
        Shape (..., 1 | 4, lmax + 1), C_l.

    Returns
    -------
    numpy.ndarray
        Same shape. Without power the logarithm is -inf, and the correlation 0.
    """
    features = np.zeros_like(spectra, dtype=np.float64)
    with np.errstate(divide="ignore"):
        features[..., :LOGARITHMS, :] = np.log10(spectra[..., :LOGARITHMS, :])
    if spectra.shape[-2] == len(SPECTRA):
        tt, ee, _, te = np.moveaxis(spectra, -2, 0)
        size = np.sqrt(tt * ee)
        correlation = np.divide(te, size, out=np.zeros_like(size), where=size > 0)
        features[..., LOGARITHMS, :] = np.arctanh(correlation)
    return features


def from_features(features: Array) -> Array:
    """Return the spectra that `to_features` turns into these; shape (..., 1 | 4, lmax + 1), C_l."""
    spectra = np.empty_like(features)
    spectra[..., :LOGARITHMS, :] = 10 ** features[..., :LOGARITHMS, :]
    if features.shape[-2] == len(SPECTRA):
        size = np.sqrt(spectra[..., 0, :] * spectra[..., 1, :])
        spectra[..., LOGARITHMS, :] = size * np.tanh(features[..., LOGARITHMS, :])
    return spectra


class PrincipalComponents(NamedTuple):
    """How the rows of a table vary about their mean.

    Parameters
    ----------
    mean
        Shape (...): of a row.
    components
        Shape (n_components, ...): orthonormal directions, the most variable first.
    variance
        Shape (n_components,): variance along each, the sum of squares over n - 1.
    """

    mean: Array
    components: Array
    variance: Array


def principal_components(rows: Array, kept: int | None) -> PrincipalComponents:
    """Return mean and principal components of the rows of a table.

    Parameters
    ----------
    rows
        Shape (n, ...), n at least 2. A column that is -inf in every row stays so in the mean, and does not
        vary.
    kept
        How many components; None for all min(n, size of a row).

    Returns
    -------
    PrincipalComponents
        Each component with its largest loading positive.

    Raises
    ------
    ValueError
        If a column is finite in some rows only.
    """
    flat = rows.reshape(len(rows), -1)
    finite = np.isfinite(flat)
    live = finite.all(axis=0)
    if (finite.any(axis=0) != live).any():
        raise ValueError(
            f"spectra: {np.count_nonzero(finite.any(axis=0) & ~live)} multipoles have no power in some of "
            f"the {len(rows)} maps, and power in others; take out the empty maps"
        )
    mean = flat[0].copy()
    mean[live] = flat[:, live].mean(axis=0)
    _, singular, directions = np.linalg.svd(flat[:, live] - mean[live], full_matrices=False)
    directions = directions[:kept]
    largest = directions[np.arange(len(directions)), np.abs(directions).argmax(axis=1)]
    components = np.zeros((len(directions), flat.shape[1]))
    components[:, live] = directions * np.sign(largest)[:, None]
    return PrincipalComponents(
        mean.reshape(rows.shape[1:]),
        components.reshape(-1, *rows.shape[1:]),
        singular[:kept] ** 2 / (len(rows) - 1),
    )


def smooth_multipoles(components: Array, width: int) -> Array:
    """Return a running mean over multipoles, each weighted by its number of modes.

    Parameters
    ----------
    components
        Shape (n_components, n_spectra, lmax + 1); multipoles at which all components vanish have no part.
    width
        Number of multipoles of the mean; fewer at the ends. 1 changes nothing.

    Returns
    -------
    numpy.ndarray
        Same shape; 0 where all components vanish.
    """
    if width == 1:
        return components
    modes = 2 * np.arange(components.shape[-1]) + 1
    weight = modes * (components != 0).any(axis=0)  # (n_spectra, lmax + 1)
    ell = np.arange(components.shape[-1])
    first = np.maximum(ell - (width - 1) // 2, 0)
    end = np.minimum(ell + width // 2 + 1, len(ell))

    def window_sum(values: Array) -> Array:
        sums = np.cumsum(np.concatenate([np.zeros((*values.shape[:-1], 1)), values], axis=-1), axis=-1)
        total: Array = sums[..., end] - sums[..., first]
        return total

    total = window_sum(weight)
    mean = np.divide(window_sum(components * weight), total, where=total > 0, out=np.zeros(components.shape))
    return np.where(weight > 0, mean, 0)


def at_lmax(rows: Array, lmax: int) -> Array:
    """Return rows over multipoles that end at `lmax`: cut, or carried on as they are at their end.

    Parameters
    ----------
    rows
        Shape (..., n).
    lmax
        Band limit, inclusive.

    Returns
    -------
    numpy.ndarray
        Shape (..., lmax + 1). What was added is the mean of the last tenth of the rows.
    """
    missing = lmax + 1 - rows.shape[-1]
    if missing <= 0:
        return rows[..., : lmax + 1]
    tail = rows[..., -max(rows.shape[-1] // 10, 1) :].mean(axis=-1, keepdims=True)
    return np.concatenate([rows, np.repeat(tail, missing, axis=-1)], axis=-1)
