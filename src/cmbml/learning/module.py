"""The one LightningModule: any network, any loss and optimiser of the settings."""

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader

from cmbml.learning.diagnosis import random_state, set_random_state, where_not_finite
from cmbml.learning.losses import sky_losses
from cmbml.learning.networks import load_weights, regularisation
from cmbml.learning.samples import EpochOrder, Skies, batches_of
from cmbml.learning.schedules import learning_rate
from cmbml.learning.settings import TrainingSettings
from cmbml.science.seeds import seed_of

_SEED_BITS = 63
"""What torch takes of a seed."""


def seed_torch(seed: int, *key: str) -> None:
    """Begin torch's random numbers anew, as `cmbml.science.seeds.generator_of` does numpy's."""
    torch.manual_seed(seed_of(seed, "training", *key) >> (128 - _SEED_BITS))


class MeanOfSkies:
    """A mean over the skies of an epoch, on the device until it is asked for."""

    def __init__(self) -> None:
        self._sums: Tensor | None = None

    def add(self, losses: Tensor, counted: Tensor) -> None:
        """Add losses of skies, of which those marked 1 count."""
        new = torch.stack(
            [(losses.detach() * counted).sum(dtype=torch.float64), counted.sum(dtype=torch.float64)]
        )
        self._sums = new if self._sums is None else self._sums + new

    def take(self, reduce: Callable[[Tensor], Tensor]) -> float:
        """Return the mean over all devices and begin anew; NaN if there was no sky."""
        if self._sums is None:
            return float("nan")
        total, count = reduce(self._sums).tolist()
        self._sums = None
        return float(total / count)


