"""Lensing of one sky by lenspyx, remapped on rings and analysed by their quadrature."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import lenspyx
import numba
import numpy as np
from lenspyx.remapping.deflection import deflection
from numpy.typing import NDArray

from cmbml.science.harmonics import alm_lmax, alm_size, filter_alm
from cmbml.science.memory import keep_freed_memory
from cmbml.science.threads import thread_count

Array = NDArray[Any]

keep_freed_memory()

_GRID_MARGIN = 450
_GRID_LMAX = 400
"""Rings beyond what fields without power above their unlensed band limit would need, and the multipole up to
which they are not fewer for a lower lmax.

Lensing moves power beyond that limit. What the grid does not resolve of it comes back as noise: 0.1 (lmax
1024) to 0.7 per cent (190, 382) of BB and 1 at its highest multipoles, below 1e-4 of TT and EE. Without any
margin it would be half of BB. As it adds what the band limits leave out, BB is CAMB's to 1 per cent.
"""

_EPSILON = 1e-4
"""Accuracy of the interpolation: at 1e-3, and at 1e-8 in double precision, the noise above stays as it is."""


def lens(unlensed: Mapping[str, Array], lmax: int) -> Array:
    """Lens a sky: X(n) becomes X(n + grad phi(n)), polarisation parallel-transported.

    One deflection moves all fields. They are evaluated on rings of Gauss-Legendre nodes, whose number depends
    on the longest of the unlensed fields and on `lmax` only, and analysed by their quadrature.

    Parameters
    ----------
    unlensed
        Coefficients of "T", of the potential "P" and, for polarisation, "E", all of which are used. B is
        taken as zero before lensing.
    lmax
        Band limit of the lensed sky, inclusive, not above that of the unlensed one.

    Returns
    -------
    numpy.ndarray
        Shape (1, alm_size(lmax)) for T or (3, alm_size(lmax)) for T, E, B; complex64, zero at l < 2.

    Raises
    ------
    ValueError
        If T or P is missing, or a field ends below `lmax`.

    References
    ----------
    Reinecke, Belkner & Carron 2023, A&A 678, A165, section 2: remapping by non-uniform transforms.
    """
    missing = [field for field in "TP" if field not in unlensed]
    if missing:
        raise ValueError(f"lensing needs T and the potential P; {' and '.join(missing)} missing")
    limits = [alm_lmax(alm) for alm in unlensed.values()]
    if min(limits) < lmax:
        raise ValueError(f"unlensed coefficients end at {min(limits)}, below lmax {lmax} of the lensed sky")
    grid = _grid((max(limits) + max(lmax, _GRID_LMAX)) // 2 + _GRID_MARGIN)
    remapping = _Deflection(
        grid, _to_deflection(unlensed["P"]), None, numthreads=thread_count(), epsilon=_EPSILON
    )
    lensed = np.empty((3 if "E" in unlensed else 1, alm_size(lmax)), np.complex64)
    for spin, field, rows in ((0, "T", slice(0, 1)), (2, "E", slice(1, 3))):
        if field in unlensed:
            alm = unlensed[field][None].astype(np.complex64, copy=False)
            points = remapping.gclm2lenmap(alm, None, spin, False)  # (1 | 2, npoints)
            lensed[rows] = grid.adjoint_synthesis(points, spin, lmax, lmax, thread_count())
    lensed[:, [0, 1, lmax + 1]] = 0  # (l, m) = (0, 0), (1, 0), (1, 1)
    return lensed


def _to_deflection(phi: Array) -> Array:
    """Return the deflection sqrt(l(l+1)) phi_lm, by which lenspyx knows the potential."""
    ell = np.arange(alm_lmax(phi) + 1.0)
    return filter_alm(phi.astype(np.complex64, copy=False), np.sqrt(ell * (ell + 1)))


@lru_cache(maxsize=4)
def _grid(degree: int) -> Any:
    """Return Gauss-Legendre rings with quadrature to 2 degree + 1, thinned towards the poles."""
    return lenspyx.get_geom(("tgl", {"lmax": degree, "smax": 2}))


class _Deflection(deflection):  # type: ignore[misc]
    """lenspyx's deflection, with its field made in half the time.

    A spin-1 transform costs as much as three to four of spin 0, and two of those do as well.
    """

    def _build_d1(self) -> Array:
        """Return the deflection along theta and phi on the grid, shape (2, npoints)."""
        ell = np.arange(self.lmax_dlm + 1.0)
        phi = filter_alm(self.dlm, 1 / np.sqrt(np.maximum(ell * (ell + 1), 1)))
        top = self.lmax_dlm + 1
        maps = self.geom.synthesis(
            derivatives(phi)[:, None], 0, top, top, self.sht_tr, ringfactor=1 / np.sin(self.geom.theta)
        )  # (2, 1, npoints)
        # until here in single precision, which moves no point by more than 3e-3 arcsec; positions are double
        return np.asarray(maps, np.float64)[:, 0]


def derivatives(alm: Array) -> Array:
    """Return the coefficients of sin(theta) d/dtheta and d/dphi of a scalar field.

    Parameters
    ----------
    alm
        Shape (alm_size(lmax),), complex64 or complex128.

    Returns
    -------
    numpy.ndarray
        Shape (2, alm_size(lmax + 1)), of the same precision; the first reaches one multipole further.

    Notes
    -----
    sin(theta) dY_lm/dtheta = l A_(l+1)m Y_(l+1)m - (l+1) A_lm Y_(l-1)m, A_lm^2 = (l^2 - m^2) / (4 l^2 - 1).
    """
    lmax = alm_lmax(alm)
    out = np.empty((2, alm_size(lmax + 1)), alm.dtype)
    _differentiate(alm, lmax, out)
    return out


@numba.njit(nogil=True, cache=True)
def _differentiate(alm: Array, lmax: int, out: Array) -> None:
    """Fill `out`, row by row of m; coefficients outside 0 <= m <= l <= lmax are zero."""
    row, place = 0, 0  # where (0, m) would be in `alm`, and where we are in `out`
    for m in range(lmax + 2):
        for ell in range(m, lmax + 2):
            below = alm[row + ell - 1] if ell > m else 0j
            above = alm[row + ell + 1] if ell < lmax else 0j
            from_below = (ell - 1.0) * np.sqrt((ell**2 - m**2) / (4.0 * ell**2 - 1.0))
            from_above = (ell + 2.0) * np.sqrt(((ell + 1) ** 2 - m**2) / (4.0 * (ell + 1) ** 2 - 1.0))
            out[0, place] = from_below * below - from_above * above
            out[1, place] = 1j * m * alm[row + ell] if ell <= lmax else 0j
            place += 1
        row += lmax - m
