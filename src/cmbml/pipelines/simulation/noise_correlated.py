"""Noise with the spectra of a noise model, deep and shallow like the scan or like Planck's variances.

White noise with the standard deviation of every pixel is filtered, multipole by multipole, from the flat
spectrum that it has on average to that of the model. So the mean spectrum is the model's, single maps scatter
about it as Gaussian fields do, and the noise stays deep where the white noise was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.simulation.noise_model import model_mask
from cmbml.pipelines.simulation.noise_sensitivity import unevenness, white_field
from cmbml.pipelines.simulation.noise_settings import NoiseSettings
from cmbml.pipelines.simulation.noise_spectra import (
    LOGARITHMS,
    SPECTRA,
    at_lmax,
    from_features,
    smooth_multipoles,
    to_features,
)
from cmbml.pipelines.simulation.noise_variance import rooted_noise, variance_root
from cmbml.science.harmonics import alm_to_map, filter_alm, map_to_alm
from cmbml.science.instrument import Channel
from cmbml.science.pixels import npix_to_nside, nside_to_npix
from cmbml.science.resolution import resample
from cmbml.science.seeds import generator_of
from cmbml.science.skymap import SkyMap
from cmbml.science.units import MAP_UNIT, Calibration

Array = NDArray[Any]
Arrays = Mapping[str, Array]

POWER = slice(0, LOGARITHMS)
"""The features that are logarithms of power."""

_CMB_ML_LATITUDE_DEG, _CMB_ML_FWHM_DEG = 5.0, 1.0
"""The mask of CMB-ML's noise models: half its width, and its smoothing."""

_NO_VARIANCE = 1e-10
"""Of a component, relative to the first: what rounding leaves where there is none."""


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """Spectra of a channel's noise, and how they vary; see `noise_model.fit_noise_model`.

    Parameters
    ----------
    mean
        Mean features, shape (n_spectra, lmax + 1).
    components
        Shape (n_components, n_spectra, lmax + 1).
    variance
        Along each component, shape (n_components,).
    simulations
        Number of noise simulations it was made from; None where that is not known.
    mean_cl
        Mean spectra, uK_CMB2, shape (n_spectra, lmax + 1); None where only that of the logarithms is known.
    mask_latitude_deg, mask_fwhm_deg
        The mask it was measured under; latitude 0 where that is not known.
    """

    mean: Array
    components: Array
    variance: Array
    simulations: int | None
    mean_cl: Array | None = None
    mask_latitude_deg: float = 0.0
    mask_fwhm_deg: float = 0.0

    @property
    def expected(self) -> Array:
        """Features of the mean spectrum, shape (n_spectra, lmax + 1).

        The average was subtracted from the maps, which takes 1 / n of the power: it is put back. Of a model
        that knows only the mean logarithm, that of the mean power is higher by ln(10) / 2 times the variance,
        as of log-normal numbers; chi^2 of 2l + 1 degrees of freedom are so to 3 per cent at l = 2, and better
        above.

        Raises
        ------
        ValueError
            If the number of simulations is not known.
        """
        if self.simulations is None:
            raise ValueError(
                "noise model: not all of its components were kept, so the number of its simulations, and the "
                "power that their average took, are not known; keep all, or take recipe: reference"
            )
        if self.mean_cl is not None:
            features = to_features(self.mean_cl)
        else:
            features = self.mean.copy()
            features[POWER] += np.log(10) / 2 * self._scatter(self.components)[POWER]
        features[POWER] += np.log10(self.simulations / (self.simulations - 1))
        return features

    def coherent(self, width: int) -> Array:
        """Return the variation that `width` multipoles share, times its standard deviation.

        Returns
        -------
        numpy.ndarray
            Shape (n_components, n_spectra, lmax + 1).
        """
        return smooth_multipoles(self.components, width) * np.sqrt(self.variance)[:, None, None]

    def _scatter(self, components: Array) -> Array:
        scatter: Array = np.einsum("k,ksl->sl", self.variance, components**2)
        return scatter


