import healpy as hp
import numpy as np
import pytest

from cmbml.science.beams import ARCMIN, LARGEST_WINDOW_AT_CUT, beam_window, check_target_beam, window_ratio


@pytest.mark.parametrize("fwhm_arcmin", [0, 5, 20.6, 300])
def test_the_window_is_that_of_healpy(fwhm_arcmin):
    window = beam_window(fwhm_arcmin * ARCMIN, 500)
    assert window.shape == (501,)
    np.testing.assert_allclose(window, hp.gauss_beam(fwhm_arcmin * ARCMIN, lmax=500), rtol=1e-13)


def test_beams_compose_by_their_squared_widths():
    np.testing.assert_allclose(
        beam_window(0.03, 100) * beam_window(0.04, 100), beam_window(0.05, 100), rtol=1e-13
    )


def test_a_beam_keeps_the_mean_and_falls_with_the_multipole():
    window = beam_window(0.01, 300)
    assert window[0] == 1
    assert np.all(np.diff(window) < 0)


def test_the_window_is_half_where_the_formula_says():
    # exp(-l(l+1) sigma^2 / 2) = 1/2 with fwhm = sigma sqrt(8 ln 2): l(l+1) fwhm^2 = 16 (ln 2)^2.
    ell = 99
    fwhm = 4 * np.log(2) / np.sqrt(ell * (ell + 1))
    assert beam_window(fwhm, ell)[-1] == pytest.approx(0.5, rel=1e-12)


def test_a_negative_beam_is_refused():
    with pytest.raises(ValueError, match=r"fwhm -0.1 rad: a beam cannot be narrower than 0"):
        beam_window(-0.1, 10)


def test_a_target_beam_that_shapes_the_map_is_accepted():
    assert check_target_beam(20.6, 1024) == 20.6


def test_a_target_beam_that_leaves_the_shape_to_the_cut_is_refused():
    with pytest.raises(ValueError, match=r"target beam 5 arcmin: its window at lmax 128 is 1.00, above 0.8"):
        check_target_beam(5, 128)


def test_the_limit_of_the_target_beam_is_where_the_message_says():
    ell = 128
    limit = np.sqrt(-2 * np.log(LARGEST_WINDOW_AT_CUT) / (ell * (ell + 1))) * np.sqrt(8 * np.log(2)) / ARCMIN
    assert check_target_beam(limit * 1.001, ell) == limit * 1.001
    with pytest.raises(ValueError, match=r"take a wider target beam or a higher lmax"):
        check_target_beam(limit * 0.999, ell)


def test_the_ratio_brings_one_beam_to_another():
    narrow, wide = (beam_window(fwhm * ARCMIN, 200) for fwhm in (10, 60))
    np.testing.assert_allclose(narrow * window_ratio(wide, narrow), wide, rtol=1e-13)


def test_where_a_beam_has_nothing_left_nothing_is_made_of_it():
    beam = beam_window(1200 * ARCMIN, 1024)
    assert beam[-1] == 0
    ratio = window_ratio(beam_window(300 * ARCMIN, 1024), beam)
    assert np.isfinite(ratio).all()
    np.testing.assert_array_equal(ratio == 0, beam == 0)
