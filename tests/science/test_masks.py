import healpy as hp
import numpy as np
import pytest

from cmbml.science.apodisation import apodise
from cmbml.science.harmonics import alm_to_cl, analyse
from cmbml.science.masks import (
    check_mask,
    check_values,
    degrade_mask,
    fsky,
    fsky_modes,
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


@pytest.mark.parametrize("threshold", [0.9, 0.5])
def test_degraded_masks_are_those_of_the_reference(shared_file, threshold):
    with np.load(shared_file("reference/cmbml/masks.npz")) as data:
        expected, given = data[f"mask_nside32_threshold{threshold}"], data["mask_in"]
    assert np.array_equal(degrade_mask(given, 32, threshold=threshold), expected)


def test_a_pixel_is_kept_where_the_mean_of_its_children_reaches_the_threshold():
    means = np.repeat([0.25, 0.5, 0.75, 1.0], 12)
    children = np.arange(4) < 4 * means[:, None]  # (48 pixels of nside 2, 4 children)
    fine = hp.reorder(children.ravel().astype(float), n2r=True)
    for threshold in (0.25, 0.5, 0.51, 1.0):
        expected = hp.reorder((means >= threshold).astype(float), n2r=True)
        assert np.array_equal(degrade_mask(fine, 2, threshold=threshold), expected)


def test_a_mask_of_the_same_resolution_gets_the_threshold_too():
    mask = np.linspace(0, 1, NPIX)
    assert np.array_equal(degrade_mask(mask, NSIDE, threshold=0.9), (mask >= 0.9).astype(float))


def test_a_finer_mask_has_the_edges_of_the_coarse_one():
    fine = degrade_mask(tilted_mask(), 4 * NSIDE, threshold=0.9)
    parents = hp.ang2pix(NSIDE, *hp.pix2ang(4 * NSIDE, np.arange(fine.size)))
    assert np.array_equal(fine, tilted_mask()[parents])


def test_degrading_leaves_its_input_alone():
    mask = tilted_mask()
    degrade_mask(mask, NSIDE, threshold=0.5)[:] = -1
    assert np.array_equal(mask, tilted_mask())


@pytest.mark.parametrize("threshold", [0, 1.01, np.nan])
def test_a_threshold_that_keeps_all_or_nothing_is_refused(threshold):
    with pytest.raises(ValueError, match=r"mask threshold .*: must be above 0, .* and at most 1"):
        degrade_mask(tilted_mask(), 8, threshold=threshold)


@pytest.mark.parametrize("bad", [-0.1, 1.1, np.nan])
def test_a_mask_outside_zero_to_one_is_refused(bad):
    mask = np.ones(NPIX)
    mask[5] = bad
    with pytest.raises(ValueError, match=r"mask: weights range from .* must lie between 0 and 1"):
        check_mask(mask)
    with pytest.raises(ValueError, match=r"mask: weights range"):
        apodise(mask, 5)
    with pytest.raises(ValueError, match=r"mask: weights range"):
        degrade_mask(mask, 8, threshold=0.5)


def test_fsky_is_the_mean_and_fsky_of_power_the_mean_square():
    mask = np.repeat([0.0, 0.5, 1.0, 1.0], NPIX // 4)
    assert fsky(mask) == pytest.approx(0.625)
    assert fsky_power(mask) == pytest.approx(0.5625)
    assert fsky_power(mask.astype(bool)) == pytest.approx(0.75)


def test_the_fraction_of_modes_is_that_of_the_sky_for_a_binary_mask():
    assert fsky_modes(np.ones(NPIX)) == 1
    assert fsky_modes(tilted_mask()) == pytest.approx(fsky(tilted_mask()))


def test_band_powers_under_a_mask_scatter_as_the_fraction_of_modes_says():
    mask, first, last = apodise(tilted_mask(), 30), 4, 2 * NSIDE
    noise = np.random.default_rng(13).normal(size=(3000, NPIX)) * mask
    cl = alm_to_cl(analyse(noise, last, iterations=0))[:, first:]  # (n_draws, n_ell)
    modes = 2 * np.arange(first, last + 1) + 1
    power = cl @ modes / modes.sum()
    fraction = 2 * power.mean() ** 2 / (modes.sum() * power.var(ddof=1))
    # 3000 draws give a variance to 2.6 per cent; mean(w^2) is 10 per cent below.
    assert fraction == pytest.approx(fsky_modes(mask), rel=0.06)
    assert fraction != pytest.approx(fsky_power(mask), rel=0.06)


def test_a_mask_without_a_pixel_has_no_modes():
    with pytest.raises(ValueError, match=r"mask: it keeps no pixel; take a smaller cut"):
        fsky_modes(np.zeros(NPIX))


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


def test_fields_may_have_masks_of_their_own():
    masks = np.stack([tilted_mask(), np.ones(NPIX)])
    maps = np.where(masks == 1, 0.0, np.nan)
    assert check_values(maps, masks, name="nilc") is maps
    with pytest.raises(ValueError, match=r"nilc: \d+ pixels that the mask keeps have no value"):
        check_values(maps[::-1], masks, name="nilc")


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
