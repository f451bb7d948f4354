"""Laws of white noise with given covariances, and of covariances at another resolution."""

from dataclasses import replace

import healpy as hp
import numpy as np
import pytest

from cmbml.pipelines.simulation.noise_model import average_map
from cmbml.pipelines.simulation.noise_variance import (
    COVARIANCES,
    change_variance_nside,
    rooted_noise,
    variance_root,
)
from cmbml.pipelines.simulation.planck_sky import in_thermodynamic_unit
from cmbml.pipelines.simulation.settings import PlanckMaps
from cmbml.science.bandpasses import Bandpass
from cmbml.science.instrument import Channel
from cmbml.science.skymap import UNSEEN, SkyMap
from cmbml.science.units import Calibration
from tests.pipelines.simulation.noise_inputs import InMemory

NSIDE = 4
NPIX = 12 * NSIDE**2
POLARISED = Channel("143", 142.9, 7.3, "IQU")
INTENSITY = Channel("143", 142.9, 7.3, "I")
PLANCK = PlanckMaps(nilc_fwhm_arcmin=5.0, mjy_per_k_545=58.04, mjy_per_k_857=2.27, debeam_floor=1e-10)


def matrices(npix: int = NPIX, *, rank: int = 3) -> np.ndarray:
    """Random covariance matrices of I, Q, U, shape (npix, 3, 3), K_CMB^2."""
    factors = np.random.default_rng(3).normal(0, 1e-5, (npix, 3, rank))
    return factors @ factors.transpose(0, 2, 1)


def covariance_map(matrix: np.ndarray, unit: str = "K_CMB2") -> SkyMap:
    rows = [matrix[:, "IQU".index(one), "IQU".index(other)] for one, other in COVARIANCES]
    return SkyMap(np.stack(rows).astype(np.float32), unit, COVARIANCES)


def product(root: np.ndarray) -> np.ndarray:
    """L L^T of every pixel, (npix, 3, 3)."""
    lower = np.zeros((root.shape[1], 3, 3))
    for row, (other, one) in zip(root, COVARIANCES, strict=True):
        lower[:, "IQU".index(one), "IQU".index(other)] = row
    return lower @ lower.transpose(0, 2, 1)


def root_of(variances: SkyMap, nside: int = NSIDE, **changed) -> np.ndarray:
    return variance_root(variances, nside, **{"stokes": "IQU", "calibration": Calibration(142.9), **changed})


def test_the_root_squared_is_the_covariance():
    matrix = matrices()
    root = root_of(covariance_map(matrix))
    assert root.shape == (6, NPIX) and root.dtype == np.float32
    sizes = np.sqrt(np.einsum("paa,pbb->pab", matrix, matrix))
    np.testing.assert_allclose(product(root) / sizes / 1e12, matrix / sizes, atol=3e-6)


@pytest.mark.parametrize("rank", [1, 2])
def test_fields_that_depend_on_one_another_have_a_root(rank):
    matrix = matrices(12 * 16**2, rank=rank)
    found = product(root_of(covariance_map(matrix), 16)) / 1e12
    sizes = np.sqrt(np.einsum("paa,pbb->pab", matrix, matrix))
    # what rounding to float32 costs where I and Q are nearly the same, see the tolerance
    np.testing.assert_allclose(found / sizes, matrix / sizes, atol=2.5e-4)
    variances = np.einsum("paa->pa", found / sizes)
    np.testing.assert_allclose(variances, 1, atol=2e-6)


def test_every_pixel_has_the_covariance_that_was_asked_for():
    n, matrix = 4000, matrices()
    root = root_of(covariance_map(matrix))
    draws = np.stack([rooted_noise(POLARISED, NSIDE, seed=seed, root=root) for seed in range(n)])
    found = np.einsum("nap,nbp->pab", draws, draws) / n / 1e12
    sizes = np.sqrt(np.einsum("paa,pbb->pab", matrix, matrix))
    # Wishart: the variance of an entry is (C_ab^2 + C_aa C_bb) / n
    deviation = (found - matrix) / np.sqrt((matrix**2 + sizes**2) / n)
    assert np.abs(deviation).max() < 5
    assert abs(deviation.std() - 1) < 0.05
    assert np.abs(found - matrix)[:, 1, 2].mean() < np.abs(matrix[:, 1, 2]).mean() / 10  # QU is there


def test_pixels_channels_and_seeds_are_independent():
    root = root_of(covariance_map(matrices(12 * 16**2)), 16)
    other = Channel("217", 221.2, 5.0, "IQU")
    draws = [rooted_noise(POLARISED, 16, seed=seed, root=root)[0] for seed in (1, 2)]
    draws += [rooted_noise(other, 16, seed=1, root=root)[0], np.roll(draws[0], 1)]
    correlation = np.corrcoef([draw / root[0] for draw in draws[:3]] + [draws[3] / np.roll(root[0], 1)])
    assert np.abs(correlation - np.eye(4)).max() < 4.5 / (12 * 16**2) ** 0.5


def test_intensity_is_the_same_with_and_without_polarisation():
    variances = covariance_map(matrices())
    alone = root_of(variances, stokes="I")
    np.testing.assert_array_equal(alone, root_of(variances)[:1])
    polarised = rooted_noise(POLARISED, NSIDE, seed=1, root=root_of(variances))
    np.testing.assert_array_equal(rooted_noise(INTENSITY, NSIDE, seed=1, root=alone), polarised[:1])


