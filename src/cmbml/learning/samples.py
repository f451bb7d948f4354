"""The order of skies: a function of seed and epoch, whatever process or device reads them."""

import math
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cmbml.learning.settings import TrainingSettings
from cmbml.science.seeds import generator_of


class Skies(Protocol):
    """Skies of a split, such as `cmbml.learning.map_datasets.ArrayPairs`."""

    def __len__(self) -> int:
        """Return the number of skies."""

    def __getitem__(self, number: int) -> Any:
        """Return features, target and weights of a sky."""

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch what is drawn for a sky belongs to."""


class EpochOrder(Sampler[tuple[int, int]]):
    """Epoch and number of each sky, in the order in which a device reads them.

    With several devices, one after the other takes a sky, and the first skies are read again at the end where
    they are needed to give each as many: batches are so the ones of one device, and `counted` tells which
    skies count.

    Parameters
    ----------
    count
        Number of skies.
    seed
        Of the order; None for the order of the dataset, in every epoch the same.
    first_epoch
        Number of the epoch that is lightning's epoch 0.
    rank, world
        Number of this device, and how many there are.
    """

    def __init__(
        self, count: int, *, seed: int | None, first_epoch: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self._count, self._seed, self._first = count, seed, first_epoch
        self._rank, self._world = rank, world
        self._epoch = first_epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; lightning calls this with the number of epochs since it was started."""
        self._epoch = self._first + epoch

    def __len__(self) -> int:
        return math.ceil(self._count / self._world)

    def counted(self, batch: int, *, size: int, skies: int) -> tuple[Tensor, int]:
        """Return which skies of a batch count, and how many of them there are on all devices.

        Parameters
        ----------
        batch
            Number of the batch in the epoch.
        size
            Skies of a full batch of one device.
        skies
            Skies of this batch on this device.

        Returns
        -------
        torch.Tensor
            Of 1 and 0, shape (skies,): a sky that is read again to give each device as many does not count.
        int
            Skies of this batch that count.
        """
        places = (batch * size + torch.arange(skies)) * self._world + self._rank
        start = batch * size * self._world
        return (places < self._count).float(), min(self._count - start, skies * self._world)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        numbers = np.arange(self._count)
        if self._seed is not None:
            numbers = generator_of(self._seed, "training", "order", str(self._epoch)).permutation(self._count)
        epoch = 0 if self._seed is None else self._epoch
        padded = np.resize(numbers, len(self) * self._world)
        return iter((epoch, int(number)) for number in padded[self._rank :: self._world])


class EpochItems(Dataset[Any]):
    """A dataset whose items are asked for with their epoch, which so reaches processes that read ahead.

    Parameters
    ----------
    skies
        Dataset with `set_epoch`.
    """

    def __init__(self, skies: Skies) -> None:
        self._skies = skies
        self._epoch = -1

    def __len__(self) -> int:
        return len(self._skies)

    def __getitem__(self, key: tuple[int, int]) -> Any:
        epoch, number = key
        if epoch != self._epoch:
            self._skies.set_epoch(epoch)
            self._epoch = epoch
        return self._skies[number]


def batches_of(
    skies: Skies, settings: TrainingSettings, order: EpochOrder, *, pinned: bool
) -> "DataLoader[Any]":
    """Return what makes batches of skies.

    Parameters
    ----------
    skies
        Dataset.
    settings
        Of the training.
    order
        In which order; the device's share of the batch is taken from it.
    pinned
        Whether batches are put where a GPU copies from.
    """
    workers = settings.num_workers
    return DataLoader(
        EpochItems(skies),
        batch_size=settings.batch_size // settings.devices,
        sampler=order,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pinned,
        generator=torch.Generator(),  # its own, or else it would change the random state of dropout
    )
