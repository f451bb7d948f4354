import healpy as hp
import numpy as np
import pytest

from cmbml.science.masks import (
    apodise,
    check_mask,
    check_values,
    fsky,
    fsky_power,
    galactic_mask,
    remove_monopole_dipole,
)

NSIDE = 16
NPIX = 12 * NSIDE**2
LATITUDE = np.degrees(np.pi / 2 - hp.pix2ang(NSIDE, np.arange(NPIX))[0])
VECTORS = np.array(hp.pix2vec(NSIDE, np.arange(NPIX)))  # (3, npix)


def tilted_mask():
    """A cut without any symmetry, so that monopole and dipole do not decouple."""
    return ((np.abs(LATITUDE) >= 20) & (VECTORS[0] < 0.8)).astype(float)


def test_galactic_mask_cuts_pixel_centres_below_the_latitude():
    mask = galactic_mask(NSIDE, 20)
    assert np.array_equal(mask, np.where(np.abs(LATITUDE) < 20, 0.0, 1.0))


def test_galactic_mask_of_latitude_zero_keeps_the_whole_sky():
    assert galactic_mask(NSIDE, 0).min() == 1


def test_galactic_mask_keeps_the_fraction_that_geometry_says():
    # 1 - sin(b) of the sphere lies above latitude b; one ring more or less is 1 / (4 nside - 1).
    assert fsky(galactic_mask(64, 20)) == pytest.approx(1 - np.sin(np.radians(20)), abs=1 / 255)


def test_unsmoothed_reference_strip_has_the_same_edge(shared_file):
    with np.load(shared_file("reference/cmbml/masks.npz")) as data:
        smooth = data["simple_galactic_mask_nside64_width20_smooth2"]
    ours = galactic_mask(64, 10)
    latitude = np.abs(np.degrees(np.pi / 2 - hp.pix2ang(64, np.arange(ours.size))[0]))
    # Smoothing keeps the mean exactly, and a straight edge at one half.
    assert fsky(ours) == pytest.approx(smooth.mean(), rel=1e-3)
    away = np.abs(latitude - 10) > 1
    assert np.array_equal((smooth > 0.5)[away], (ours > 0.5)[away])


@pytest.mark.parametrize("latitude", [-1, 90, np.nan])
def test_galactic_mask_refuses_impossible_latitudes(latitude):
    with pytest.raises(ValueError, match=r"mask latitude .* deg: must be at least 0 and below 90"):
        galactic_mask(NSIDE, latitude)


@pytest.mark.parametrize("taper", ["C1", "C2"])
def test_apodisation_only_shrinks(taper):
    mask = tilted_mask()
    tapered = apodise(mask, 15, taper=taper)
    assert np.all(tapered <= mask)
    assert np.all(tapered[mask == 0] == 0)
    assert np.all(tapered[mask == 1] > 0)
    assert np.any((tapered > 0) & (tapered < 1))


@pytest.mark.parametrize("taper", ["C1", "C2"])
def test_apodisation_follows_the_formula_of_the_distance_to_the_nearest_hole(taper):
    mask, width = tilted_mask(), np.radians(25)
    cosine = np.clip(VECTORS.T @ VECTORS[:, mask == 0], -1, 1).max(axis=1)  # of the distance, brute force
    x = np.minimum(np.sqrt((1 - cosine) / (1 - np.cos(width))), 1)
    f = x - np.sin(2 * np.pi * x) / (2 * np.pi) if taper == "C1" else 0.5 - 0.5 * np.cos(np.pi * x)
    # 1 - cos of small angles loses half the digits in the brute force.
    np.testing.assert_allclose(apodise(mask, 25, taper=taper), mask * f, atol=1e-7)


def test_apodisation_is_exactly_one_beyond_its_width():
    mask = galactic_mask(NSIDE, 20)
    lowest_kept = np.abs(LATITUDE[mask == 1]).min()
    far = np.abs(LATITUDE) > lowest_kept + 10
    assert np.all(apodise(mask, 10)[far] == 1)


def test_apodisation_keeps_the_weights_of_a_mask_that_is_not_binary():
    mask = tilted_mask() * np.linspace(0.3, 1, NPIX)
    np.testing.assert_allclose(apodise(mask, 15), mask * apodise(tilted_mask(), 15), rtol=1e-14)


@pytest.mark.parametrize(("mask", "width"), [(np.ones(NPIX), 10), (np.zeros(NPIX), 10), (tilted_mask(), 0)])
def test_apodisation_without_an_edge_or_a_width_changes_nothing(mask, width):
    assert np.array_equal(apodise(mask, width), mask)


def test_apodisation_leaves_its_input_alone():
    mask = tilted_mask()
    before = mask.copy()
    apodise(mask, 15)[:] = -1
    assert np.array_equal(mask, before)


@pytest.mark.parametrize("width", [-1, 181, np.nan])
def test_apodisation_refuses_impossible_widths(width):
    with pytest.raises(ValueError, match=r"apodisation of .* deg: must lie between 0 and 180"):
        apodise(tilted_mask(), width)


def test_apodisation_refuses_an_unknown_taper():
    with pytest.raises(ValueError, match=r"taper 'C3': must be one of C1, C2"):
        apodise(tilted_mask(), 5, taper="C3")


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_a_mask_outside_zero_to_one_is_refused(bad):
    mask = np.ones(NPIX)
    mask[5] = bad
    with pytest.raises(ValueError, match=r"mask: weights range from .* must lie between 0 and 1"):
        check_mask(mask)
    with pytest.raises(ValueError, match=r"mask: weights range"):
        apodise(mask, 5)