def test_coarser_pixels_have_the_variance_of_an_average():
    rng = np.random.default_rng(5)
    variance = rng.uniform(1, 2, 12 * 8**2).astype(np.float32)
    draws = rng.standard_normal((3000, variance.size), dtype=np.float32) * np.sqrt(variance)
    averaged = np.stack([hp.ud_grade(draw, 4) for draw in draws]).var(axis=0)
    ratio = averaged / change_variance_nside(variance, 4)
    assert np.abs(ratio - 1).max() < 5 * (2 / 3000) ** 0.5


def test_finer_pixels_have_more_variance():
    variance = np.random.default_rng(5).uniform(1, 2, 12 * 2**2)
    finer = change_variance_nside(variance, 8)
    children = hp.nest2ring(8, 16 * hp.ring2nest(2, np.arange(48))[:, None] + np.arange(16))
    np.testing.assert_allclose(finer[children], np.repeat(16 * variance[:, None], 16, axis=1), rtol=1e-12)


def test_variances_degrade_as_the_reference_has_it(shared_file):
    with np.load(shared_file("reference/cmbml/variance_degrade.npz")) as reference:
        found = change_variance_nside(reference["variance_map_in"], 32)
        np.testing.assert_allclose(found, reference["variance_map_out"], rtol=2e-7)
        np.testing.assert_allclose(np.sqrt(found), reference["standard_deviation_map_out"], rtol=2e-7)


def test_parts_that_were_not_observed_are_left_out():
    variance = np.full(12 * 8**2, 2.0, np.float32)
    variance[hp.nest2ring(8, [0, 1, 2])] = UNSEEN
    np.testing.assert_allclose(change_variance_nside(variance, 4), 2 / 4, rtol=1e-12)
    variance[hp.nest2ring(8, 3)] = UNSEEN
    with pytest.raises(ValueError, match=r"1 of 192 pixels at nside 4 have no variance.*pixel \d+ \(RING\)"):
        change_variance_nside(variance, 4)


def test_surface_brightness_becomes_temperature_at_the_channels_frequency():
    kelvin = root_of(SkyMap(np.full((1, NPIX), 1e-6), "K_CMB2", ("II",)), stokes="I")
    np.testing.assert_allclose(kelvin, 1e3, rtol=1e-6)  # 1 mK


@pytest.mark.parametrize(
    ("name", "centre", "at_centre", "top_hat", "published"),
    # dB/dT at 2.7255 K; of the top-hat 33 per cent wide, its mean over the mean of centre / frequency
    [("545", 555.2, 51.400, 57.81, 58.04), ("857", 866.8, 1.26438, 2.056, 2.27)],
)
def test_surface_brightness_becomes_temperature_by_what_the_channel_sees(
    name, centre, at_centre, top_hat, published
):
    frequencies = np.linspace(centre * 0.835, centre * 1.165, 201)
    delta = Channel(name, centre, 5.0, "I")
    wide = replace(delta, bandpass=Bandpass(tuple(frequencies.tolist()), (1.0,) * 201))
    own = PLANCK.model_copy(update={f"mjy_per_k_{name}": None})
    bright = SkyMap(np.full((1, NPIX), 1.0), "MJy2/sr2", ("II",))

    def per_k(planck, channel):
        return 1e6 / root_of(bright, stokes="I", calibration=planck.calibration(channel))[0, 0]

    assert per_k(own, delta) == pytest.approx(at_centre, rel=1e-4)
    assert per_k(own, wide) == pytest.approx(top_hat, rel=1e-3)
    assert per_k(PLANCK, delta) == per_k(PLANCK, wide) == pytest.approx(published, rel=1e-6)


def test_noise_of_a_channel_is_converted_like_its_map():
    sky = in_thermodynamic_unit(SkyMap(np.full((1, NPIX), 2.0), "MJy/sr"), "857", PLANCK)
    channel = Channel("857", 862.7, 4.22, "I")
    variance = SkyMap(np.full((1, NPIX), 4.0), "MJy2/sr2", ("II",))  # of noise as large as the map
    found = root_of(variance, stokes="I", calibration=PLANCK.calibration(channel))
    np.testing.assert_allclose(found, sky.values, rtol=1e-6)
    np.testing.assert_allclose(found, 2e6 / 2.27, rtol=1e-6)
    loaders = {name: InMemory(SkyMap(np.full((1, NPIX), 2.0, np.float32), "MJy/sr")) for name in "ab"}
    average = average_map(loaders, "I", PLANCK.calibration(channel))
    np.testing.assert_allclose(average.values, sky.values, rtol=1e-6)


def test_a_map_without_polarisation_does_not_serve_a_polarised_channel():
    with pytest.raises(ValueError, match="variance map: no IQ, IU, QQ, QU, UU, it has II"):
        root_of(SkyMap(np.ones((1, NPIX)), "K_CMB2", ("II",)))


@pytest.mark.parametrize("name", ["II", "QQ", "QU"])
def test_matrices_that_are_no_covariances_are_refused(name):
    variances = covariance_map(np.tile(np.eye(3) * 1e-10, (NPIX, 1, 1)))
    variances.values[COVARIANCES.index(name), 7] = -2e-10
    with pytest.raises(
        ValueError, match=r"the matrices of 1 pixels are no covariances, the first is pixel 7"
    ):
        root_of(variances)


def test_a_root_of_another_resolution_is_refused():
    with pytest.raises(ValueError, match=r"channel 143: root of the variance has shape \(6, 192\)"):
        rooted_noise(POLARISED, 8, seed=1, root=root_of(covariance_map(matrices())))
    with pytest.raises(ValueError, match="does not fit IQU at nside 4"):
        rooted_noise(POLARISED, 4, seed=1, root=np.ones((1, 192), np.float32))
