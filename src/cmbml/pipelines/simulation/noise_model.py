"""The model of a channel's correlated noise, made from simulations of it one after another."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.partitions import Loader, restrict
from cmbml.pipelines.simulation.noise_settings import NoiseModelSettings
from cmbml.pipelines.simulation.noise_spectra import (
    SPECTRA,
    principal_components,
    spectra_of_alm,
    to_features,
)
from cmbml.science.beams import beam_window
from cmbml.science.harmonics import analyse, filter_alm, map_to_alm, synthesise
from cmbml.science.masks import fsky_power, galactic_mask
from cmbml.science.pixels import check_band_limit
from cmbml.science.skymap import UNSEEN, SkyMap, is_unseen
from cmbml.science.units import MAP_UNIT, Calibration

Array = NDArray[Any]
Simulations = Mapping[str, Loader]

_ITERATIONS = {"fast": 0, "exact": 3}
"""Of an analysis. One quadrature is off by 1e-3 of the spectrum at worst up to 2 nside."""

_CUT_WINDOW = 1e-12
"""Window of the mask's smoothing below which multipoles are left out."""


def average_map(simulations: Simulations, stokes: str, calibration: Calibration) -> SkyMap:
    """Return the average of noise simulations, read one after another.

    Parameters
    ----------
    simulations
        By name, loaders of a `SkyMap` of I or I, Q, U in any unit.
    stokes
        "I" or "IQU": what to average.
    calibration
        How surface brightness becomes temperature.

    Returns
    -------
    SkyMap
        uK_CMB, float32; summed in float64.

    Raises
    ------
    ValueError
        If a map lacks a field, has holes, or has another resolution than the first.
    """
    maps = _converted(simulations, stokes, calibration)
    total = next(maps).astype(np.float64)
    for values in maps:
        np.add(total, values, out=total)
    return SkyMap((total / len(simulations)).astype(np.float32), MAP_UNIT)


def fit_noise_model(
    simulations: Simulations, average: SkyMap, calibration: Calibration, *, settings: NoiseModelSettings
) -> dict[str, Array]:
    """Return the model of a channel's noise.

    From every map the average is subtracted, from its intensity the mean under the mask; the spectra of the
    map times the mask are divided by the mean of the squared mask. One map is held at a time.

    Parameters
    ----------
    simulations
        By name, loaders of a `SkyMap`; at least 2.
    average
        Their average, uK_CMB; its fields are modelled.
    calibration
        How surface brightness becomes temperature.
    settings
        Band limit, mask, accuracy and number of components.

    Returns
    -------
    dict
        What `noise_correlated.read_model` reads: "names" of the spectra; "mean" of their features (see
        `noise_spectra.to_features`), shape (n_spectra, lmax + 1); "mean_cl", the mean of the spectra,
        uK_CMB2; "components", shape (n_components, n_spectra, lmax + 1), and "variance" of the features;
        "monopole_mean" and "monopole_sd" over the maps, of the intensity under the mask, uK_CMB; "unit",
        "nside", "simulations" (their number), "mask_latitude_deg" and "mask_fwhm_deg".

    Raises
    ------
    ValueError
        If there are fewer than 2 maps, or they do not fit the average.
    """
    if len(simulations) < 2:
        raise ValueError(f"noise model: made from {len(simulations)} map, at least 2 are needed")
    lmax = check_band_limit(int(settings.lmax_factor * average.nside), average.nside)
    mask = model_mask(average.nside, settings.mask_latitude_deg, settings.mask_fwhm_deg)
    monopoles, spectra = [], []
    for values in _converted(simulations, average.stokes, calibration, nside=average.nside):
        monopoles.append(_masked_mean(values[0], mask))
        spectra.append(masked_spectra(values - average.values, mask, lmax, transforms=settings.transforms))
    found = principal_components(to_features(np.stack(spectra)), settings.components)
    return {
        "names": np.array(SPECTRA[: len(spectra[0])]),
        "mean": found.mean,
        "mean_cl": np.mean(spectra, axis=0),
        "components": found.components,
        "variance": found.variance,
        "monopole_mean": np.mean(monopoles),
        "monopole_sd": np.std(monopoles, ddof=1),
        "unit": np.array(MAP_UNIT),
        "nside": np.array(average.nside),
        "simulations": np.array(len(simulations)),
        "mask_latitude_deg": np.array(settings.mask_latitude_deg),
        "mask_fwhm_deg": np.array(settings.mask_fwhm_deg),
    }


