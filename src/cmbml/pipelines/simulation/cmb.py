"""The CMB of one sky: drawn unlensed together with the lensing potential, then lensed once."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.simulation.lensing import lens
from cmbml.science.harmonics import alm_size, draw_white_alm, filter_alm
from cmbml.science.spectra import PowerSpectra

Array = NDArray[Any]
Generators = Callable[[str], np.random.Generator]
"""Gives the generator of a field by its letter: T, E, B, or P for the lensing potential."""

SMALLEST_UNLENSED_LMAX = 2000
"""Unlensed fields go to this multipole at least."""

UNLENSED_MARGIN = 1400
"""Multipoles above lmax from which lensing still makes B below it.

What is beyond would add 0.5 per cent to BB, 0.8 at its highest multipoles (lmax 1024), and less than 4e-4
to TT and EE. With a margin of 1000 the 0.8 would be 2.7. As every multipole has its own random numbers, a sky
drawn further and cut before lensing is the same sky.
"""

_LARGEST_DEFLECTION = 0.003
"""Radians; the rms of LCDM is 0.0007. Beyond, the potential is not in the units or scaling it should be."""

_ROUNDING = 1e-6
"""How far rounded spectra may be from a covariance, as a correlation."""


def unlensed_lmax(lmax: int) -> int:
    """Return the band limit of the unlensed fields and potential that a lensed sky up to `lmax` needs."""
    return max(SMALLEST_UNLENSED_LMAX, lmax + UNLENSED_MARGIN)


def lensed_alm(spectra: PowerSpectra, generators: Generators, *, lmax: int, polarised: bool) -> Array:
    """Draw one lensed sky.

    Parameters
    ----------
    spectra
        Unlensed, see `draw_unlensed`.
    generators
        Generator of each field.
    lmax
        Band limit, inclusive.
    polarised
        Whether E and B are wanted; T is the same to the bit with and without.

    Returns
    -------
    numpy.ndarray
        Shape (1, alm_size(lmax)) for T or (3, alm_size(lmax)) for T, E, B; uK_CMB, complex64, zero at l < 2.
    """
    return lens(draw_unlensed(spectra, generators, lmax=lmax, polarised=polarised), lmax)


def draw_unlensed(
    spectra: PowerSpectra, generators: Generators, *, lmax: int, polarised: bool
) -> dict[str, Array]:
    """Draw the jointly Gaussian unlensed fields and lensing potential.

    Every field has its own stream of random numbers, used from low to high multipoles. So T and the
    potential do not depend on whether E is drawn, and low multipoles not on the band limit.

    Parameters
    ----------
    spectra
        Unlensed: TT, PP and, where there, PT; for polarisation also EE, TE, PE.
    generators
        Generator of each of T, P, E.
    lmax
        Band limit of the lensed sky.
    polarised
        Whether to draw E.

    Returns
    -------
    dict
        By letter "T", "P" (the potential phi), "E": coefficients up to `unlensed_lmax(lmax)`, complex64.

    Raises
    ------
    ValueError
        If the spectra are lensed, end too early, deflect by more than any cosmology, or are not the
        covariance of any fields.
    """
    spectra.require_unlensed()
    top = unlensed_lmax(lmax)
    if spectra.lmax < top:
        raise ValueError(
            f"unlensed spectra end at {spectra.lmax}: skies lensed up to lmax {lmax} need them up to {top}"
        )
    ell = np.arange(top + 1)
    rms = np.sqrt(np.sum((2 * ell + 1) * ell * (ell + 1) * spectra.cl("PP")[: top + 1]) / (4 * np.pi))
    if rms > _LARGEST_DEFLECTION:
        raise ValueError(
            f"lensing potential: it deflects by {rms:.3g} rad rms, above {_LARGEST_DEFLECTION}; "
            "check whether PP is C_l or D_l, and of the potential rather than the deflection"
        )
    return _draw(spectra, "TPE" if polarised else "TP", generators, lmax=top)


def gaussian_alm(spectra: PowerSpectra, generators: Generators, *, lmax: int, polarised: bool) -> Array:
    """Draw one sky as a Gaussian field with the spectra as they are, lensed or not.

    Parameters
    ----------
    spectra
        TT; for polarisation also EE and, where there, TE and BB.
    generators
        Generator of each of T, E, B.
    lmax
        Band limit, inclusive.
    polarised
        Whether to draw E and B.

    Returns
    -------
    numpy.ndarray
        Shape (1, alm_size(lmax)) for T or (3, alm_size(lmax)) for T, E, B; in the root of the spectra's
        unit, complex64, zero at l < 2.

    Raises
    ------
    ValueError
        If the spectra end below `lmax` or are not the covariance of any fields.
    """
    if spectra.lmax < lmax:
        raise ValueError(f"spectra end at {spectra.lmax}: skies up to lmax {lmax} need them up to there")
    fields = "TEB" if polarised else "T"
    drawn = _draw(spectra, fields, generators, lmax=lmax)
    return np.stack([drawn[field] for field in fields])


def _draw(spectra: PowerSpectra, fields: str, generators: Generators, *, lmax: int) -> dict[str, Array]:
    """Draw fields with the auto- and cross-spectra among them."""
    roots = _roots(spectra, fields, lmax)  # (n, n, lmax + 1)
    white = [draw_white_alm(generators(field), lmax) for field in fields]
    drawn = {}
    for i, field in enumerate(fields):
        parts = [filter_alm(white[j], roots[i, j]) for j in range(i + 1) if roots[i, j].any()]
        drawn[field] = sum(parts, np.zeros(alm_size(lmax), np.complex64))
    return drawn


def _roots(spectra: PowerSpectra, fields: str, lmax: int) -> Array:
    """Return the lower Cholesky factor of the fields' covariance at every l, zero at l < 2.

    Zero power and full correlation are allowed, as for E without power at l < 2.
    """
    n = len(fields)
    power = np.stack([_cl_or_zero(spectra, 2 * field, lmax) for field in fields])  # (n, lmax + 1)
    if power.min() < 0:
        raise ValueError(f"spectra of {fields}: an auto-spectrum is negative")
    amplitude = np.sqrt(power)
    roots = np.zeros((n, n, lmax + 1))
    for i, j in zip(*np.tril_indices(n), strict=True):  # row by row
        scale = amplitude[i] * amplitude[j]
        cross = _cl_or_zero(spectra, fields[i] + fields[j], lmax)
        rest = _divide(cross, scale) - np.sum(roots[i, :j] * roots[j, :j], axis=0)
        roots[i, j] = np.sqrt(np.maximum(rest, 0)) if i == j else _divide(rest, roots[j, j])
        if i == j and rest.min() < -_ROUNDING:
            raise ValueError(
                f"spectra of {fields}: no covariance at l = {np.argmin(rest)}, the cross-spectra of "
                f"{fields[i]} are larger than its auto-spectrum allows"
            )
    roots *= amplitude[:, None]
    roots[..., :2] = 0
    return roots


def _divide(value: Array, by: Array) -> Array:
    """Divide where the divisor is more than rounding, and give 0 elsewhere."""
    return np.divide(value, by, out=np.zeros_like(value), where=by > by.max() * 1e-30)


def _cl_or_zero(spectra: PowerSpectra, name: str, lmax: int) -> Array:
    """Return C_l up to `lmax`; zeros for a cross-spectrum, and for BB, that is not there."""
    optional = name[0] != name[1] or name == "BB"
    if optional and name not in spectra.values and name[::-1] not in spectra.values:
        return np.zeros(lmax + 1)
    return spectra.cl(name)[: lmax + 1]
