"""A training that breaks says which layer broke it, forward or backward, and keeps what there was."""

import pytest
import torch
from torch import nn

from cmbml.learning.diagnosis import where_not_finite
from cmbml.learning.networks import NetworkSpec
from cmbml.learning.training import train
from tests.learning.small_trainings import FACTS, Skies, checkpoint, settings, small_training

THIS = "tests.learning.test_diagnosis"
SOUND = torch.ones(2)


class Overflow(nn.Module):
    """Makes numbers infinite once its layer has been used so often."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.left -= self.training
        return features * (float("inf") if self.left < 0 else 1)


class Steep(nn.Module):
    """The square root of the square: as it should be, but for its gradient where the features are zero."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features * (features.abs() > 0.5)).square().sqrt()


def breaking(after: int = 10, kind: str = "forward") -> nn.Sequential:
    layer = Overflow(after) if kind == "forward" else Steep()
    block = nn.Sequential(nn.Conv2d(4, 4, 1), layer, nn.Conv2d(4, 4, 1))
    return nn.Sequential(nn.Conv2d(2, 4, 1), nn.Dropout(0.3), block, nn.Conv2d(4, 1, 1))


def test_the_layer_that_overflows_is_named_and_the_last_good_checkpoint_stays(tmp_path):
    """Three batches of two steps: the eleventh use is in the second epoch."""
    with pytest.raises(
        RuntimeError,
        match=r"epoch 2, step 11: loss (nan|inf) and gradients must be finite; first layer whose output is not "
        r"finite: 2\.1 \(Overflow\)\. Learning rate .*All checkpoints are kept",
    ):
        small_training(tmp_path, spec=NetworkSpec(f"{THIS}:breaking"))
    last = checkpoint(tmp_path)
    assert last["epoch"] == 1
    assert all(weights.isfinite().all() for weights in last["weights"].values())


def test_the_way_back_breaks_at_the_layer_before_the_one_without_a_slope(tmp_path):
    with pytest.raises(
        RuntimeError,
        match=r"epoch 1, step 1: loss \d.* outputs are finite; the way back from the loss broke at "
        r"2\.0 \(Conv2d\), the last layer whose gradient is not finite",
    ):
        small_training(tmp_path, spec=NetworkSpec(f"{THIS}:breaking", {"kind": "backward"}))


class Dropping(nn.Module):
    """Breaks only where dropout leaves its first number in, which is not so in most passes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        lucky = torch.rand(()) < 0.15 if self.training else torch.tensor(False)
        return features * self.weight * (torch.nan if lucky else 1)


def by_chance() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 1, 1), Dropping())


@pytest.mark.parametrize("seed", range(4))
def test_what_breaks_by_chance_is_found_by_the_same_chance(seed, tmp_path):
    with pytest.raises(RuntimeError, match=r"first layer whose output is not finite: 1 \(Dropping\)"):
        small_training(tmp_path, spec=NetworkSpec(f"{THIS}:by_chance"), epochs=20, seed=seed)


class Free(nn.Module):
    """A network that does all by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.cost = 0.0

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features * self.weight / 0

    def regularisation(self) -> torch.Tensor:
        return self.weight.sum() * self.cost


def test_a_network_without_layers_is_named_itself():
    found = where_not_finite(Free(), SOUND, SOUND)
    assert found == "first layer whose output is not finite: the network itself (Free)"


def test_features_that_are_not_finite_are_no_fault_of_the_network():
    assert where_not_finite(Free(), SOUND / 0, SOUND) == "the features of the skies are not finite themselves"


def test_regularisers_that_are_not_finite_are_named():
    network = Free()
    network.forward = nn.Identity().forward
    network.cost = float("nan")
    assert where_not_finite(network, SOUND, SOUND * float("nan")) == "regularisation() of the network is nan"


def test_a_norm_of_gradients_that_overflows_is_told_from_a_gradient_that_does():
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    for size, weights in zip((1e20, 1.0, 3e38, 1.0), network.parameters(), strict=True):
        weights.grad = torch.full_like(weights, size)
    assert where_not_finite(network, SOUND, SOUND).endswith("of which the largest is in 1 (Linear)")
    network[0].bias.grad[0] = torch.nan
    assert "the way back from the loss broke at 0 (Linear)" in where_not_finite(network, SOUND, SOUND)


def test_a_network_without_gradients_says_so():
    assert where_not_finite(nn.Linear(2, 2), SOUND, SOUND) == "no layer has a gradient"


class Divided(nn.Module):
    """Fails where it is only used."""

    def forward(self, features: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        return {"out": [features if self.training else features / 0]}


class Unpacked(nn.Module):
    def forward(self, made: dict[str, list[torch.Tensor]]) -> torch.Tensor:
        return made["out"][0]


def fails_in_use() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 1, 1), Divided(), Unpacked())


def test_a_validation_that_breaks_names_sky_and_layer(tmp_path):
    with pytest.raises(
        RuntimeError,
        match=r"the validation loss is not finite; sky 0 of the split: first layer whose output is not "
        r"finite: 1 \(Divided\)",
    ):
        train(NetworkSpec(f"{THIS}:fails_in_use"), Skies(3), Skies(2, seed=1), settings(), tmp_path, FACTS)


class Coarse(nn.Module):
    """Fails where it is only used, on numbers of mixed precision."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features / 0 if features.dtype == torch.bfloat16 and not self.training else features


def fails_in_mixed_precision() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 1, 1), Coarse())


def test_a_validation_in_mixed_precision_is_looked_at_in_mixed_precision(tmp_path):
    spec, changed = NetworkSpec(f"{THIS}:fails_in_mixed_precision"), settings(precision="bf16-mixed")
    with pytest.raises(RuntimeError, match=r"sky 0 of the split: first layer .* not finite: 1 \(Coarse\)"):
        train(spec, Skies(3), Skies(2, seed=1), changed, tmp_path, FACTS)


@pytest.mark.parametrize(("valid", "split"), [(None, "training"), (Skies(2, seed=1), "validation")])
def test_without_checks_of_gradients_weights_that_broke_are_found_after_the_epoch(valid, split, tmp_path):
    spec, changed = NetworkSpec(f"{THIS}:breaking", {"kind": "backward"}), settings(check_gradients=False)
    with pytest.raises(
        RuntimeError,
        match=f"the training loss is not finite; after the epoch, in {split}, sky 0 of the split: first layer "
        r"whose output is not finite: 0 \(Conv2d\); with check_gradients true",
    ):
        train(spec, Skies(3), valid, changed, tmp_path, FACTS)
