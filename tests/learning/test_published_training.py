"""The published training, through the trainer: its losses at every step of Adam."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cmbml.learning.networks import NetworkSpec
from cmbml.learning.training import train
from tests.learning.small_trainings import FACTS, checkpoint, settings

pytest.importorskip("cmbml.pipelines.cmbnncs.network", reason="the network of CMBNNCS is not there")


def reference_network(archive: str) -> nn.Module:
    """The published network with the weights that the reference begins with."""
    from cmbml.pipelines.cmbnncs.network import UNet, load_published_state, published_unet

    with np.load(archive) as arrays:
        state = [
            torch.from_numpy(np.asarray(arrays[key])) for key in sorted(arrays) if key.startswith("state_")
        ]
        inputs, outputs = arrays["input"].shape[1], arrays["target"].shape[1]
    network = UNet(published_unet(5, in_channels=inputs, out_channels=outputs, max_filters=32))
    load_published_state(network, state)
    return network


class OneBatch:
    """The batch of the reference."""

    def __init__(self, archive: Path) -> None:
        with np.load(archive) as arrays:
            self.pairs = [torch.from_numpy(arrays[key]) for key in ("input", "target")]

    def __len__(self) -> int:
        return len(self.pairs[0])

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        return self.pairs[0][number], self.pairs[1][number], torch.ones(1, 1, 1)

    def set_epoch(self, epoch: int) -> None:
        pass


@pytest.mark.parametrize("steps_per_batch", [1, 3])
def test_adam_takes_the_published_steps(shared_file, tmp_path, steps_per_batch):
    """Six steps on one batch; three of them in a row are one epoch of the published scheme."""
    archive = shared_file("reference/cmbnncs/unet5_nside32_I.npz")
    spec = NetworkSpec(
        "tests.learning.test_published_training:reference_network", {"archive": os.fspath(archive)}
    )
    chosen = settings(
        epochs=6 // steps_per_batch,
        batch_size=2,
        steps_per_batch=steps_per_batch,
        optimiser={"lr": 1e-3},
        schedule={"name": "constant"},
        precision="64",
    )
    train(spec, OneBatch(archive), None, chosen, tmp_path, FACTS)
    losses = [row["train_loss"] for row in checkpoint(tmp_path)["history"]]
    with np.load(archive) as arrays:
        published = arrays["adam_lr1e-3_losses_before_each_of_6_steps"]
    np.testing.assert_allclose(losses, published.reshape(-1, steps_per_batch).mean(axis=1), rtol=1e-6)
