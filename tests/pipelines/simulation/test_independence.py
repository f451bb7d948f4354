"""What is drawn apart is uncorrelated, and an observation is its beam times the sky plus noise."""

from itertools import combinations

import numpy as np
import pytest

from cmbml.pipelines.simulation import one_sky
from cmbml.pipelines.simulation.embedded_sky import embedded_templates
from cmbml.pipelines.simulation.extragalactic import extragalactic_components
from cmbml.pipelines.simulation.settings import SplitCosmology
from cmbml.science.harmonics import alm_size, alm_to_cl, map_to_alm
from tests.pipelines.simulation.noise_inputs import noise_settings
from tests.pipelines.simulation.test_one_sky import EXTRAGALACTIC, MAPS, TABLE, VARIATION, observed, seeds

LMAX = MAPS.lmax
SIMULATIONS = ("sim0000", "sim0001")
SKIES = (("train", "sim0000"), ("train", "sim0001"), ("test", "sim0000"))


def is_chance(first: np.ndarray, second: np.ndarray, lowest: int = 2) -> bool:
    """Whether cross-spectra of coefficients (n, nalm) scatter about zero as chance has it.

    For independent Gaussian fields z_l = C_l(first x second) [(2l + 1) / (C_l C_l)]^1/2 has mean 0 and variance 1.
    """
    ell = np.arange(lowest, LMAX + 1)
    cross, own, other = (
        alm_to_cl(*pair)[..., lowest : LMAX + 1]
        for pair in ((first, second), (first, first), (second, second))
    )
    z = np.sqrt(2 * ell + 1) * cross / np.sqrt(own * other)
    # five standard deviations of the mean, and of the mean square of numbers whose kurtosis is at most 3
    return abs(z.mean()) < 5 / np.sqrt(z.size) and (z**2).mean() < 1 + 5 * np.sqrt(2 / z.size)


@pytest.fixture(scope="module")
def cmb():
    """T, E, B of the lensed CMB of skies of two splits, all of one cosmology."""
    choice = SplitCosmology(table="wmap9", correlated=True, vary=False)
    record = one_sky.cosmology(seeds(), choice=choice)
    theory = one_sky.theory(record, lmax=LMAX, accuracy=None)
    return {
        (split, name): one_sky.cmb(
            theory, seeds(name, split), lmax=LMAX, polarised=True, kind="lensed"
        ).astype(np.complex128)
        for split, name in SKIES
    }


def noise_maps(split: str, name: str, **changed: float) -> dict[str, np.ndarray]:
    settings = noise_settings(**{"scale": 1.0, "anisotropy": 0.0, **changed})
    own = seeds(name, split)
    return {
        channel.name: one_sky.channel_noise(own, channel, MAPS.nside, settings=settings, sources={})
        for channel in TABLE
    }


def noise(split: str, name: str) -> dict[str, np.ndarray]:
    """Coefficients of every field of every channel's noise."""
    return {
        channel + stokes: map_to_alm(values[None].astype(np.float64), LMAX)
        for channel, fields in noise_maps(split, name).items()
        for stokes, values in zip("IQU", fields, strict=False)
    }


def test_the_check_sees_a_correlation():
    rng = np.random.default_rng(1)
    first, second = (map_to_alm(rng.standard_normal((1, 3072)), LMAX) for _ in range(2))
    assert is_chance(first, second)
    assert not is_chance(first, second + 0.5 * first)


def test_skies_of_different_simulations_and_splits_are_uncorrelated(cmb):
    for first, second in combinations(cmb.values(), 2):
        for field in first:
            for other in second:
                assert is_chance(field[None], other[None])


def test_b_modes_are_uncorrelated_with_temperature_and_e_modes(cmb):
    first = np.concatenate([alm[[0, 1]] for alm in cmb.values()])
    second = np.concatenate([alm[[2, 2]] for alm in cmb.values()])
    assert is_chance(first, second)


def test_noise_of_different_channels_fields_simulations_and_splits_is_uncorrelated():
    drawn = {
        (split, name, field): alm
        for split in ("train", "test")
        for name in SIMULATIONS
        for field, alm in noise(split, name).items()
    }
    assert len(drawn) == 4 * 7
    pairs = list(combinations(drawn.values(), 2))
    assert is_chance(np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs]))
    assert max(abs(np.vdot(a, b)) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in pairs) < 0.3


def extragalactic(split: str, name: str) -> dict[str, np.ndarray]:
    """Coefficients of the extragalactic intensity at 143 GHz."""
    record = one_sky.foregrounds(seeds(name, split), variation=VARIATION)
    components = extragalactic_components(
        EXTRAGALACTIC, int(record["morphology"]), lmax=LMAX, polarised=False
    )
    drawn = {}
    for label, component in components.items():
        pixels, alm = np.zeros((1, 3072), np.float32), np.zeros((1, alm_size(LMAX)), np.complex64)
        component.add_to_map(pixels, TABLE["143"])
        component.add_to_alm(alm, TABLE["143"])
        drawn[label] = map_to_alm(pixels.astype(np.float64), LMAX) + alm
    return drawn


def test_components_of_one_sky_and_of_different_skies_are_uncorrelated(cmb):
    drawn = [
        field
        for split, name in SKIES
        for field in (cmb[split, name][:1], *extragalactic(split, name).values(), noise(split, name)["143I"])
    ]
    pairs = list(combinations(drawn, 2))
    assert len(pairs) == 66
    assert is_chance(np.concatenate([a for a, _ in pairs]), np.concatenate([b for _, b in pairs]))
    assert all(is_chance(a, b) for a, b in pairs)


def test_cmb_and_noise_are_uncorrelated(cmb):
    for (split, name), alm in cmb.items():
        assert all(is_chance(alm, np.repeat(field, 3, axis=0)) for field in noise(split, name).values())


def test_shapes_of_foregrounds_are_uncorrelated_beyond_the_galactic_profile():
    """Differences of two skies are free of the profile that all skies share."""

    def shape(split: str, name: str) -> np.ndarray:
        record = one_sky.foregrounds(seeds(name, split), variation=VARIATION)
        templates = embedded_templates(16, int(record["morphology"]), polarised=False)
        return np.log(templates.dust[:1].astype(np.float64))

    first = map_to_alm(shape("train", "sim0000") - shape("train", "sim0001"), LMAX)
    second = map_to_alm(shape("test", "sim0000") - shape("test", "sim0001"), LMAX)
    assert is_chance(first, second, lowest=6)


def test_an_observation_is_the_beam_times_the_sky_plus_noise():
    wide = TABLE.with_beams(scale=8.0, floor_arcmin=0)
    signal = {
        name: map_to_alm(observed(seeds(), instrument, scale=0.0).maps["143"].astype(np.float64), LMAX)
        for name, instrument in (("narrow", TABLE), ("wide", wide))
    }
    ratio = alm_to_cl(signal["wide"])[:, 2:] / alm_to_cl(signal["narrow"])[:, 2:]
    ell = np.arange(2, LMAX + 1)
    variance = np.radians(32.4 / 60) ** 2 * (8.0**2 - 1) / (8 * np.log(2))  # by which the beams differ
    window = np.exp(-ell * (ell + 1) * variance)
    np.testing.assert_allclose(ratio, np.broadcast_to(window, ratio.shape), rtol=2e-3)
    both = observed(seeds()).maps["143"]
    alone = noise_maps("test", "sim0000", anisotropy=0.5)["143"]
    without = observed(seeds(), scale=0.0).maps["143"]
    np.testing.assert_allclose(both - without, alone, atol=1e-5 * np.abs(both).max())
