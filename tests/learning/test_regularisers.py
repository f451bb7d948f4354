"""What the weights of a network cost is part of the loss, once, wherever and however it is trained."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn

from cmbml.learning.checkpoints import build_network
from cmbml.learning.losses import sky_losses
from cmbml.learning.networks import NetworkSpec, regularisation
from cmbml.learning.training import train
from tests.learning.small_trainings import (
    COSTLY_SPEC,
    FACTS,
    PIXEL_SPEC,
    Skies,
    checkpoint,
    same_weights,
    settings,
    small_training,
)

ONE_STEP = {
    "epochs": 1,
    "batch_size": 7,
    "steps_per_batch": 1,
    "checkpoint_every": 1,
    "optimiser": {"name": "sgd", "lr": 0.01, "betas": (0.0, 0.0)},
    "schedule": {"name": "constant"},
}


class Wrong(nn.Conv2d):
    def regularisation(self) -> torch.Tensor:
        return self.bias


def data_loss(network: nn.Module, skies: Skies) -> torch.Tensor:
    features, targets, weights = (
        torch.stack(parts) for parts in zip(*(skies[n] for n in range(len(skies))), strict=True)
    )
    return sky_losses(network(features), targets, weights, settings=settings()).mean()


def test_a_network_without_a_cost_has_none():
    assert regularisation(PIXEL_SPEC.build()) is None
    assert regularisation(NetworkSpec(COSTLY_SPEC.factory, {"cost": 0.0}).build()) == 0


def test_a_cost_that_is_no_scalar_is_refused():
    with pytest.raises(
        ValueError, match=r"network Wrong: regularisation\(\) has shape \(3,\), it must be a scalar; sum it"
    ):
        regularisation(Wrong(2, 3, 1))


def test_the_logged_loss_is_that_of_the_skies_and_the_cost(tmp_path):
    small_training(tmp_path, spec=COSTLY_SPEC, average=0.5)
    last = checkpoint(tmp_path)
    network, row = build_network(last), last["history"][-1]
    cost = network.regularisation().item()
    assert row["valid_loss"] == pytest.approx(data_loss(network, Skies(2, seed=1)).item() + cost, rel=1e-5)
    assert row["penalty"] == pytest.approx(cost, rel=1e-5)
    targets, weights = (torch.stack(parts) for parts in list(zip(*Skies(2, seed=1), strict=True))[1:])
    zero = sky_losses(torch.zeros_like(targets), targets, weights, settings=settings()).mean()
    assert last["zero_loss"] == pytest.approx(zero.item(), rel=1e-5)


def test_the_training_loss_has_it_too_also_with_a_short_last_batch(tmp_path):
    still = settings(optimiser={"lr": 1e-30}, schedule={"final_lr": 1e-30})
    train(COSTLY_SPEC, Skies(7), None, still, tmp_path, FACTS)
    network, row = build_network(checkpoint(tmp_path)), checkpoint(tmp_path)["history"][-1]
    cost = network.regularisation().item()
    assert row["train_loss"] == pytest.approx(data_loss(network, Skies(7)).item() + cost, rel=1e-5)
    assert row["penalty"] == pytest.approx(cost, rel=1e-5)


def test_the_step_is_that_of_the_sum(tmp_path):
    """With plain descent the first step is minus the gradient times the rate."""
    small_training(tmp_path, spec=COSTLY_SPEC, **ONE_STEP)
    before, after = (checkpoint(tmp_path, name) for name in ("epoch_0000", "epoch_0001"))
    network = build_network(before).requires_grad_()
    skies = Skies(7, jitter=0.1)
    skies.set_epoch(0)
    (data_loss(network, skies) + network.regularisation()).backward()
    for name, weights in network.named_parameters():
        torch.testing.assert_close(
            before["weights"][name] - after["weights"][name], 0.01 * weights.grad, rtol=1e-4, atol=1e-6
        )


def test_a_training_with_a_cost_goes_on_to_the_same_weights(tmp_path):
    small_training(tmp_path / "whole", spec=COSTLY_SPEC)
    while small_training(tmp_path / "paused", spec=COSTLY_SPEC, max_minutes=1e-9) == "max_minutes":
        pass
    whole, paused = (checkpoint(tmp_path / name) for name in ("whole", "paused"))
    assert same_weights(whole, paused)
    assert [row["penalty"] for row in whole["history"]] == [row["penalty"] for row in paused["history"]]


def test_a_cost_that_nothing_can_lower_gives_up_no_training_that_learns(tmp_path):
    """Its part in the loss is left out where that is compared with the loss of an output of zeros."""
    changes = {
        "skies": 30,
        "epochs": 30,
        "optimiser": {"lr": 0.02},
        "stop_if_not_falling": {"after_epochs": 20, "share": 0.9},
    }
    costly = NetworkSpec("tests.learning.test_regularisers:Dear")
    assert small_training(tmp_path / "dear", spec=costly, **changes) == "epochs"
    assert checkpoint(tmp_path / "dear")["history"][-1]["valid_loss"] > 90
    small_training(tmp_path / "free", spec=PIXEL_SPEC, **changes)
    losses = [
        [row["valid_loss"] - row.get("penalty", 0) for row in checkpoint(tmp_path / name)["history"]]
        for name in ("dear", "free")
    ]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-4)  # of 100 + loss in single precision


def test_a_cost_below_zero_hides_no_training_that_does_not_learn(tmp_path):
    changes = {
        "optimiser": {"lr": 1e-9},
        "schedule": {"name": "constant"},
        "stop_if_not_falling": {"after_epochs": 2, "share": 0.2},
    }
    cheap = NetworkSpec("tests.learning.test_regularisers:Dear", {"cost": -100.0})
    with pytest.raises(
        RuntimeError, match=r"after 2 epochs the lowest loss is \d\.\d+, not below 0.2 of the"
    ):
        small_training(tmp_path, spec=cheap, **changes)


class Dear(nn.Sequential):
    """A pixel network that costs the same whatever its weights."""

    def __init__(self, cost: float = 100.0) -> None:
        super().__init__(*PIXEL_SPEC.build())
        self.cost = cost

    def regularisation(self) -> torch.Tensor:
        return self.cost + 0 * self[0].bias.sum()


@pytest.mark.slow
def test_two_devices_count_the_cost_once(tmp_path):
    changes = {"spec": COSTLY_SPEC, "batch_size": 4}
    small_training(tmp_path / "one", **changes)
    small_training(tmp_path / "two", devices=2, **changes)
    one, two = (checkpoint(tmp_path / name) for name in ("one", "two"))
    for name, weights in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weights, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        for key in ("train_loss", "valid_loss", "penalty"):
            assert theirs[key] == pytest.approx(ours[key], rel=1e-5)


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch compiles with a C++ compiler on a CPU")
@pytest.mark.slow
def test_a_compiled_network_costs_as_an_eager_one(tmp_path):
    small_training(tmp_path / "eager", spec=COSTLY_SPEC)
    small_training(tmp_path / "compiled", spec=COSTLY_SPEC, compile=True)
    eager, compiled = (checkpoint(tmp_path / name) for name in ("eager", "compiled"))
    for name, weights in eager["weights"].items():
        torch.testing.assert_close(compiled["weights"][name], weights, rtol=1e-4, atol=1e-5)
    losses = [[row["penalty"] for row in one["history"]] for one in (eager, compiled)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
