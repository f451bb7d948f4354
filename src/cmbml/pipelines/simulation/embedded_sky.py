"""A synthetic Galaxy from a seed: foreground templates at any resolution.

Four components (thermal dust, synchrotron, free-free, anomalous microwave
emission) with the statistics of the real sky, see `embedded_targets.MEASURED`,
but none of its pixels. Brightness is a profile over Galactic latitude and
longitude, the same in every sky, times a random field drawn per seed.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.special import sph_harm_y

from cmbml.pipelines.simulation.embedded_fields import (
    REFERENCE_LMAX,
    gaussian_field,
    loop_field,
    missing_variance,
    spectrum_amplitude,
    unit_alm,
    wall_field,
)
from cmbml.pipelines.simulation.embedded_profiles import (
    COHERENCE,
    COMPONENTS,
    GRAIN_SPECTRUM,
    LOOP_SHARE,
    LOOPS,
    MODELS,
    NODES,
    POLARISATION,
    SMOOTHNESS,
    SPECTRAL_SPECTRA,
    TEMPERATURE_PROFILE,
    TEMPERATURE_SCATTER,
    WALL_SHARE,
    WALLS,
)
from cmbml.pipelines.simulation.embedded_targets import MEASURED_SPECTRA
from cmbml.science.harmonics import alm_to_map, filter_alm, synthesise
from cmbml.science.pixels import check_band_limit, check_nside, nside_to_npix
from cmbml.science.seeds import generator_of

Array = NDArray[Any]

PROFILE_NSIDE = 64
"""Resolution of the templates on which the profiles were measured."""

_QUADRUPOLE = np.pi * np.sqrt(128 / 75)
"""a_2m of the E modes of (q, u) = sin^2(gamma) (cos 2 psi, sin 2 psi), in units of Y*_2m(field direction)."""


@dataclass(frozen=True)
class SkyTemplates:
    """Foreground templates of one sky: RING order, Galactic, COSMO convention, float32.

    Parameters
    ----------
    nside
        Resolution of all maps.
    dust
        Shape (3, npix) I, Q, U, or (1, npix) if drawn without polarisation;
        uK_RJ at 353 GHz.
    dust_index, dust_temperature
        Shape (npix,); emissivity index of the modified black body, and K.
    synchrotron
        Shape as `dust`; uK_RJ at 30 GHz.
    synchrotron_index
        Shape (npix,); index in uK_RJ.
    free_free, ame
        Shape (npix,); uK_RJ at 30 GHz.
    """

    nside: int
    dust: Array
    dust_index: Array
    dust_temperature: Array
    synchrotron: Array
    synchrotron_index: Array
    free_free: Array
    ame: Array


@dataclass(frozen=True)
class _Draw:
    """What was drawn for one component.

    Unit modes, the coefficients made of them, and a map of the structure that is
    not in those: walls or loops.
    """

    modes: Array
    alm: Array
    extra: Array


def embedded_templates(
    nside: int, seed: int, *, polarised: bool = True, lmax: int | None = None
) -> SkyTemplates:
    """Draw the foreground templates of one sky.

    Parameters
    ----------
    nside
        Resolution.
    seed
        Seed of this sky. The same seed at another resolution gives the same
        sky, smoothed or with more detail.
    polarised
        Whether to draw Q and U of dust and synchrotron; I does not depend on it.
    lmax
        Band limit of the random fields, 3 nside - 1 by default. The brightness
        is a nonlinear function of them and has no sharp band limit.

    Raises
    ------
    ValueError
        If `nside` is no resolution HEALPix knows, or cannot carry `lmax`.
    """
    band_limit = 3 * check_nside(nside) - 1 if lmax is None else check_band_limit(lmax, nside)
    draws = _draw_components(nside, band_limit, seed)
    maps = {}
    for name, draw in draws.items():
        field = _total_field(name, synthesise(draw.alm, nside), draw.extra)
        if MODELS[name].grain:
            field = _add_grain(name, field, nside, band_limit, seed)
        maps[name] = _brightness(name, field, nside, band_limit)
    if polarised:
        stokes = {name: _polarise(name, maps[name], draws[name], seed) for name in POLARISATION}
    else:
        stokes = {name: maps[name][None] for name in POLARISATION}
    return SkyTemplates(
        nside=nside,
        dust=stokes["dust"],
        synchrotron=stokes["synchrotron"],
        free_free=maps["free_free"],
        ame=maps["ame"],
        **_spectral_maps(nside, band_limit, seed),
    )


def _draw_components(nside: int, lmax: int, seed: int) -> dict[str, _Draw]:
    """Draw the correlated Gaussian parts of all components, and their walls and loops."""
    white = np.array([unit_alm(lmax, seed, name, "intensity") for name in COMPONENTS])  # (4, nalm)
    mixing = np.linalg.cholesky(COHERENCE).astype(np.float32)
    modes = np.einsum("ij,jk->ik", mixing, white)  # not @, which would start threads
    walls = np.zeros(nside_to_npix(nside), np.float32)
    for number, (share, wall) in enumerate(WALLS):
        walls += np.float32(share) * wall_field(wall, nside, lmax, seed, "dust", f"wall{number}")
    loops = np.float32(LOOP_SHARE) * loop_field(LOOPS, nside, seed, "synchrotron", "loops")
    draws = {}
    for name, mode in zip(COMPONENTS, modes, strict=True):
        alm = filter_alm(mode, spectrum_amplitude(MODELS[name].spectrum, lmax))
        draws[name] = _Draw(mode, alm, loops if name == "synchrotron" else walls)
    return draws


def _total_field(name: str, gaussian: Array, extra: Array | np.float32) -> Array:
    """Join the Gaussian part with the walls (keeping variance 1) or the loops."""
    if name == "synchrotron":
        return gaussian + extra
    share = WALL_SHARE[name]
    return np.float32(np.sqrt(1 - share**2)) * gaussian + np.float32(share) * extra


def _add_grain(name: str, field: Array, nside: int, lmax: int, seed: int) -> Array:
    """Mix a field with the rough part of its component, keeping variance 1."""
    grain = _on_pixels(nside, MODELS[name].grain)
    rough = gaussian_field(GRAIN_SPECTRUM, nside, lmax, seed, name, "grain")
    mixed: Array = np.sqrt(1 - grain**2) * field + grain * rough
    return mixed


@lru_cache(maxsize=64)
def _on_rings(nside: int, table: tuple[float, ...]) -> tuple[Array, Array]:
    """Interpolate a table over |b| to the rings; return the values and the pixels per ring."""
    _, pixels, z, _, _ = hp.ringinfo(nside, np.arange(1, 4 * nside))
    latitude = np.abs(np.rad2deg(np.arcsin(z)))
    return PchipInterpolator(NODES, table)(latitude).astype(np.float32), pixels


def _on_pixels(nside: int, table: tuple[float, ...]) -> Array:
    """Interpolate a table over |b| to the pixels, shape (npix,)."""
    return np.repeat(*_on_rings(nside, table))


@lru_cache(maxsize=8)
def _median_brightness(name: str, nside: int) -> Array:
    """Return m(l, b) of a component, averaged over pixels larger than those it was measured in."""
    if nside < PROFILE_NSIDE:
        return np.asarray(hp.ud_grade(_median_brightness(name, PROFILE_NSIDE), nside))
    _, longitude = hp.pix2ang(nside, np.arange(nside_to_npix(nside)))
    model = MODELS[name]
    log_scale = _on_pixels(nside, model.log_median) + _on_pixels(nside, model.longitude) * np.cos(longitude)
    scale: Array = np.exp(log_scale).astype(np.float32)
    return scale


def _brightness(name: str, field: Array, nside: int, lmax: int) -> Array:
    """Turn a field of variance 1 into the brightness of a component, see `ComponentModel`.

    Where the band limit leaves out a part v of the variance of the field, its
    mean effect exp(s^2 v / 2) is put in: a sky at low resolution is the average
    of the same sky at high resolution.
    """
    model = MODELS[name]
    spread, offset = _on_pixels(nside, model.spread), _on_pixels(nside, model.offset)
    missing: Any = np.float32((1 - WALL_SHARE.get(name, 0) ** 2) * missing_variance(model.spectrum, lmax))
    if model.grain:
        grain = _on_pixels(nside, model.grain) ** 2
        missing = (1 - grain) * missing + grain * np.float32(missing_variance(GRAIN_SPECTRUM, lmax))
    excess = np.exp(spread * field + spread**2 * missing / 2) - offset
    rounded = SMOOTHNESS * np.logaddexp(0, excess / np.float32(SMOOTHNESS))
    brightness: Array = _median_brightness(name, nside) * rounded / (1 - offset)
    return brightness


def _spectral_maps(nside: int, lmax: int, seed: int) -> dict[str, Array]:
    """Draw the maps of the spectral parameters, each with a stream of its own."""
    maps = {
        name: gaussian_field(spectrum, nside, lmax, seed, name) for name, spectrum in SPECTRAL_SPECTRA.items()
    }
    for name in ("dust_index", "synchrotron_index"):
        mean, spread = MEASURED_SPECTRA[name]
        maps[name] = mean + spread * maps[name]
    profile = _on_pixels(nside, TEMPERATURE_PROFILE)
    maps["dust_temperature"] = profile + TEMPERATURE_SCATTER * maps["dust_temperature"]
    return maps


def _uniform_field_alm(direction: Array, lmax: int) -> Array:
    """Return the E modes of the polarisation by a uniform magnetic field.

    Polarisation is perpendicular to the field B (unit vector) on the sky:
    q = B_phi^2 - B_theta^2, u = -2 B_theta B_phi, which is a pure quadrupole.
    """
    theta, phi = hp.vec2ang(direction)
    alm = np.zeros((lmax + 1) * (lmax + 2) // 2, np.complex64)
    for m in range(3):
        alm[hp.Alm.getidx(lmax, 2, m)] = _QUADRUPOLE * np.conj(sph_harm_y(2, m, theta[0], phi[0]))
    return alm


def _local_field(seed: int) -> Array:
    """Draw the direction of the ordered magnetic field near the Sun, a unit vector.

    It points to (l, b) = (70, 24) degrees [1]_, scattered by about 20 degrees, so
    that no two skies have the same pattern of angles.

    References
    ----------
    .. [1] Planck Collaboration XLIV 2016, A&A 596, A105, abstract.
    """
    mean = hp.ang2vec(70.0, 24.0, lonlat=True)
    vector = mean + np.deg2rad(20) * generator_of(seed, "magnetic_field").standard_normal(3)
    direction: Array = vector / np.linalg.norm(vector)
    return direction


def _polarise(name: str, intensity: Array, draw: _Draw, seed: int) -> Array:
    """Return I, Q, U of a component, shape (3, npix), see `PolarisationModel`."""
    model = POLARISATION[name]
    nside, lmax = hp.npix2nside(len(intensity)), hp.Alm.getlmax(len(draw.alm))
    amplitude = spectrum_amplitude(model.spectrum, lmax) * np.sqrt(2 / (1 + model.bb_to_ee))
    share = np.float32(model.with_intensity)
    e_modes = share * draw.modes + np.sqrt(1 - share**2) * unit_alm(lmax, seed, name, "emode")
    e_alm = filter_alm(e_modes, amplitude) + model.uniform * _uniform_field_alm(_local_field(seed), lmax)
    b_alm = filter_alm(unit_alm(lmax, seed, name, "bmode"), amplitude * np.sqrt(model.bb_to_ee))
    ell = np.arange(lmax + 1)
    smooth_alm = filter_alm(draw.alm, np.exp(-ell * (ell + 1) / (2 * model.smoothing_ell**2)))
    smooth, q, u = alm_to_map(np.array([smooth_alm, e_alm.astype(np.complex64), b_alm]), nside)
    extra = draw.extra if name == "synchrotron" else np.float32(0)
    smooth_intensity = _brightness(name, _total_field(name, smooth, extra), nside, REFERENCE_LMAX)
    spread = _on_pixels(nside, model.spread_percent) / 100
    q, u = _on_pixels(nside, model.plane_percent) / 100 + spread * q, spread * u
    fraction = np.hypot(q, u) * smooth_intensity / intensity
    limited = smooth_intensity * np.tanh(fraction / model.limit) * model.limit / np.maximum(fraction, 1e-20)
    return np.array([intensity, limited * q, limited * u], np.float32)
