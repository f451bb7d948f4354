"""Spherical harmonic transforms of HEALPix maps in RING order, by ducc0.

Coefficients follow healpy's layout (m outermost, `healpy.Alm`), polarisation
follows HEALPix's COSMO convention, and the number of threads is that of
`cmbml.science.threads`. Single precision in gives single precision out.
"""

import math
from functools import lru_cache
from typing import Any

import ducc0
import numba
import numpy as np
from numpy.typing import NDArray

from cmbml.science.pixels import check_nside, npix_to_nside
from cmbml.science.threads import thread_count

Array = NDArray[Any]


@lru_cache(maxsize=32)
def _rings(nside: int) -> dict[str, Array]:
    """Ring geometry of a map as ducc0's transforms want it."""
    geometry: dict[str, Array] = ducc0.healpix.Healpix_Base(check_nside(nside), "RING").sht_info()
    return geometry


def alm_size(lmax: int) -> int:
    """Return the number of coefficients with 0 <= m <= l <= lmax."""
    return (lmax + 1) * (lmax + 2) // 2


def alm_lmax(alm: Array) -> int:
    """Return the band limit of coefficients of shape (..., alm_size).

    Raises
    ------
    ValueError
        If the last axis has a length that no lmax gives.
    """
    size = alm.shape[-1]
    lmax = int((8 * size + 1) ** 0.5 - 3) // 2
    if lmax < 0 or alm_size(lmax) != size:
        raise ValueError(f"{size} is not the number of coefficients of any lmax (with mmax = lmax)")
    return lmax


def synthesise(alm: Array, nside: int) -> Array:
    """Turn scalar coefficients into maps.

    Parameters
    ----------
    alm
        Shape (..., alm_size), complex64 or complex128.
    nside
        Resolution of the maps.

    Returns
    -------
    numpy.ndarray
        Shape (..., npix), float32 or float64.
    """
    flat = np.ascontiguousarray(alm).reshape(-1, 1, alm.shape[-1])  # (n, 1, nalm)
    maps = ducc0.sht.synthesis(alm=flat, spin=0, lmax=alm_lmax(alm), nthreads=thread_count(), **_rings(nside))
    return np.asarray(maps).reshape(*alm.shape[:-1], -1)


def analyse(maps: Array, lmax: int, *, iterations: int = 3) -> Array:
    """Turn scalar maps into coefficients up to `lmax`.

    The quadrature with equal weights is exact only to about a per cent at the
    highest multipoles; each iteration (Jacobi, as in HEALPix's `map2alm_iter`)
    adds the analysis of what is not yet explained.

    Parameters
    ----------
    maps
        Shape (..., npix), float32 or float64.
    lmax
        Band limit, inclusive.
    iterations
        Number of refinements, 0 or more.

    Returns
    -------
    numpy.ndarray
        Shape (..., alm_size(lmax)), complex64 or complex128.
    """
    flat = np.ascontiguousarray(maps).reshape(-1, 1, maps.shape[-1])  # (n, 1, npix)
    alm = _quadrature(flat, lmax, spin=0, iterations=iterations)
    return alm.reshape(*maps.shape[:-1], -1)


def _quadrature(maps: Array, lmax: int, *, spin: int, iterations: int) -> Array:
    """Analyse maps (n, 1 | 2, npix) by equal weights and Jacobi iterations."""
    npix = maps.shape[-1]
    if maps.dtype not in (np.float32, np.float64):  # ducc0 knows no others, nor another byte order
        maps = maps.astype(np.float64)
    options = {"spin": spin, "lmax": lmax, "nthreads": thread_count(), **_rings(npix_to_nside(npix))}
    weight = maps.dtype.type(4 * np.pi / npix)
    alm = ducc0.sht.adjoint_synthesis(map=maps, **options) * weight
    for _ in range(iterations):
        rest = maps - ducc0.sht.synthesis(alm=alm, **options)
        alm += ducc0.sht.adjoint_synthesis(map=rest, **options) * weight
    return np.asarray(alm)


def alm_to_map(alm: Array, nside: int) -> Array:
    """Turn coefficients of one sky into its Stokes maps.

    Parameters
    ----------
    alm
        Shape (1, alm_size) for T, or (3, alm_size) for T, E, B.
    nside
        Resolution of the map.

    Returns
    -------
    numpy.ndarray
        Shape (1, npix) or (3, npix): I or I, Q, U.

    Raises
    ------
    ValueError
        If there are neither one nor three fields.
    """
    _check_fields(alm)
    intensity = synthesise(alm[:1], nside)
    if len(alm) == 1:
        return intensity
    polarisation = ducc0.sht.synthesis(
        alm=np.ascontiguousarray(alm[1:]),
        spin=2,
        lmax=alm_lmax(alm),
        nthreads=thread_count(),
        **_rings(nside),
    )
    return np.concatenate([intensity, polarisation])  # (3, npix)


def map_to_alm(maps: Array, lmax: int, *, iterations: int = 3) -> Array:
    """Turn the Stokes maps of one sky into coefficients.

    Parameters
    ----------
    maps
        Shape (1, npix) for I, or (3, npix) for I, Q, U.
    lmax
        Band limit, inclusive.
    iterations
        Refinements, see `analyse`.

    Returns
    -------
    numpy.ndarray
        Shape (1, alm_size) or (3, alm_size): T or T, E, B.

    Raises
    ------
    ValueError
        If there are neither one nor three fields.
    """
    _check_fields(maps)
    temperature = analyse(maps[:1], lmax, iterations=iterations)
    if len(maps) == 1:
        return temperature
    polarisation = _quadrature(np.ascontiguousarray(maps[1:])[None], lmax, spin=2, iterations=iterations)
    return np.concatenate([temperature, polarisation[0]])  # (3, nalm)