@lru_cache(maxsize=1)
def model_mask(nside: int, latitude_deg: float, fwhm_deg: float) -> Array:
    """Return the mask of the noise model: a band around the Galactic plane, smoothed.

    Parameters
    ----------
    nside
        Resolution.
    latitude_deg
        Half the width of the band.
    fwhm_deg
        Of the Gaussian that smooths it; 0 leaves the sharp edge.

    Returns
    -------
    numpy.ndarray
        Shape (npix,), float64, not to be written to. Being band-limited it leaves the range from 0 to 1 a
        little.
    """
    mask: Array = galactic_mask(nside, latitude_deg)
    if fwhm_deg > 0:
        window = beam_window(np.radians(fwhm_deg), 3 * nside - 1)
        lmax = max(int(np.count_nonzero(window > _CUT_WINDOW)) - 1, 2)
        mask = synthesise(filter_alm(analyse(mask, lmax), window[: lmax + 1]), nside)
    mask.flags.writeable = False
    return mask


def masked_spectra(maps: Array, mask: Array, lmax: int, *, transforms: str) -> Array:
    """Return the spectra of maps on the part of the sky that a mask keeps.

    Parameters
    ----------
    maps
        Shape (1 | 3, npix): I, or I, Q, U.
    mask
        Shape (npix,).
    lmax
        Band limit, inclusive.
    transforms
        "fast": one quadrature in single precision; "exact": three iterations in double precision.

    Returns
    -------
    numpy.ndarray
        Shape (1 | 4, lmax + 1): TT, or TT, EE, BB, TE of the map times the mask, without the mean of the
        intensity under the mask, divided by the mean of mask^2. TT of the monopole is 0.
    """
    precision = np.float64 if transforms == "exact" else np.float32
    masked = maps.astype(precision)
    masked[0] -= _masked_mean(masked[0], mask)
    np.multiply(masked, mask.astype(precision), out=masked)
    alm = map_to_alm(masked, lmax, iterations=_ITERATIONS[transforms])
    spectra = spectra_of_alm(alm) / fsky_power(mask)
    spectra[0, 0] = 0  # but for rounding
    return spectra


def _masked_mean(values: Array, mask: Array) -> float:
    # in the precision of the mask, float64; np.dot's last digits depend on the number of threads
    return float(np.einsum("p,p->", mask, values) / np.sum(mask))


def _converted(
    simulations: Simulations, stokes: str, calibration: Calibration, nside: int | None = None
) -> Iterator[Array]:
    """Yield the fields of one map after the other in uK_CMB; no others are read."""
    for name, loader in sorted(restrict(simulations, stokes=stokes).items()):
        sky_map = loader()
        nside = nside or sky_map.nside
        _check_simulation(name, sky_map, stokes, nside)
        values = sky_map.values[: len(stokes)]
        factor = calibration.factor(sky_map.unit, MAP_UNIT)
        yield values if factor == 1 else values * values.dtype.type(factor)


def _check_simulation(name: str, sky_map: SkyMap, stokes: str, nside: int) -> None:
    """Refuse a map that is not like the others."""
    if sky_map.nside != nside:
        raise ValueError(f"noise simulation {name}: nside {sky_map.nside}, the others have {nside}")
    if sky_map.fields[: len(stokes)] != tuple(stokes):
        raise ValueError(
            f"noise simulation {name}: has the fields {', '.join(sky_map.fields)}, not {stokes}; "
            "name the columns of the file in the catalog, or set the instrument's stokes to I"
        )
    values = sky_map.values[: len(stokes)]
    if not (values.min() > UNSEEN / 2 and values.max() < np.inf):  # also where one is NaN
        holes = np.count_nonzero(is_unseen(values) | ~np.isfinite(values))
        raise ValueError(
            f"noise simulation {name}: {holes} pixels were not observed, or are not finite; fill them"
        )
