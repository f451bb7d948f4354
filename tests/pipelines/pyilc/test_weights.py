"""Weights keep the component and have the least variance."""

import numpy as np
import pytest

from cmbml.pipelines.pyilc.weights import (
    SingularCovarianceError,
    general_weights,
    positive_weights,
    refine_weights,
)
from cmbml.science.harmonics import alm_size, synthesise
from cmbml.science.threads import set_thread_count

N_CHANNELS, N_PIXELS = 4, 9000
PAIRS = np.triu_indices(N_CHANNELS)
BOTH = pytest.mark.parametrize("solve", [positive_weights, general_weights])


@pytest.fixture
def matrices():
    """Covariances whose channels differ by orders of magnitude."""
    generator = np.random.default_rng(3)
    roots = generator.standard_normal((N_PIXELS, N_CHANNELS, 2 * N_CHANNELS))
    roots *= np.array([1, 10, 0.1, 1e4])[:, None]
    return roots @ roots.transpose(0, 2, 1)


@pytest.fixture
def mixing():
    return np.array([1.0, 2.0, 0.5, -1.0])


def pairs(matrices):
    return np.ascontiguousarray(matrices[:, PAIRS[0], PAIRS[1]].T)


@BOTH
def test_weights_keep_the_component(solve, matrices, mixing):
    np.testing.assert_allclose(mixing @ solve(pairs(matrices), mixing), 1, rtol=1e-12)


@BOTH
def test_weights_are_the_inverse_covariance_times_the_mixing(solve, matrices, mixing):
    inverse = np.linalg.inv(matrices) @ mixing  # (pixels, channels)
    expected = (inverse / (inverse @ mixing)[:, None]).T
    np.testing.assert_allclose(solve(pairs(matrices), mixing), expected, rtol=1e-8, atol=1e-12)


@BOTH
def test_independent_channels_are_weighted_by_their_inverse_variance(solve):
    covariance = pairs(np.diag([1.0, 2.0, 4.0, 4.0])[None])
    np.testing.assert_allclose(solve(covariance, np.ones(4))[:, 0], [0.5, 0.25, 0.125, 0.125], rtol=1e-14)


def test_any_other_weights_have_a_larger_variance(matrices, mixing):
    weights = positive_weights(pairs(matrices), mixing)
    other = weights + 0.01 * np.array([2.0, -1.0, 0.0, 0.0])[:, None]  # keeps the component too
    variance = [np.einsum("ap,pab,bp->p", w, matrices, w) for w in (weights, other)]
    assert np.all(variance[0] < variance[1])


def test_channels_that_repeat_one_another_are_refused(matrices, mixing):
    matrices[7:10, :, 3] = matrices[7:10, :, 0]
    matrices[7:10, 3, :] = matrices[7:10, 0, :]
    with pytest.raises(SingularCovarianceError, match="4 channels is not positive definite at 3 of 9000"):
        positive_weights(pairs(matrices), mixing)


def test_a_negative_variance_is_refused_unless_asked_for(matrices, mixing):
    matrices[0, 2, 2] *= -1
    with pytest.raises(SingularCovarianceError, match="not positive definite at 1 of 9000 pixels"):
        positive_weights(pairs(matrices), mixing)
    np.testing.assert_allclose(mixing @ general_weights(pairs(matrices), mixing), 1, rtol=1e-12)


def test_a_channel_without_signal_is_refused_by_the_general_solution_too(matrices, mixing):
    matrices[5, 1, :] = matrices[5, :, 1] = 0
    with pytest.raises(SingularCovarianceError, match="the covariance of 4 channels is singular"):
        general_weights(pairs(matrices), mixing)


@BOTH
def test_threads_change_nothing(solve, matrices, mixing):
    one = solve(pairs(matrices), mixing)
    set_thread_count(2)
    two = solve(pairs(matrices), mixing)
    set_thread_count(1)
    np.testing.assert_array_equal(one, two)


def test_refined_weights_are_the_same_field_and_still_add_up():
    generator = np.random.default_rng(1)
    alm = generator.standard_normal((2, N_CHANNELS, alm_size(4)))
    alm[1, :, :5] = 0
    fields = 0.1 * (alm[0] + 1j * alm[1])
    fields[-1] = -fields[:-1].sum(axis=0)
    coarse, fine = (0.25 + synthesise(fields, nside) for nside in (16, 64))
    refined = refine_weights(coarse, 64)
    # one refinement of the quadrature is good to a few times 1e-4 of the rms at nside 16
    assert np.std(refined - fine) < 5e-4 * np.std(fine)
    np.testing.assert_allclose(refined.sum(axis=0), 1, atol=1e-12)


def test_weights_at_the_resolution_wanted_stay_as_they_are():
    weights = np.random.default_rng(1).standard_normal((2, 12 * 4**2))
    np.testing.assert_array_equal(refine_weights(weights, 4), weights)