def read_model(arrays: Arrays) -> NoiseModel:
    """Return the noise model that arrays hold: those of `fit_noise_model`, or of a released CMB-ML model.

    Parameters
    ----------
    arrays
        Of CMB-ML: "mean_ps", "components", "variance", "maps_unit". Its mask is not stored, but always the
        same. Its components are as many as its simulations: of these, whose mean is taken out, the last has
        no variance. Where it has, components were left out.

    Raises
    ------
    ValueError
        If they are neither, or in another unit than uK_CMB.
    """
    released = "mean_ps" in arrays
    needed = ("mean_ps", "components", "variance", "maps_unit") if released else ("mean", "mean_cl", "unit")
    missing = [name for name in needed if name not in arrays]
    if missing:
        raise ValueError(f"noise model: no {', '.join(missing)}, it holds {', '.join(arrays)}")
    unit = str(arrays["maps_unit" if released else "unit"])
    if unit != MAP_UNIT:
        raise ValueError(f"noise model: its unit is {unit}, must be {MAP_UNIT}; make it again in that unit")
    if released:
        variance = arrays["variance"]
        return NoiseModel(
            arrays["mean_ps"][None],
            arrays["components"][:, None],
            variance,
            simulations=len(variance) if variance[-1] <= _NO_VARIANCE * variance[0] else None,
            mask_latitude_deg=_CMB_ML_LATITUDE_DEG,
            mask_fwhm_deg=_CMB_ML_FWHM_DEG,
        )
    return NoiseModel(
        arrays["mean"],
        arrays["components"],
        arrays["variance"],
        simulations=int(arrays["simulations"]),
        mean_cl=arrays["mean_cl"],
        mask_latitude_deg=float(arrays["mask_latitude_deg"]),
        mask_fwhm_deg=float(arrays["mask_fwhm_deg"]),
    )


def correlated_sources(
    model: Arrays,
    stokes: str,
    calibration: Calibration,
    *,
    nside: int,
    settings: NoiseSettings,
    variances: SkyMap | None = None,
    average: SkyMap | None = None,
) -> dict[str, Array]:
    """Return what all simulations share of one channel's correlated noise.

    Parameters
    ----------
    model
        What `read_model` reads.
    stokes, calibration
        Fields of the channel, and how surface brightness becomes temperature in it.
    nside
        Resolution of the maps.
    settings
        Recipe and pattern.
    variances
        For the pattern "variance".
    average
        Average of the noise simulations, if it is to be added.

    Returns
    -------
    dict
        "mean": features of the spectra up to 3 nside - 1; "spread": by component, what a standard deviation
        adds to them; "white_cl": mean C_l of the white noise in T, and in E and B; "root": see
        `variance_root`, with the pattern "variance"; "average": shape (n_stokes, npix), with an average.

    Raises
    ------
    ValueError
        If the model or the average lack polarisation that the channel has, or the recipe has none.
    """
    reference = settings.recipe == "reference"
    n_spectra = 1 if stokes == "I" else len(SPECTRA)
    read = read_model(model)
    if reference and stokes != "I":
        raise ValueError(
            "noise.recipe reference: has intensity only; set instrument.stokes to I, or take 'scattered'"
        )
    if len(read.mean) < n_spectra or (average is not None and len(average.values) < len(stokes)):
        raise ValueError(
            f"noise model: has intensity only, the channel measures {stokes}; "
            "make it from polarised simulations, or set the instrument's stokes to I"
        )
    mean, width = (read.mean, 1) if reference else (read.expected, settings.coherence)
    spread = read.coherent(width)
    if not reference:
        mean[POWER] -= np.log(10) / 2 * np.sum(spread[:, POWER] ** 2, axis=0)  # so that the mean power stays
    lmax = 3 * nside - 1
    sources = {"mean": at_lmax(mean, lmax)[:n_spectra], "spread": at_lmax(spread, lmax)[:, :n_spectra]}
    if variances is not None:
        sources["root"] = variance_root(variances, nside, stokes=stokes, calibration=calibration)
    if average is not None:
        converted = average.values[: len(stokes)] * np.float32(calibration.factor(average.unit, MAP_UNIT))
        sources["average"] = _resampled(converted, nside, exact=reference)
    weight = np.square(model_mask(nside, read.mask_latitude_deg, read.mask_fwhm_deg))
    return {**sources, "white_cl": _white_cl(sources, weight, settings)}


