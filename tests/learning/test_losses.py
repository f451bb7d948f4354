import numpy as np
import pytest
import torch
from scipy.stats import norm

from cmbml.learning.losses import sky_losses
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


@pytest.mark.parametrize(("loss", "needed"), [("l1", "(2, 1, 1, 2)"), ("gaussian", "(2, 2, 1, 2)")])
def test_an_output_of_another_shape_is_refused(loss, needed):
    output = torch.zeros(2, 3, 1, 2)
    with pytest.raises(ValueError) as refused:
        sky_losses(output, TARGET, ONES, settings=settings(loss=loss))
    assert f"output has shape (2, 3, 1, 2), loss {loss} needs {needed}" in str(refused.value)
