"""The CMB cancels in the difference of two channels, at the coarser of two beams."""

import numpy as np
import pytest

from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.differences import difference_alm
from cmbml.science.harmonics import alm_size, draw_white_alm, filter_alm

LMAX = 24
OWN, REFERENCE = beam_window(500 * ARCMIN, LMAX), beam_window(400 * ARCMIN, LMAX)


def alm(seed: int, fields: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([draw_white_alm(rng, LMAX) for _ in range(fields)]).astype(complex)


@pytest.mark.parametrize("common", [300.0, 700.0])
def test_what_both_channels_see_cancels(common):
    cmb = alm(0)
    window = beam_window(common * ARCMIN, LMAX)
    left = difference_alm(filter_alm(cmb, OWN), OWN, filter_alm(cmb, REFERENCE), REFERENCE, common=window)
    assert np.abs(left).max() < 1e-12


@pytest.mark.parametrize(("common", "expected"), [(300.0, 500.0), (700.0, 700.0)])
def test_what_one_channel_sees_is_at_the_coarser_of_its_beam_and_the_common_one(common, expected):
    signal, nothing = alm(1), np.zeros((1, alm_size(LMAX)), complex)
    window = beam_window(common * ARCMIN, LMAX)
    wanted = filter_alm(signal, beam_window(expected * ARCMIN, LMAX))
    of_channel = difference_alm(filter_alm(signal, OWN), OWN, nothing, REFERENCE, common=window)
    np.testing.assert_allclose(of_channel, wanted, rtol=0, atol=1e-12)
    of_reference = difference_alm(nothing, OWN, filter_alm(signal, REFERENCE), REFERENCE, common=window)
    np.testing.assert_allclose(of_reference, -wanted, rtol=0, atol=1e-12)


def test_of_a_reference_with_more_fields_the_first_count():
    reference, nothing = alm(2, fields=3), np.zeros((1, alm_size(LMAX)), complex)
    one = difference_alm(nothing, OWN, reference, REFERENCE, common=OWN)
    np.testing.assert_array_equal(one, difference_alm(nothing, OWN, reference[:1], REFERENCE, common=OWN))