def _resampled(average: Array, nside: int, *, exact: bool) -> Array:
    resampled = resample(average.astype(np.float64) if exact else average, nside)
    return resampled if exact else resampled.astype(np.float32)


def _white_cl(sources: Arrays, weight: Array, settings: NoiseSettings) -> Array:
    """Return the mean C_l of white noise in T, and in E and B, under the squared mask `weight`.

    Pixels of area Omega that are independent have <C_l> = Omega <sigma^2> at every l; of E and B, sigma^2 is
    the mean of those of Q and U, and covariances of I, Q and U add nothing to spectra averaged over m.
    """
    npix = len(weight)
    if "root" in sources:
        root = sources["root"]
        intensity = root[0] ** 2
        polarisation = np.sum(root[1:] ** 2, axis=0) / 2 if len(root) > 1 else np.zeros_like(intensity)
    else:
        intensity = polarisation = unevenness(npix_to_nside(npix), settings.anisotropy) ** 2
    levels = [np.sum(variance * weight) / np.sum(weight) for variance in (intensity, polarisation)]
    return 4 * np.pi / npix * np.array(levels)


def correlated_noise(
    channel: Channel, nside: int, *, seed: int, settings: NoiseSettings, sources: Arrays
) -> Array:
    """Draw the correlated noise of one channel, by the recipe "scattered".

    Parameters
    ----------
    channel
        Its name and fields.
    nside
        Resolution of the map.
    seed
        Seed of this simulation's noise. The spectra, and every Stokes field of every channel, have streams of
        their own.
    settings
        Pattern.
    sources
        What `correlated_sources` returned.

    Returns
    -------
    numpy.ndarray
        Shape (n_stokes, npix), uK_CMB, float32; multipoles from 1 (E, B: 2) to 3 nside - 1.
    """
    rng = generator_of(seed, channel.name, "spectrum")
    features = sources["mean"] + np.einsum(
        "k,ksl->sl", rng.standard_normal(len(sources["spread"])), sources["spread"]
    )
    white = white_map(channel, nside, seed=seed, settings=settings, sources=sources)
    alm = map_to_alm(white, 3 * nside - 1, iterations=0)
    return alm_to_map(colour(alm, from_features(features), sources["white_cl"]), nside)


def white_map(channel: Channel, nside: int, *, seed: int, settings: NoiseSettings, sources: Arrays) -> Array:
    """Draw white noise that is deep where the pattern is, shape (n_stokes, npix), float32."""
    if "root" in sources:
        return rooted_noise(channel, nside, seed=seed, root=sources["root"])
    uneven = unevenness(nside, settings.anisotropy)
    fields = np.empty((len(channel.stokes), nside_to_npix(nside)), np.float32)
    for row, stokes in zip(fields, channel.stokes, strict=True):
        row[:] = uneven * white_field(seed, channel.name, stokes, nside)
    return fields


def colour(alm: Array, spectra: Array, white_cl: Array) -> Array:
    """Turn white coefficients into those of a field with given spectra.

    With w the coefficients divided by the root of their mean spectrum, and rho the correlation of T and E:
    T = sqrt(TT) w_T, E = sqrt(EE) [rho w_T + sqrt(1 - rho^2) w_E], B = sqrt(BB) w_B.

    Parameters
    ----------
    alm
        Shape (1 | 3, alm_size).
    spectra
        Shape (1 | 4, lmax + 1): TT, or TT, EE, BB, TE.
    white_cl
        Shape (2,): mean C_l of `alm` in T, and in E and B.

    Returns
    -------
    numpy.ndarray
        Shape and precision of `alm`.
    """
    intensity = filter_alm(alm[:1], np.sqrt(spectra[:1] / white_cl[0]))
    if len(alm) == 1:
        return intensity
    tt, ee, bb, te = spectra
    shared = np.divide(te, np.sqrt(tt), out=np.zeros_like(te), where=tt > 0)
    own = np.sqrt(np.maximum(ee - shared**2, 0))
    windows = np.stack([own, np.sqrt(bb)]) / np.sqrt(white_cl[1])
    polarisation = filter_alm(alm[1:], windows)
    polarisation[0] += filter_alm(alm[0], shared / np.sqrt(white_cl[0]))
    return np.concatenate([intensity, polarisation])
