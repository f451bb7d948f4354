"""Power spectra of truth, cleaned map and residual on the masked sky.

The coefficients of the masked maps give pseudo-spectra; a `Decoupling` turns
these into estimates of the sky's spectra. Here that is the fsky approximation,
which keeps the coupling of neighbouring multipoles and, in polarisation, the
mixing of E into B. Ratios of spectra of one sky are little touched by either.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.science.harmonics import alm_to_cl, map_to_alm
from cmbml.science.masks import fsky_power
from cmbml.science.spectra import dl_factor

Array = NDArray[Any]

Decoupling = Callable[[Array, Array], Array]
"""From pseudo-spectra (n_spectra, lmax + 1) and their mask, (npix,) or (n_spectra, npix), to spectra."""

LOWEST_ELL = 2
"""Monopole and dipole are removed before, so that bands begin here."""


def fsky_approximation(pseudo_cl: Array, mask: Array) -> Array:
    """Return pseudo-spectra divided by the mean of the squared mask.

    C_l ~ pseudo-C_l / mean(w^2): exact on average for a white spectrum, good
    where the spectrum changes little over the width of the mask's own one.

    Parameters
    ----------
    pseudo_cl
        Shape (n_spectra, lmax + 1).
    mask
        The weights w, shape (npix,), or (n_spectra, npix) where fields differ.

    References
    ----------
    Hivon et al. 2002, Astrophys. J. 567, 2.
    """
    cl: Array = pseudo_cl / [[fsky_power(weights)] for weights in np.atleast_2d(mask)]
    return cl


@dataclass(frozen=True, eq=False)
class SkySpectra:
    """Spectra C_l of one sky at the comparison's beam, each of shape (n_spectra, lmax + 1), in uK_CMB2.

    Parameters
    ----------
    names
        "TT", or "TT", "EE", "BB".
    truth, cleaned
        Auto-spectra.
    residual
        Auto-spectrum of cleaned - truth.
    cross
        Cross-spectrum of truth and cleaned.
    """

    names: tuple[str, ...]
    truth: Array
    cleaned: Array
    residual: Array
    cross: Array


def sky_spectra(
    truth: Array, cleaned: Array, mask: Array, *, lmax: int, decouple: Decoupling = fsky_approximation
) -> SkySpectra:
    """Return the spectra of truth, cleaned map, residual, and truth x cleaned.

    Parameters
    ----------
    truth, cleaned
        Shape (1, npix) or (3, npix), RING, uK_CMB. Pixels of weight 0 may hold
        anything.
    mask
        Apodised weights, shape (npix,), or that of the maps: rows for T, E and B.
    lmax
        Band limit, inclusive.
    decouple
        How pseudo-spectra become spectra.

    Returns
    -------
    SkySpectra
        From l = 0 to `lmax`, in double precision.
    """
    alm_truth, alm_cleaned = (masked_alm(maps, mask, lmax=lmax) for maps in (truth, cleaned))
    residual = alm_cleaned - alm_truth
    return SkySpectra(
        names=("TT", "EE", "BB")[: len(alm_truth)],
        truth=decouple(alm_to_cl(alm_truth), mask),
        cleaned=decouple(alm_to_cl(alm_cleaned), mask),
        residual=decouple(alm_to_cl(residual), mask),
        cross=decouple(alm_to_cl(alm_truth, alm_cleaned), mask),
    )


def masked_alm(maps: Array, mask: Array, *, lmax: int) -> NDArray[np.complex128]:
    """Return the coefficients of w (m - sum w m / sum w); the mean of I only.

    Parameters
    ----------
    maps
        Shape (1, npix) or (3, npix), RING.
    mask
        The weights w, shape (npix,), or that of the maps; Q and U need the same.
    lmax
        Band limit, inclusive.

    Returns
    -------
    numpy.ndarray
        Shape (1, alm_size) or (3, alm_size): T, or T, E, B.
    """
    weights = np.broadcast_to(mask, maps.shape)
    kept = weights > 0
    weighted = np.zeros(maps.shape)  # (n_stokes, npix), float64 even for float32 maps
    weighted[kept] = maps[kept]
    weighted[0, kept[0]] -= np.average(weighted[0, kept[0]], weights=weights[0, kept[0]])
    return map_to_alm(weighted * weights, lmax)


def band_edges(lmax: int, width: int) -> NDArray[np.int64]:
    """Return where bands of `width` multipoles begin, from l = 2 on.

    Parameters
    ----------
    lmax
        Highest multipole, inclusive.
    width
        Multipoles in a band.

    Returns
    -------
    numpy.ndarray
        Shape (n_bands + 1,): band b holds edges[b] <= l < edges[b + 1], the
        last edge is lmax + 1. The last band is shorter where lmax asks for it.

    Raises
    ------
    ValueError
        If `lmax` is below 2 or `width` below 1.
    """
    if lmax < LOWEST_ELL or width < 1:
        raise ValueError(
            f"bands of {width} multipoles up to lmax {lmax}: need a width of at least 1 and an lmax of 2"
        )
    return np.append(np.arange(LOWEST_ELL, lmax + 1, width), lmax + 1)


def band_ell(edges: Array) -> NDArray[np.float64]:
    """Return the mean multipole of every band, weighted by 2l + 1; shape (n_bands,)."""
    return _band_means(np.arange(edges[-1], dtype=np.float64), edges)


def band_dl(cl: Array, edges: Array) -> NDArray[np.float64]:
    """Return D_b, the mean of D_l = l(l+1) C_l / 2pi over every band, weighted by 2l + 1.

    Parameters
    ----------
    cl
        Shape (..., lmax + 1), from l = 0.
    edges
        From `band_edges`, for this lmax.

    Returns
    -------
    numpy.ndarray
        Shape (..., n_bands).

    Raises
    ------
    ValueError
        If the bands do not end at the spectra's lmax.
    """
    lmax = cl.shape[-1] - 1
    if edges[-1] != lmax + 1:
        raise ValueError(
            f"bands end at multipole {edges[-1] - 1}, the spectra at lmax {lmax}; make both end alike"
        )
    return _band_means(cl * dl_factor("TT", lmax), edges)


def _band_means(values: Array, edges: Array) -> NDArray[np.float64]:
    weights = 2 * np.arange(values.shape[-1]) + 1
    sums = np.add.reduceat(values * weights, edges[:-1], axis=-1)  # (..., n_bands)
    means: NDArray[np.float64] = sums / np.add.reduceat(weights, edges[:-1])
    return means


def relative_deviation(spectra: SkySpectra, edges: Array) -> NDArray[np.float64]:
    """Return D_b(cleaned) / D_b(truth) - 1 of every band.

    Returns
    -------
    numpy.ndarray
        Shape (n_spectra, n_bands); not a number where the truth has no power.
    """
    return _ratio(band_dl(spectra.cleaned, edges), band_dl(spectra.truth, edges)) - 1


def mean_relative_deviation(spectra: SkySpectra, edges: Array) -> dict[str, float]:
    """Return the mean over the bands of abs(D_b(cleaned) / D_b(truth) - 1), by spectrum.

    The bands run from l = 2 to the spectra's lmax and count alike. Truth and
    cleaned map have one beam and one mask, whose effects cancel in the ratio;
    power that noise and foregrounds add to the cleaned map counts in full.
    """
    means = np.abs(relative_deviation(spectra, edges)).mean(axis=-1)
    return dict(zip(spectra.names, means.tolist(), strict=True))


def transfer_function(spectra: SkySpectra, edges: Array) -> NDArray[np.float64]:
    """Return D_b(truth x cleaned) / D_b(truth) of every band: the part of the CMB that cleaning left.

    Unlike `relative_deviation` it is not raised by noise and foregrounds,
    which do not correlate with the truth on average.

    Returns
    -------
    numpy.ndarray
        Shape (n_spectra, n_bands); not a number where the truth has no power.
    """
    return _ratio(band_dl(spectra.cross, edges), band_dl(spectra.truth, edges))


def _ratio(numerator: Array, denominator: Array) -> NDArray[np.float64]:
    blank = np.full(numerator.shape, np.nan)
    ratio: NDArray[np.float64] = np.divide(numerator, denominator, out=blank, where=denominator > 0)
    return ratio
