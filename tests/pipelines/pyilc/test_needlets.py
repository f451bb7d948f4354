"""Needlet filters, and what the scales work with."""

import numpy as np
import pytest

from cmbml.pipelines.pyilc.needlets import (
    Scale,
    cosine_needlets,
    covariance_fwhm,
    falling_multipoles,
    plan_scales,
    scale_nside,
    taper_window,
)
from cmbml.science.beams import ARCMIN, beam_window

REFERENCE_PEAKS, REFERENCE_LMAX, REFERENCE_NSIDE = (30, 80, 130, 191), 190, 64
BIAS_TOLERANCE = 0.02


@pytest.mark.parametrize(
    ("peaks", "lmax"), [((1, 2, 3), 2), ((10, 33), 32), ((100, 200, 300, 383), 382), ((200, 715, 1025), 1024)]
)
def test_squared_cosine_needlets_add_up_to_one(peaks, lmax):
    filters = cosine_needlets(peaks, lmax)
    assert filters.shape == (len(peaks) + 1, lmax + 1)
    np.testing.assert_allclose(np.sum(filters**2, axis=0), 1, atol=1e-15)


def test_cosine_needlets_have_their_hand_values():
    filters = cosine_needlets((10, 30), 29)
    np.testing.assert_allclose(filters[:, 0], [1, 0, 0], atol=0)
    np.testing.assert_allclose(filters[:, 5], [np.sqrt(0.5), np.sqrt(0.5), 0], atol=1e-15)
    np.testing.assert_allclose(filters[:, 10], [0, 1, 0], atol=0)
    np.testing.assert_allclose(filters[:, 15], [0, np.cos(np.pi / 8), np.sin(np.pi / 8)], atol=1e-15)


@pytest.mark.parametrize("peaks", [(), (0, 30), (20, 20, 30), (20, 10, 30)])
def test_peaks_that_do_not_increase_are_refused(peaks):
    with pytest.raises(ValueError, match="1 or more that increase strictly"):
        cosine_needlets(peaks, 29)


def test_a_last_peak_other_than_lmax_plus_one_is_refused():
    with pytest.raises(ValueError, match=r"the last peak must be lmax \+ 1 = 30 \(lmax is 29\)"):
        cosine_needlets((10, 29), 29)


def test_the_taper_is_a_half_at_its_width_below_lmax_and_falls():
    taper = taper_window(30, 190)
    assert taper[160] == pytest.approx(0.5)
    assert taper[190] == pytest.approx(1 - (np.tanh(0.75) + 1) / 2)
    assert np.all(np.diff(taper) < 0)


def test_no_taper_leaves_everything():
    np.testing.assert_array_equal(taper_window(0, 20), np.ones(21))


def test_the_falling_multipole_is_on_the_far_side_and_the_last_scale_copies_it():
    filters = cosine_needlets((10, 20, 31), 30)
    # cos(pi/2 (l - 10) / 10) comes nearest to a half at l = 17 (0.454)
    np.testing.assert_array_equal(falling_multipoles(filters, 0.5), [7, 17, 27, 27])
    np.testing.assert_array_equal(falling_multipoles(filters[:1], 0.5), [7])


@pytest.mark.parametrize(("multipole", "nside"), [(3, 4), (4, 8), (100, 128), (128, 256), (1024, 512)])
def test_a_scale_has_the_smallest_power_of_two_above_its_multipole(multipole, nside):
    assert scale_nside(multipole, 512) == nside


def test_the_averaging_region_shrinks_with_modes_and_tolerance():
    window = np.array([0.0, 1.0, 0.5])  # N_modes = 3 + 5 / 4
    sigma = np.sqrt(2 * 2 / (4.25 * 0.1))
    assert covariance_fwhm(window, 3, 0.1) == pytest.approx(np.sqrt(8 * np.log(2)) * sigma, rel=1e-14)


def test_a_scale_that_too_few_channels_resolve_is_refused_by_name():
    beams = np.stack([beam_window(fwhm * ARCMIN, 190) for fwhm in (350, 350, 20)])
    filters = cosine_needlets((40, 100, 191), 190)
    with pytest.raises(ValueError, match=r"needlet scale 1 \(multipoles 1 to 99\): 1 of 3 channels.*l = 100"):
        plan_scales(filters, beams, nside=64, beam_criterion=1e-3, bias_tolerance=0.01)


def test_a_channel_without_a_beam_resolves_every_scale():
    scales = plan_scales(
        cosine_needlets((40, 100, 191), 190),
        np.ones((2, 191)),
        nside=64,
        beam_criterion=1e-3,
        bias_tolerance=0.01,
    )
    assert all(scale.channels.tolist() == [0, 1] for scale in scales)


def test_a_scale_names_its_multipoles():
    scale = Scale(2, np.array([0.0, 0.5, 1.0, 0.0]), 2, 4, np.array([0, 1]), 0.1)
    assert scale.label == "needlet scale 2 (multipoles 1 to 2)"
    assert scale.highest_multipole == 2


@pytest.mark.parametrize(
    ("case", "beam_criterion"), [("cosine", 1e-3), ("cosine_taper", 1e-3), ("cosine_beam_criterion", 0.5)]
)
def test_scales_are_those_of_the_reference(shared_file, case, beam_criterion):
    reference = np.load(shared_file(f"reference/pyilc/{case}.npz"))
    observations = np.load(shared_file("reference/pyilc/observations.npz"))
    beams = np.stack([beam_window(f * ARCMIN, REFERENCE_LMAX) for f in observations["beam_fwhm_arcmin"]])
    scales = plan_scales(
        cosine_needlets(REFERENCE_PEAKS, REFERENCE_LMAX),
        beams,
        nside=REFERENCE_NSIDE,
        beam_criterion=beam_criterion,
        bias_tolerance=BIAS_TOLERANCE,
    )
    used = np.zeros((len(scales), len(beams)), bool)
    for scale in scales:
        used[scale.index, scale.channels] = True
    np.testing.assert_array_equal(used, reference["channels_used"])
    np.testing.assert_array_equal([s.falling_multipole for s in scales], reference["ell_F"])
    np.testing.assert_array_equal([s.nside for s in scales], reference["nside_per_scale"])
    np.testing.assert_allclose([s.window for s in scales], reference["filters"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        [s.covariance_fwhm for s in scales], reference["fwhm_pix_radian"], rtol=0, atol=1e-12
    )
