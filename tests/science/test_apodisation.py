import healpy as hp
import numpy as np
import pytest
from scipy.stats import norm

from cmbml.science.apodisation import TAPERS, apodise, distance_to_holes
from cmbml.science.masks import galactic_mask

NSIDE = 16
NPIX = 12 * NSIDE**2
LATITUDE = np.degrees(np.pi / 2 - hp.pix2ang(NSIDE, np.arange(NPIX))[0])
VECTORS = np.array(hp.pix2vec(NSIDE, np.arange(NPIX)))  # (3, npix)


def tilted_mask():
    """A cut without any symmetry."""
    return ((np.abs(LATITUDE) >= 20) & (VECTORS[0] < 0.8)).astype(float)


def distances(holes):
    """To the nearest hole, by brute force."""
    cosine = np.clip(VECTORS.T @ VECTORS[:, holes], -1, 1).max(axis=1)
    return np.arccos(cosine)


@pytest.mark.parametrize("taper", TAPERS)
@pytest.mark.parametrize("width", [4, 15])
def test_apodisation_only_shrinks(taper, width):
    mask = tilted_mask()
    tapered = apodise(mask, width, taper=taper)
    assert np.all((tapered >= 0) & (tapered <= mask))
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
    with pytest.raises(ValueError, match=r"taper 'C3': must be one of C1, C2, smooth"):
        apodise(tilted_mask(), 5, taper="C3")


def test_the_smooth_taper_of_a_straight_edge_is_the_gaussian_integral():
    mask, width = galactic_mask(64, 10), 4.0
    latitude = np.abs(np.degrees(np.pi / 2 - hp.pix2ang(64, np.arange(mask.size))[0]))
    tapered = apodise(mask, width, taper="smooth")
    expected = norm.cdf((latitude - 10 - 2.5 * width) / width)
    # The edge is one of pixels, half a degree wide, and a little curved.
    np.testing.assert_allclose(tapered[mask == 1], expected[mask == 1], atol=0.06)
    assert np.abs(np.mean((tapered - expected)[mask == 1])) < 0.01


def test_the_smooth_taper_is_that_of_smoothing_by_healpy():
    mask, width = tilted_mask(), np.radians(8)
    grown = (distances(mask == 0) >= 2.5 * width).astype(float)
    fine = hp.ud_grade(grown, 8 * NSIDE)  # the same pixels, without the quadrature's error
    expected = hp.ud_grade(hp.smoothing(fine, sigma=width), NSIDE) * mask
    # The quadrature of edges as sharp as pixels errs by half a per cent.
    np.testing.assert_allclose(apodise(mask, 8, taper="smooth"), expected, atol=8e-3)


def test_the_smooth_taper_is_exactly_one_far_from_the_holes():
    mask = tilted_mask()
    far = distances(mask == 0) > 6.5 * np.radians(4)
    assert far.any()
    assert np.all(apodise(mask, 4, taper="smooth")[far] == 1)


def test_a_smooth_taper_wider_than_the_kept_sky_leaves_nothing():
    assert not apodise(tilted_mask(), 40, taper="smooth").any()


def test_a_smooth_taper_below_a_pixel_is_refused():
    with pytest.raises(
        ValueError, match=r"taper smooth of 3 deg: .* a pixel, 3.66 deg at nside 16; widen it"
    ):
        apodise(tilted_mask(), 3, taper="smooth")


def test_distances_are_those_to_the_nearest_hole():
    holes = tilted_mask() == 0
    np.testing.assert_allclose(distance_to_holes(holes, furthest=np.pi), distances(holes), atol=1e-7)


def test_distances_are_exact_up_to_the_furthest_and_not_below_it_beyond():
    holes = np.arange(NPIX) == 1000
    found, expected = distance_to_holes(holes, furthest=0.5), distances(holes)
    near = expected < 0.5
    np.testing.assert_allclose(found[near], expected[near], atol=1e-7)
    assert found[~near].min() >= 0.5


@pytest.mark.parametrize("holes", [np.zeros(NPIX, bool), np.ones(NPIX, bool), tilted_mask() == 0])
def test_distances_do_not_depend_on_what_healpy_takes_for_a_hole(holes, monkeypatch):
    expected = distance_to_holes(holes, furthest=1.0)
    theirs = hp.dist2holes
    monkeypatch.setattr(hp, "dist2holes", lambda mask, maxdist: theirs(~mask, maxdist=maxdist))
    np.testing.assert_array_equal(distance_to_holes(holes, furthest=1.0), expected)
