"""The CMB of one sky: drawn unlensed together with the lensing potential, then lensed once."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import lenspyx
import numpy as np
from lenspyx.remapping.deflection import deflection
from numpy.typing import NDArray

from cmbml.science.harmonics import alm_lmax, alm_size, change_lmax, draw_white_alm, filter_alm
from cmbml.science.spectra import PowerSpectra
from cmbml.science.threads import thread_count

Array = NDArray[Any]
Generators = Callable[[str], np.random.Generator]
"""Gives the generator of a field by its letter: T, E, B, or P for the lensing potential."""

SMALLEST_UNLENSED_LMAX = 2000
"""Unlensed spectra go to this multipole at least."""

TEMPERATURE_MARGIN = 600
"""Multipoles above lmax from which lensing moves T below it: what is beyond adds less than 4e-4 to TT."""

E_MODE_MARGIN = 1200
POTENTIAL_MARGIN = 1400
"""Multipoles above lmax from which E and the potential make B below it.

What is beyond would add 2 per cent to lensed BB at its highest multipole and 0.3 (lmax 1024) to 1.6 (382)
below, and 4e-4 to EE. As every multipole has its own random numbers, a sky drawn further than this and cut
before lensing is the same sky.
"""

_SMALLEST_LMAX = 400
"""The power that makes B at low multipoles is that below about 1800, so that the margins start from here."""

_TEMPERATURE_GRID_MARGIN = 150
_POLARISATION_GRID_MARGIN = 400
"""Rings beyond what fields without power above their unlensed band limit would need.

Lensing moves power beyond that limit. What the grid does not resolve of it comes back as noise: 2e-4 of TT
near lmax 382 (1e-3 near 1024), 2e-2 of BB and 1e-4 of EE. Without any margin it would be half of BB. As it
adds what the band limits leave out, BB is CAMB's to 1 per cent.
"""

_EPSILON = 1e-4
"""Accuracy of the interpolation: at 1e-9 and in double precision the errors above stay as they are."""

_LARGEST_DEFLECTION = 0.003
"""Radians; the rms of LCDM is 0.0007. Beyond, the potential is not in the units or scaling it should be."""

_ROUNDING = 1e-6
"""How far rounded spectra may be from a covariance, as a correlation."""


def unlensed_lmax(lmax: int) -> int:
    """Return the band limit of the unlensed spectra that a lensed sky up to `lmax` needs."""
    return max(SMALLEST_UNLENSED_LMAX, lmax + POTENTIAL_MARGIN)


def _used_lmax(lmax: int) -> dict[str, int]:
    """Return up to where each unlensed field is lensed, P for the potential that lenses E."""
    base = max(lmax, _SMALLEST_LMAX)
    return {"T": lmax + TEMPERATURE_MARGIN, "E": base + E_MODE_MARGIN, "P": base + POTENTIAL_MARGIN}


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
        By letter "T", "P" (the potential phi), "E": coefficients beyond `lmax` as far as `lens` needs them,
        complex64.

    Raises
    ------
    ValueError
        If the spectra are lensed, end too early, deflect by more than any cosmology, or are not the
        covariance of any fields.
    """
    spectra.require_unlensed()
    top = _used_lmax(lmax)["P" if polarised else "T"]
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


def lens(unlensed: Mapping[str, Array], lmax: int) -> Array:
    """Lens a sky: X(n) becomes X(n + grad phi(n)), polarisation parallel-transported.

    The lensed field is evaluated on rings of Gauss-Legendre nodes and analysed by their quadrature.

    Parameters
    ----------
    unlensed
        Coefficients of "T", of the potential "P" and, for polarisation, "E", as `draw_unlensed` gives them;
        what is beyond the margins that `lmax` needs is not used. B is taken as zero before lensing.
    lmax
        Band limit of the lensed sky, inclusive, not above that of the unlensed one.

    Returns
    -------
    numpy.ndarray
        Shape (1, alm_size(lmax)) for T or (3, alm_size(lmax)) for T, E, B; complex64, zero at l < 2.

    Raises
    ------
    ValueError
        If T or P is missing, or ends below `lmax`.

    References
    ----------
    Reinecke, Belkner & Carron 2023, A&A 678, A165, section 2: remapping by non-uniform transforms.
    """
    missing = [field for field in "TP" if field not in unlensed]
    if missing:
        raise ValueError(f"lensing needs T and the potential P; {' and '.join(missing)} missing")
    shortest = min(alm_lmax(alm) for alm in unlensed.values())
    if shortest < lmax:
        raise ValueError(f"unlensed coefficients end at {shortest}, below lmax {lmax} of the lensed sky")
    used = _used_lmax(lmax)
    fields = [_remap(unlensed["T"], unlensed["P"], lmax, spin=0, limits=(used["T"], used["T"]))]
    if "E" in unlensed:
        fields.append(_remap(unlensed["E"], unlensed["P"], lmax, spin=2, limits=(used["E"], used["P"])))
    lensed = np.concatenate(fields)  # (1 | 3, nalm)
    lensed[:, [0, 1, lmax + 1]] = 0  # (l, m) = (0, 0), (1, 0), (1, 1)
    return lensed


def _remap(alm: Array, potential: Array, lmax: int, *, spin: int, limits: tuple[int, int]) -> Array:
    """Lens one field, spin 0 (T) or 2 (E): shape (1, alm_size(lmax)) or (2, alm_size(lmax))."""
    field, phi = (
        change_lmax(part, min(alm_lmax(part), top))
        for part, top in zip((alm, potential), limits, strict=True)
    )
    margin = _POLARISATION_GRID_MARGIN if spin else _TEMPERATURE_GRID_MARGIN
    grid = _grid((alm_lmax(field) + lmax) // 2 + margin)
    remapping = deflection(
        grid,
        _to_deflection(phi),
        None,
        numthreads=thread_count(),
        epsilon=_EPSILON,
    )
    points = remapping.gclm2lenmap(field[None].astype(np.complex64), None, spin, False)  # (1 | 2, npoints)
    lensed: Array = grid.adjoint_synthesis(points, spin, lmax, lmax, thread_count())
    return lensed


def _to_deflection(phi: Array) -> Array:
    """Return the deflection sqrt(l(l+1)) phi_lm, in the double precision that lenspyx wants."""
    ell = np.arange(alm_lmax(phi) + 1.0)
    return filter_alm(phi.astype(np.complex128), np.sqrt(ell * (ell + 1)))


@lru_cache(maxsize=4)
def _grid(degree: int) -> Any:
    """Return Gauss-Legendre rings with quadrature to 2 degree + 1, thinned towards the poles."""
    return lenspyx.get_geom(("tgl", {"lmax": degree, "smax": 2}))
