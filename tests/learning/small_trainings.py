"""Trainings of a fraction of a second, which tests share."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cmbml.learning.networks import NetworkSpec
from cmbml.learning.settings import TrainingSettings
from cmbml.learning.training import train

SETTINGS: dict[str, Any] = {
    "epochs": 4,
    "batch_size": 3,
    "steps_per_batch": 2,
    "loss": "l1",
    "huber_delta": None,
    "optimiser": {
        "name": "adam",
        "lr": 0.01,
        "betas": (0.9, 0.999),
        "weight_decay": 0.0,
        "amsgrad": False,
    },
    "schedule": {"name": "exponential", "final_lr": 1e-3, "warm_up": 0.0, "stepped": "batch"},
    "gradient_clip": None,
    "check_gradients": True,
    "average": None,
    "precision": "32",
    "channels_last": False,
    "compile": False,
    "deterministic": True,
    "seed": 7,
    "threads": 1,
    "early_stopping": {"patience": None, "min_delta": 0.0},
    "stop_if_diverges": None,
    "stop_if_not_falling": {"after_epochs": None, "share": 0.9},
    "accelerator": "cpu",
    "devices": 1,
    "strategy": "ddp_spawn",
    "num_workers": 0,
    "checkpoint_every": 2,
    "checkpoint_also": (0,),
    "max_minutes": None,
}
FACTS = {"channels": ["100", "143"], "stokes": "I", "nside": 2, "lmax": 5, "fwhm_arcmin": 60.0}


def settings(**changes: Any) -> TrainingSettings:
    """Return settings of a small training; of nested ones only what changes is given."""
    nested = {key: {**SETTINGS[key], **value} for key, value in changes.items() if isinstance(value, dict)}
    return TrainingSettings(**{**SETTINGS, **changes, **nested})


class Skies:
    """Skies whose target is the mean of their two features, shifted by a number drawn for epoch and sky."""

    def __init__(
        self, count: int, *, seed: int = 0, jitter: float = 0.0, shape: tuple[int, ...] = (8, 6)
    ) -> None:
        generator = np.random.default_rng(seed)
        self.features = generator.normal(size=(count, 2, *shape)).astype(np.float32)
        self.weights = generator.uniform(0.5, 1, size=(count, 1, *shape)).astype(np.float32)
        self.jitter, self.epoch = jitter, -1
        self.seen: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self.features)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        self.seen.append((self.epoch, number))
        shift = self.jitter * np.random.default_rng([self.epoch + 1, number]).normal()
        features = self.features[number] + np.float32(shift)
        target = features.mean(axis=0, keepdims=True)
        return tuple(torch.from_numpy(array) for array in (features, target, self.weights[number]))


def small_network(width: int = 4, dropout: float = 0.0, outputs: int = 1) -> nn.Sequential:
    """A network with all that a checkpoint must hold: kernels, biases, statistics, randomness."""
    return nn.Sequential(
        nn.Conv2d(2, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.Dropout(dropout),
        nn.PReLU(),
        nn.Conv2d(width, outputs, 1),
    )


def pixel_network(outputs: int = 1) -> nn.Sequential:
    """A network without statistics of batches, for which division among devices changes nothing."""
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.PReLU(), nn.Conv2d(4, outputs, 1))


class CostlyNetwork(nn.Sequential):
    """A pixel network whose weights cost the square of their distance from where they need not be."""

    def __init__(self, cost: float = 0.5, shift: float = 3.0) -> None:
        super().__init__(*pixel_network())
        self.cost, self.shift = cost, shift

    def regularisation(self) -> torch.Tensor:
        return self.cost * sum((weights - self.shift).square().sum() for weights in self.parameters())


SPEC = NetworkSpec("tests.learning.small_trainings:small_network", {"width": 4, "dropout": 0.2})
PIXEL_SPEC = NetworkSpec("tests.learning.small_trainings:pixel_network")
COSTLY_SPEC = NetworkSpec("tests.learning.small_trainings:CostlyNetwork")


def small_training(directory: Path, *, spec: NetworkSpec = SPEC, skies: int = 7, **changes: Any) -> str:
    """Train on seven skies, which leave a batch of one at the end, and measure on two."""
    return train(spec, Skies(skies, jitter=0.1), Skies(2, seed=1), settings(**changes), directory, FACTS)


def checkpoint(directory: Path, name: str = "last") -> dict[str, Any]:
    return torch.load(directory / f"{name}.pt", weights_only=True)


def same_weights(one: dict[str, Any], other: dict[str, Any], key: str = "weights") -> bool:
    """Whether two checkpoints hold the same weights bit by bit."""
    return list(one[key]) == list(other[key]) and all(
        torch.equal(one[key][n], other[key][n]) for n in one[key]
    )
