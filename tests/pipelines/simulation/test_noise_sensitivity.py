"""Laws of white noise from sensitivities."""

import healpy as hp
import numpy as np
import pytest

from cmbml.pipelines.simulation.noise_sensitivity import OPENING_ANGLE, hit_pattern, white_noise
from cmbml.science.beams import ARCMIN
from cmbml.science.instrument import Channel
from cmbml.science.seeds import generator_of
from tests.pipelines.simulation.noise_inputs import noise_settings

NSIDE = 16
NPIX = 12 * NSIDE**2
POLARISED = Channel("143", 142.9, 7.3, "IQU", noise_temperature_uk_arcmin=33, noise_polarisation_uk_arcmin=70)
INTENSITY = Channel("545", 555.2, 4.8, "I", noise_temperature_uk_arcmin=100)
UNIFORM = noise_settings(scale=1, anisotropy=0)
SCANNED = noise_settings(scale=1, anisotropy=1)


def ecliptic_latitude(nside: int) -> np.ndarray:
    pixels = np.array(hp.pix2vec(nside, np.arange(12 * nside**2)))
    return np.arcsin(hp.Rotator(coord=["G", "E"])(pixels)[2])


def test_a_pixel_has_the_level_over_the_root_of_its_area() -> None:
    noise = white_noise(POLARISED, NSIDE, seed=1, settings=UNIFORM)
    assert noise.shape == (3, NPIX)
    assert noise.dtype == np.float32
    root_area = hp.nside2resol(NSIDE) / ARCMIN
    for row, level in zip(noise, (33, 70, 70), strict=True):
        # the standard deviation of npix draws scatters by 1 / sqrt(2 npix)
        assert abs(row.std() * root_area / level - 1) < 4 / (2 * NPIX) ** 0.5
        assert abs(row.mean() * root_area / level) < 4 / NPIX**0.5


def test_the_scale_multiplies_the_noise() -> None:
    once = white_noise(POLARISED, NSIDE, seed=1, settings=SCANNED)
    twice = white_noise(POLARISED, NSIDE, seed=1, settings=noise_settings(scale=2, anisotropy=1))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-6)


def test_without_noise_no_level_is_needed() -> None:
    unknown = Channel("143", 142.9, 7.3, "IQU", noise_temperature_uk_arcmin=np.nan)
    assert not white_noise(unknown, NSIDE, seed=1, settings=noise_settings(scale=0, anisotropy=1)).any()
    with pytest.raises(ValueError, match="channel 143: noise level of I is not known"):
        white_noise(unknown, NSIDE, seed=1, settings=UNIFORM)


def test_the_variance_of_each_pixel_follows_its_hits() -> None:
    n = 400
    draws = np.stack([white_noise(INTENSITY, NSIDE, seed=seed, settings=SCANNED)[0] for seed in range(n)])
    level = 100 * ARCMIN / hp.nside2resol(NSIDE)
    chi2 = (draws**2).mean(axis=0) * hit_pattern(NSIDE, 1) / level**2  # 1 on average, scatter sqrt(2 / n)
    assert abs(chi2.mean() - 1) < 4 * (2 / n / NPIX) ** 0.5
    assert abs(chi2.std() / (2 / n) ** 0.5 - 1) < 4 / (2 * NPIX) ** 0.5
    # the averaged variance is that of the quoted level
    assert abs((draws**2).mean() / level**2 - 1) < 4 * (2 / n / NPIX) ** 0.5 * np.std(
        1 / hit_pattern(NSIDE, 1) + 1
    )


@pytest.mark.parametrize("anisotropy", [0, 0.5, 1])
def test_hits_keep_the_mean_variance(anisotropy: float) -> None:
    hits = hit_pattern(NSIDE, anisotropy)
    assert hits.shape == (NPIX,)
    assert np.mean(1 / hits) == pytest.approx(1, rel=1e-12)
    assert hits.min() > 0


def test_no_anisotropy_is_a_uniform_sky() -> None:
    np.testing.assert_allclose(hit_pattern(NSIDE, 0), 1, rtol=1e-12)


def test_the_scan_is_deep_around_the_ecliptic_poles() -> None:
    hits = hit_pattern(64, 1)
    latitude = np.abs(ecliptic_latitude(64))
    # far from the poles the precession hardly matters: the density is that of an axis in the ecliptic
    away = latitude < np.radians(45)
    shape = hits[away] * np.sqrt(np.sin(OPENING_ANGLE) ** 2 - np.sin(latitude[away]) ** 2)
    np.testing.assert_allclose(shape, shape.mean(), rtol=0.02)
    assert hits[latitude > np.radians(75)].min() > 4 * hits[latitude < np.radians(10)].max()


def test_half_the_anisotropy_is_the_root_of_the_pattern() -> None:
    whole, half = hit_pattern(NSIDE, 1.0), hit_pattern(NSIDE, 0.5)
    ratio = half**2 / whole
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-12)


def test_the_shared_pattern_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        hit_pattern(NSIDE, 1)[0] = 0


def test_noise_belongs_to_its_seed_channel_and_field() -> None:
    first = white_noise(POLARISED, NSIDE, seed=1, settings=UNIFORM)
    np.testing.assert_array_equal(first, white_noise(POLARISED, NSIDE, seed=1, settings=UNIFORM))
    intensity_only = Channel("143", 142.9, 7.3, "I", noise_temperature_uk_arcmin=33)
    np.testing.assert_array_equal(white_noise(intensity_only, NSIDE, seed=1, settings=UNIFORM), first[:1])
    others = [*white_noise(INTENSITY, NSIDE, seed=1, settings=UNIFORM)]
    others += [*white_noise(POLARISED, NSIDE, seed=2, settings=UNIFORM)]
    correlation = np.corrcoef([*first, *others]) - np.eye(7)
    assert np.abs(correlation).max() < 4.5 / NPIX**0.5


def test_the_numbers_are_those_of_the_channel_and_field_alone() -> None:
    # Pinned: skies that exist must not change with the other kinds of noise.
    expected = [33 * ARCMIN / hp.nside2resol(NSIDE), 70 * ARCMIN / hp.nside2resol(NSIDE)]
    noise = white_noise(POLARISED, NSIDE, seed=1, settings=UNIFORM)
    for row, stokes, sigma in zip(noise[:2], "IQ", expected, strict=True):
        draw = generator_of(1, "143", stokes).standard_normal(NPIX, dtype=np.float32)
        np.testing.assert_allclose(row, sigma * draw, rtol=1e-6)