def _check_fields(fields: Array) -> None:
    if fields.ndim != 2 or len(fields) not in (1, 3):
        raise ValueError(f"one sky has 1 or 3 Stokes fields on its first axis; got shape {fields.shape}")


@lru_cache(maxsize=8)
def _ell_of_alm(lmax: int) -> Array:
    """Multipole of every coefficient in healpy's layout."""
    return np.concatenate([np.arange(m, lmax + 1) for m in range(lmax + 1)])


def filter_alm(alm: Array, window: Array) -> Array:
    """Multiply coefficients by a function of the multipole; the input is kept.

    Parameters
    ----------
    alm
        Shape (..., alm_size).
    window
        Shape (lmax + 1,), or (..., lmax + 1) to broadcast against `alm`.

    Raises
    ------
    ValueError
        If the window does not have lmax + 1 entries.
    """
    lmax = alm_lmax(alm)
    if window.shape[-1] != lmax + 1:
        raise ValueError(
            f"window has {window.shape[-1]} entries, coefficients up to lmax {lmax} need {lmax + 1}"
        )
    shape = np.broadcast_shapes(alm.shape[:-1], window.shape[:-1])
    rows = math.prod(shape)
    factors = np.broadcast_to(window.astype(alm.real.dtype), (*shape, lmax + 1))
    fields = np.broadcast_to(alm, (*shape, alm.shape[-1]))
    out = np.empty((rows, alm.shape[-1]), alm.dtype)
    _filter_rows(
        np.ascontiguousarray(fields).reshape(rows, alm.shape[-1]),
        np.ascontiguousarray(factors).reshape(rows, lmax + 1),
        out,
    )
    return out.reshape(*shape, alm.shape[-1])


@numba.njit(nogil=True, cache=True)
def _filter_rows(alm: Array, window: Array, out: Array) -> None:
    """Multiply each row of coefficients by its window; rows run over m, then l."""
    lmax = window.shape[1] - 1
    for row in range(len(alm)):
        place = 0
        for m in range(lmax + 1):
            for ell in range(m, lmax + 1):
                out[row, place] = alm[row, place] * window[row, ell]
                place += 1


def change_lmax(alm: Array, lmax: int) -> Array:
    """Cut coefficients at `lmax`, or fill up with zeros to it.

    Parameters
    ----------
    alm
        Shape (..., alm_size).

    Returns
    -------
    numpy.ndarray
        Shape (..., alm_size(lmax)), a copy.
    """
    lmax_in = alm_lmax(alm)
    out = np.zeros((*alm.shape[:-1], alm_size(lmax)), alm.dtype)
    for m in range(min(lmax, lmax_in) + 1):
        n = min(lmax, lmax_in) - m + 1
        start_in, start_out = (m * (2 * limit + 1 - m) // 2 + m for limit in (lmax_in, lmax))
        out[..., start_out : start_out + n] = alm[..., start_in : start_in + n]
    return out


def alm_to_cl(alm: Array, other: Array | None = None) -> Array:
    """Return the auto- or cross-spectrum C_l of coefficients.

    Parameters
    ----------
    alm, other
        Shape (..., alm_size); without `other`, the auto-spectrum.

    Returns
    -------
    numpy.ndarray
        Shape (..., lmax + 1), float64.
    """
    lmax = alm_lmax(alm)
    second = alm if other is None else other
    power = (alm * second.conj()).real.astype(np.float64)
    power[..., lmax + 1 :] *= 2  # m > 0 stands for m and -m
    ell = np.arange(lmax + 1)
    flat = power.reshape(-1, power.shape[-1])
    sums = np.stack([np.bincount(_ell_of_alm(lmax), row, lmax + 1) for row in flat])
    cl: Array = (sums / (2 * ell + 1)).reshape(*power.shape[:-1], lmax + 1)
    return cl


def draw_white_alm(rng: np.random.Generator, lmax: int) -> Array:
    """Draw coefficients of a Gaussian field with C_l = 1, multipole by multipole.

    The draws of multipole l are the l-th 2l + 1 numbers of the generator, so that
    low multipoles do not depend on the band limit.

    Parameters
    ----------
    rng
        Generator that belongs to this field alone.
    lmax
        Band limit, inclusive.

    Returns
    -------
    numpy.ndarray
        Shape (alm_size(lmax),), complex64.
    """
    alm = np.empty(alm_size(lmax), np.complex64)
    _arrange(rng.standard_normal((lmax + 1) ** 2, dtype=np.float32), alm)
    return alm


@numba.njit(nogil=True, cache=True)
def _arrange(draws: Array, alm: Array) -> None:
    """Put draws, ordered by l, into healpy's layout: draw l^2 is (l, 0), the next two are (l, 1), ..."""
    lmax = int(np.sqrt(len(draws))) - 1
    half = np.float32(np.sqrt(0.5))  # for m > 0 each part has half the power
    for ell in range(lmax + 1):
        alm[ell] = draws[ell * ell]
        for m in range(1, ell + 1):
            place = m * (2 * lmax + 1 - m) // 2 + ell
            first = ell * ell + 2 * m - 1
            alm[place] = half * (draws[first] + 1j * draws[first + 1])
