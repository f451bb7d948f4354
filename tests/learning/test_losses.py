import numpy as np
import pytest
import torch
from scipy.stats import norm

from cmbml.learning.losses import LEAST_LOG_VARIANCE, inverse_variance, sky_losses
from tests.learning.small_trainings import settings

ERROR = torch.tensor([[[[1.0, -3.0]]], [[[0.5, 0.0]]]])  # two skies of one field and two pixels
TARGET = torch.full_like(ERROR, 7.0)
ONES = torch.ones(2, 1, 1, 1)


def losses(weights: torch.Tensor, **changes) -> list[float]:
    return sky_losses(TARGET + ERROR, TARGET, weights, settings=settings(**changes)).tolist()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"loss": "l1"}, [2.0, 0.25]),
        ({"loss": "l2"}, [5.0, 0.125]),
        ({"loss": "huber", "huber_delta": 1.0}, [(0.5 + 2.5) / 2, 0.0625]),
    ],
)
def test_losses_by_hand(changes, expected):
    assert losses(ONES, **changes) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("weights", "expected"), [([[1.0, 0.0]] * 2, [1.0, 0.5]), ([[1.0, 3.0]] * 2, [2.5, 0.125])]
)
def test_pixels_count_by_their_weight(weights, expected):
    assert losses(torch.tensor(weights)[:, None, None]) == pytest.approx(expected)


def test_a_common_factor_of_the_weights_changes_nothing():
    weights = torch.tensor([[0.2, 0.7], [1.0, 0.1]])[:, None, None]
    assert losses(5 * weights) == pytest.approx(losses(weights))


def test_every_field_counts_alike():
    error, target = torch.tensor([[[1.0, 1.0], [3.0, 5.0]]]), torch.zeros(1, 2, 2)
    weights = torch.tensor([[[1.0, 0.0]]])
    assert sky_losses(error, target, weights, settings=settings()).tolist() == [2.0]


def test_the_gaussian_loss_is_minus_the_log_likelihood():
    log_variance = torch.tensor([[[[0.3, -1.0]]], [[[2.0, 0.0]]]])
    output = torch.cat([TARGET + ERROR, log_variance], dim=1)
    made = sky_losses(output, TARGET, ONES, settings=settings(loss="gaussian"))
    expected = -norm.logpdf(ERROR, scale=np.exp(log_variance / 2)).reshape(2, -1) - np.log(2 * np.pi) / 2
    np.testing.assert_allclose(made, expected.mean(axis=1), rtol=1e-5)


def gaussian(log_variance: torch.Tensor, error: float = 1.0) -> torch.Tensor:
    """The loss of one sky per number, of an error as large as given."""
    log_variance = log_variance.reshape(-1, 1, 1)
    target = torch.zeros_like(log_variance)
    output = torch.cat([target + error, log_variance], dim=1)
    return sky_losses(output, target, torch.ones_like(target), settings=settings(loss="gaussian"))


@pytest.mark.parametrize("log_variance", [-20.0, -100.0, -1e4, -1e25])
def test_a_network_that_is_far_too_sure_has_a_finite_loss_that_says_so(log_variance):
    given = torch.tensor([log_variance], requires_grad=True)
    loss = gaussian(given)
    loss.backward()
    assert given.dtype == torch.float32
    assert torch.isfinite(loss).all() and loss > 0
    assert given.grad.item() == pytest.approx((1 - np.exp(20)) / 2, rel=1e-6)  # down: be less sure


def test_above_the_joint_the_inverse_variance_is_what_it_was():
    given = torch.linspace(LEAST_LOG_VARIANCE, 200, 1001)
    assert torch.equal(inverse_variance(given), torch.exp(-given))
    assert np.exp(LEAST_LOG_VARIANCE / 2) == pytest.approx(4.5e-5, rel=0.01)


def test_the_gaussian_loss_is_smooth_and_convex_across_the_joint():
    given = torch.linspace(-25, -15, 201, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: gaussian(s, error=1e-4), given, eps=1e-5)
    joint = torch.tensor([LEAST_LOG_VARIANCE], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: gaussian(s, error=1e-4), joint, eps=1e-5)
    assert (gaussian(given.detach(), error=1e-4).diff(n=2) > -1e-12).all()


@pytest.mark.parametrize(("loss", "needed"), [("l1", "(2, 1, 1, 2)"), ("gaussian", "(2, 2, 1, 2)")])
def test_an_output_of_another_shape_is_refused(loss, needed):
    output = torch.zeros(2, 3, 1, 2)
    with pytest.raises(ValueError) as refused:
        sky_losses(output, TARGET, ONES, settings=settings(loss=loss))
    assert f"output has shape (2, 3, 1, 2), loss {loss} needs {needed}" in str(refused.value)