class TrainingModule(LightningModule):
    """Trains a network on the skies of a split.

    Parameters
    ----------
    network
        Maps (batch, n_features, ...) to (batch, n_outputs, ...); may be `Regularised`.
    settings
        Of the training.
    train_skies, valid_skies
        Datasets of (features, target, weights); without the second no validation loss is measured.
    start
        Checkpoint to go on from, or None.
    """

    def __init__(
        self,
        network: nn.Module,
        settings: TrainingSettings,
        *,
        train_skies: Skies,
        valid_skies: Skies | None,
        start: Mapping[str, Any] | None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False  # several steps per batch are not what lightning does by itself
        self.settings = settings
        self.network = network
        self.averaged = deepcopy(network).requires_grad_(False) if settings.average is not None else None
        self.train_skies, self.valid_skies = train_skies, valid_skies
        self.start = start
        self.first_epoch = int(start["epoch"]) if start else 0
        self.steps = int(start["history"][-1]["step"]) if start and start["history"] else 0
        self.zero_loss = float(start["zero_loss"]) if start else float("nan")
        self.rate = 0.0
        self.losses = {name: MeanOfSkies() for name in ("train", "valid", "zero", "penalty")}
        self._orders: dict[str, EpochOrder] = {}

    # ---- What lightning asks for ---------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser; weight decay is for kernels alone."""
        wanted = self.settings.optimiser
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": wanted.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        if wanted.name == "sgd":
            return torch.optim.SGD(groups, lr=wanted.lr, momentum=wanted.betas[0], fused=True)
        kind = torch.optim.AdamW if wanted.name == "adamw" else torch.optim.Adam
        return kind(  # fused: one pass, a fifth of the time
            groups, lr=wanted.lr, betas=wanted.betas, amsgrad=wanted.amsgrad, fused=True
        )

    def train_dataloader(self) -> "DataLoader[Any]":
        """Return the batches of the training split, in an order drawn for every epoch."""
        return self._batches("train", self.train_skies, self.settings.seed)

    def val_dataloader(self) -> Any:
        """Return the batches of the validation split, in its own order."""
        return None if self.valid_skies is None else self._batches("valid", self.valid_skies, None)

    def on_fit_start(self) -> None:
        """Set what every process of the training needs to have."""
        torch.set_num_threads(self.settings.threads)
        if self.settings.compile:
            self.network.compile()
            self.used.compile()

    def on_train_start(self) -> None:
        """Restore what the checkpoint holds, now that all is on its device and in its precision."""
        if self.start is None:
            return
        weights, unaveraged = self.start["weights"], self.start["unaveraged"]
        load_weights(self.network, weights if unaveraged is None else unaveraged)
        if self.averaged is not None:
            load_weights(self.averaged, weights)
        optimiser: Any = self.optimizers(use_pl_optimizer=False)
        optimiser.load_state_dict(self.start["optimiser"])
        self.start = None  # it can be large

    def on_train_epoch_start(self) -> None:
        """Begin the random numbers of dropout anew, so that an epoch does not depend on those before it."""
        seed_torch(self.settings.seed, "epoch", str(self.epoch), str(self.global_rank))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Take the steps of one batch."""
        features, target, weights = batch
        features = self._laid_out(features)
        counted, everywhere = self._counted("train", batch_idx, target)
        share = counted * (self.trainer.world_size / everywhere)  # gradients are averaged over devices
        optimiser: Any = self.optimizers()
        self._set_rate(optimiser, batch_idx)
        if self.valid_skies is None:
            self._add_zero_loss(target, weights, counted)
        for _ in range(self.settings.steps_per_batch):
            optimiser.zero_grad()
            drawn = random_state(self.device) if self.settings.check_gradients else []
            losses = sky_losses(self.network(features), target, weights, settings=self.settings)
            losses = self._with_penalty(losses, counted, self.network, watched=self.valid_skies is None)
            self.manual_backward((losses * share).sum())
            self.losses["train"].add(losses, counted)
            self._prepare_gradients(losses, features, drawn)
            optimiser.step()
            self.steps += 1
            self._follow()

    def on_validation_epoch_start(self) -> None:
        """Let all devices use the same statistics of features, which each has gathered from its own skies."""
        if self.trainer.world_size > 1:
            for buffer in self.used.buffers():
                torch.distributed.broadcast(buffer, 0)

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> None:
        """Add the losses of a batch, and in the first epoch those of an output of zeros."""
        features, target, weights = batch
        counted, _ = self._counted("valid", batch_idx, target)
        losses = sky_losses(self.used(self._laid_out(features)), target, weights, settings=self.settings)
        losses = self._with_penalty(losses, counted, self.used, watched=True)
        self.losses["valid"].add(losses, counted)
        self._add_zero_loss(target, weights, counted)

    # ---- What is asked of it besides -------------------------------------------

    @property
    def epoch(self) -> int:
        """Number of the epoch under way, from 0, over all starts of the training."""
        return self.first_epoch + int(self.trainer.current_epoch)

    @property
    def used(self) -> nn.Module:
        """The network that is validated and kept: the average where there is one."""
        return self.network if self.averaged is None else self.averaged

    def take_losses(self) -> dict[str, float]:
        """Return the mean losses of the epoch over all devices.

        Returns
        -------
        dict
            `train_loss` and `valid_loss`; of a regularised network also `penalty`, its part in that of them
            by which the training is judged.
        """
        means = {name: mean.take(self._sum_over_devices) for name, mean in self.losses.items()}
        if self.epoch == 0:
            self.zero_loss = means["zero"]
        losses = {"train_loss": means["train"], "valid_loss": means["valid"]}
        return losses if math.isnan(means["penalty"]) else {**losses, "penalty": means["penalty"]}

    # ---- Its own ---------------------------------------------------------------

    def _batches(self, split: str, skies: Skies, seed: int | None) -> "DataLoader[Any]":
        trainer = self.trainer
        order = EpochOrder(
            len(skies),
            seed=seed,
            first_epoch=self.first_epoch,
            rank=trainer.global_rank,
            world=trainer.world_size,
        )
        self._orders[split] = order
        return batches_of(skies, self.settings, order, pinned=trainer.strategy.root_device.type == "cuda")

    def _counted(self, split: str, batch_idx: int, target: Tensor) -> tuple[Tensor, int]:
        size = self.settings.batch_size // self.trainer.world_size
        counted, everywhere = self._orders[split].counted(batch_idx, size=size, skies=len(target))
        return counted.to(target), everywhere

    def _with_penalty(self, losses: Tensor, counted: Tensor, network: nn.Module, *, watched: bool) -> Tensor:
        """Return losses of skies with what the network's weights cost added to each.

        Shares of skies sum to one over all devices, so that the cost and its gradient count once.
        """
        cost = regularisation(network)
        if cost is None:
            return losses
        if watched:
            self.losses["penalty"].add(cost.expand_as(losses), counted)
        return losses + cost.to(losses)

    def _add_zero_loss(self, target: Tensor, weights: Tensor, counted: Tensor) -> None:
        """Add the losses of an output of zeros, once and for all in the first epoch."""
        if self.epoch == 0:
            zeros = torch.zeros_like(target)
            if self.settings.loss == "gaussian":
                zeros = torch.cat([zeros, zeros], dim=1)
            losses = sky_losses(zeros, target, weights, settings=self.settings)
            self.losses["zero"].add(losses, counted)

    def _sum_over_devices(self, sums: Tensor) -> Tensor:
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(sums)
        return sums

    def _laid_out(self, features: Tensor) -> Tensor:
        if self.settings.channels_last and features.ndim == 4:
            return features.contiguous(memory_format=torch.channels_last)
        return features

    def _set_rate(self, optimiser: Any, batch_idx: int) -> None:
        batches = int(self.trainer.num_training_batches)
        self.rate = learning_rate(self.settings, epoch=self.epoch, batch=batch_idx, batches=batches)
        for group in optimiser.param_groups:
            group["lr"] = self.rate

    def _prepare_gradients(self, losses: Tensor, features: Tensor, drawn: list[Tensor]) -> None:
        """Check that gradients are finite, and clip them.

        Parameters
        ----------
        losses
            Of the skies of the batch.
        features
            Of the batch.
        drawn
            State of the random numbers before it went through the network.

        Raises
        ------
        RuntimeError
            If one, or the loss, is not finite; names epoch, step and layer.
        """
        clip = self.settings.gradient_clip
        if clip is None and not self.settings.check_gradients:
            return
        parameters = [p for p in self.network.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.settings.check_gradients and not bool(torch.isfinite(norm + losses.detach().sum())):
            raise RuntimeError(self._not_finite(losses, features, drawn))
        if clip is not None:
            torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm)

    def _not_finite(self, losses: Tensor, features: Tensor, drawn: list[Tensor]) -> str:
        set_random_state(drawn, self.device)  # dropout is to drop what it dropped
        where = where_not_finite(self.network, features, losses)
        return (
            f"epoch {self.epoch + 1}, step {self.steps + 1}: loss {losses.detach().mean().item():.4g} and "
            f"gradients must be finite; {where}. Learning rate {self.rate:.3g}: lower optimiser.lr, clip "
            "gradients (gradient_clip), or look for extreme values in the skies. All checkpoints are kept"
        )

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged weights, and statistics of features, towards those of this step."""
        if self.averaged is None or self.settings.average is None:
            return
        # the first weights, which are noise, are forgotten faster
        decay = min(self.settings.average, (1 + self.steps) / (10 + self.steps))
        for mine, theirs in zip(_state(self.averaged), _state(self.network), strict=True):
            if mine.is_floating_point():
                mine.lerp_(theirs, 1 - decay)
            else:
                mine.copy_(theirs)


def _state(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