def test_fsky_is_the_mean_and_fsky_of_power_the_mean_square():
    mask = np.repeat([0.0, 0.5, 1.0, 1.0], NPIX // 4)
    assert fsky(mask) == pytest.approx(0.625)
    assert fsky_power(mask) == pytest.approx(0.5625)
    assert fsky_power(mask.astype(bool)) == pytest.approx(0.75)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_monopole_and_dipole_go_and_the_rest_stays(dtype):
    rng = np.random.default_rng(3)
    mask = apodise(tilted_mask(), 10)
    rest = remove_monopole_dipole(rng.normal(size=(1, NPIX)), mask)
    added = 40 + np.array([3.0, -2.0, 11.0]) @ VECTORS
    recovered = remove_monopole_dipole((rest + added).astype(dtype), mask)
    assert recovered.dtype == dtype
    # 40 uK in float32 is rounded to 4e-6.
    np.testing.assert_allclose(recovered, rest, atol=1e-11 if dtype == np.float64 else 2e-5)


def test_removing_monopole_and_dipole_twice_is_removing_them_once():
    mask = tilted_mask()
    once = remove_monopole_dipole(np.random.default_rng(4).normal(size=(1, NPIX)), mask)
    np.testing.assert_allclose(remove_monopole_dipole(once, mask), once, atol=1e-13)


def test_monopole_and_dipole_agree_with_healpy_for_a_binary_mask():
    maps = np.random.default_rng(5).normal(size=(1, NPIX)) + VECTORS[1] * 7 + 2
    mask = tilted_mask()
    expected = hp.remove_dipole(np.where(mask == 1, maps[0], hp.UNSEEN), bad=hp.UNSEEN)
    kept = mask == 1
    np.testing.assert_allclose(remove_monopole_dipole(maps, mask)[0, kept], expected[kept], atol=1e-12)


def test_the_fit_weighs_pixels_by_the_mask():
    mask = apodise(tilted_mask(), 20)
    maps = np.random.default_rng(9).normal(size=(1, NPIX))
    basis = np.stack([np.ones(NPIX), *VECTORS], axis=1)
    root = np.sqrt(mask)[:, None]  # least squares of the map times the root of the weight
    fit = np.linalg.lstsq(root * basis, root[:, 0] * maps[0], rcond=None)[0]
    np.testing.assert_allclose(remove_monopole_dipole(maps, mask)[0], maps[0] - basis @ fit, atol=1e-13)


def test_what_the_mask_leaves_out_does_not_reach_the_fit():
    mask = tilted_mask()
    maps = np.random.default_rng(6).normal(size=(1, NPIX))
    wild = np.where(mask == 1, maps, 1e4)
    lost = np.where(mask == 1, maps, np.nan)
    expected = remove_monopole_dipole(maps, mask)[:, mask == 1]
    assert np.array_equal(remove_monopole_dipole(wild, mask)[:, mask == 1], expected)
    assert np.array_equal(remove_monopole_dipole(lost, mask)[:, mask == 1], expected)


def test_the_fit_is_subtracted_from_masked_pixels_too():
    mask = tilted_mask()
    plane = 5 + VECTORS[2] * 3
    np.testing.assert_allclose(remove_monopole_dipole(plane[None], mask), 0, atol=1e-12)


def test_polarisation_keeps_its_mean():
    maps = np.random.default_rng(7).normal(size=(3, NPIX)) + 10
    cleaned = remove_monopole_dipole(maps, tilted_mask())
    assert np.array_equal(cleaned[1:], maps[1:])
    assert abs(cleaned[0].mean()) < 1


def test_removing_monopole_and_dipole_leaves_the_input_alone():
    maps = np.random.default_rng(8).normal(size=(3, NPIX)) + 10
    before = maps.copy()
    remove_monopole_dipole(maps, tilted_mask())
    assert np.array_equal(maps, before)


def test_three_pixels_do_not_determine_monopole_and_dipole():
    mask = np.zeros(NPIX)
    mask[[0, 100, 2000]] = 1
    with pytest.raises(
        ValueError, match=r"monopole and dipole: the mask keeps 3 pixels, which do not determine"
    ):
        remove_monopole_dipole(np.ones((1, NPIX)), mask)


@pytest.mark.parametrize("bad", [np.nan, np.inf, hp.UNSEEN, np.float32(hp.UNSEEN)])
@pytest.mark.parametrize("field", [0, 2])
def test_a_kept_pixel_without_a_value_is_named(bad, field):
    maps = np.zeros((3, NPIX))
    pixel = int(np.flatnonzero(tilted_mask())[17])
    maps[field, [pixel, NPIX - 1]] = bad
    with pytest.raises(
        ValueError, match=rf"nilc: 2 pixels that the mask keeps have no value .* pixel {pixel};"
    ):
        check_values(maps, tilted_mask(), name="nilc")


def test_a_masked_pixel_may_lack_a_value():
    maps = np.where(tilted_mask() == 1, 0.0, np.nan)[None]
    assert check_values(maps, tilted_mask(), name="nilc") is maps


def test_a_kept_intensity_without_a_value_stops_the_fit():
    maps = np.full((1, NPIX), np.nan)
    with pytest.raises(ValueError, match=r"intensity: .* have no value"):
        remove_monopole_dipole(maps, np.ones(NPIX))


def test_map_and_mask_of_different_resolution_are_refused():
    with pytest.raises(
        ValueError, match=r"nilc: map has npix 48, the mask has 3072; bring both to one nside"
    ):
        check_values(np.zeros((1, 48)), tilted_mask(), name="nilc")
