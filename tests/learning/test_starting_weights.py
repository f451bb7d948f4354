"""A network may begin from the weights of another one, once, and a training knows from which."""

import pytest
import torch
from torch import nn

from cmbml.learning.networks import NetworkSpec
from cmbml.learning.starting_weights import StartingWeights
from cmbml.learning.training import train
from tests.learning.small_trainings import (
    FACTS,
    PIXEL_SPEC,
    Skies,
    checkpoint,
    same_weights,
    settings,
    small_training,
)

SHORT = {"epochs": 2, "checkpoint_every": 1}


class Sure(nn.Module):
    """Finds a field."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4))
        self.final_conv = nn.Conv2d(4, 1, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.final_conv(self.body(features))


class Unsure(nn.Module):
    """Finds a field and its variance."""

    def __init__(self, body: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(2, body, 1), nn.BatchNorm2d(body))
        self.mu_conv = nn.Conv2d(body, 1, 1)
        self.sigma_conv = nn.Conv2d(body, 1, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        made = self.body(features)
        return torch.cat([self.mu_conv(made), self.sigma_conv(made)], dim=1)


UNSURE = NetworkSpec("tests.learning.test_starting_weights:Unsure")


def start(**changes) -> StartingWeights:
    torch.manual_seed(1)
    network = Sure()
    network.body[1].running_mean += 3  # statistics are taken over as weights are
    given = {"fresh": ("sigma_conv",), "renamed": {"final_conv": "mu_conv"}, **changes}
    return StartingWeights(network.state_dict(), **given)


def begin(directory, starting: StartingWeights | None, **changes) -> str:
    given = settings(**{**SHORT, "loss": "gaussian", **changes})
    return train(
        UNSURE, Skies(7, jitter=0.1), Skies(2, seed=1), given, directory, FACTS, start_weights=starting
    )


def test_a_training_begins_from_the_weights_by_their_new_names(tmp_path):
    begin(tmp_path / "drawn", None)
    begin(tmp_path / "started", start())
    drawn, started = (checkpoint(tmp_path / n, "epoch_0000")["weights"] for n in ("drawn", "started"))
    given = start().weights
    for name, weights in started.items():
        source = drawn if name.startswith("sigma_conv") else given
        assert torch.equal(weights, source[name.replace("mu_conv", "final_conv")])
    assert not torch.equal(drawn["mu_conv.weight"], started["mu_conv.weight"])


def test_the_average_begins_there_too(tmp_path):
    begin(tmp_path, start(), average=0.9)
    assert torch.equal(
        checkpoint(tmp_path, "epoch_0000")["weights"]["mu_conv.weight"], start().weights["final_conv.weight"]
    )


def test_a_training_that_goes_on_does_not_begin_from_them_again(tmp_path):
    begin(tmp_path / "whole", start())
    while begin(tmp_path / "paused", start(), max_minutes=1e-9) == "max_minutes":
        pass
    assert same_weights(*(checkpoint(tmp_path / name) for name in ("whole", "paused")))


@pytest.mark.parametrize("other", [None, start(renamed={}, fresh=("sigma_conv", "mu_conv", "final_conv"))])
def test_a_training_from_other_weights_is_another_training(other, tmp_path):
    begin(tmp_path, start())
    facts = checkpoint(tmp_path)["facts"]
    assert facts == {**FACTS, "start_weights": start().digest()}
    with pytest.raises(
        ValueError, match="holds another training: facts.start_weights was [0-9a-f]{32}, is now"
    ):
        begin(tmp_path, other)


def test_a_training_from_drawn_weights_says_nothing_of_others(tmp_path):
    small_training(tmp_path, **SHORT)
    assert checkpoint(tmp_path)["facts"] == FACTS


def test_the_digest_is_that_of_what_is_taken_over():
    other = {name: weights + 1 for name, weights in start().weights.items()}
    assert start().digest() == start().digest()
    digests = {
        start().digest(),
        StartingWeights(other, start().fresh, start().renamed).digest(),
        start(fresh=("sigma_conv", "mu_conv")).digest(),
        start(renamed={}).digest(),
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"renamed": {}},
            "mu_conv.weight is missing; mu_conv.bias is missing; final_conv.weight is not in the network; "
            "final_conv.bias is not in the network. Take those",
        ),
        ({"fresh": ()}, "fit the network: sigma_conv.weight is missing; sigma_conv.bias is missing. Take"),
        ({"fresh": ("sigma",)}, "sigma_conv.weight is missing"),  # names of layers, not of their letters
    ],
)
def test_weights_that_do_not_fit_are_listed(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        begin(tmp_path / "new", start(**changes))
    assert not (tmp_path / "new").exists()


def test_weights_of_another_shape_are_listed_the_first_five_of_them():
    with pytest.raises(
        ValueError,
        match=r"body.0.weight has shape \(4, 2, 1, 1\), the network needs \(5, 2, 1, 1\); .*; and 2 more\. Take",
    ):
        start().fill(Unsure(body=5))


def test_two_weights_of_one_name_are_refused():
    with pytest.raises(ValueError, match="gives two of the weights to start from one name; leave out"):
        start(renamed={"body.0": "final_conv"}).fill(Unsure())


def test_what_may_stay_as_drawn_is_taken_over_where_it_fits():
    network = Unsure(body=5)
    before = {name: weights.clone() for name, weights in network.state_dict().items()}
    start(fresh=("sigma_conv", "body", "mu_conv")).fill(network)
    after = network.state_dict()
    taken = {name for name in after if not torch.equal(after[name], before[name])}
    assert taken == {"mu_conv.bias"}


def test_weights_of_the_same_network_need_no_words(tmp_path):
    small_training(tmp_path / "first", spec=PIXEL_SPEC, **SHORT)
    weights = checkpoint(tmp_path / "first")["weights"]
    network = PIXEL_SPEC.build()
    StartingWeights(weights).fill(network)
    assert all(torch.equal(network.state_dict()[name], given) for name, given in weights.items())
