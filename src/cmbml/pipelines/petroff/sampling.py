"""A Bayesian network's answer: many passes with active dropout, their mean and scatter.

Of passes t = 1 ... T with means mu_t and variances v_t,

    mean = (1/T) sum mu_t,   variance = (1/T) sum v_t + (1/T) sum (mu_t - mean)^2:

what the network says it cannot know, and what it does not know because it has seen too few skies.

References
----------
Kendall & Gal 2017, arXiv:1703.04977, equation 9. Petroff et al. 2020, ApJ 903, 104, arXiv:2004.11507, section
2. Welford 1962, Technometrics 4, 419: the running mean and sum of squares.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cmbml.pipelines.petroff.dropout import ConcreteDropout, count_on
from cmbml.science.seeds import seed_of
from cmbml.science.threads import thread_count

Array = NDArray[Any]

_SEED_BITS = 63
"""What torch takes of a seed."""


@dataclass(frozen=True)
class Answer:
    """What a network says of a sky.

    Parameters
    ----------
    mean
        Shape (n_fields, npix).
    scatter
        Variance of the passes, the same shape: 0 without dropout.
    noise
        Mean of the variances that the passes give, the same shape: 0 if the network gives none.
    """

    mean: Array
    scatter: Array
    noise: Array


def sampled(
    network: nn.Module, features: Array, *, fields: int, samples: int, batch: int, key: tuple[Any, ...]
) -> Answer:
    """Return the answer of a network about one sky, one batch of passes in memory at a time.

    Parameters
    ----------
    network
        For use; returns (batch, fields, npix), or twice as many with the logs of the variances behind.
    features
        Shape (n_features, npix), transformed as in training.
    fields
        Number of fields.
    samples
        Number of passes; one is enough, and taken, for a network without dropout.
    batch
        Passes at once, on which nothing but the rounding of the answer depends.
    key
        What the random numbers follow from: a seed, and what the sky is. Every pass has numbers of its own.

    Raises
    ------
    ValueError
        If a result is not finite.
    """
    weight = next(network.parameters())
    dropouts = [module for module in network.modules() if isinstance(module, ConcreteDropout)]
    passes = samples if dropouts else 1
    given = torch.as_tensor(np.ascontiguousarray(features)).to(weight.device, weight.dtype)[None]
    total = _Running()
    with _active_dropout(network, dropouts), torch.inference_mode():
        for first in range(0, passes, batch):
            together = range(first, min(first + batch, passes))
            for layer, dropout in enumerate(dropouts):
                dropout.seeds = tuple(_seed(key, number, layer) for number in together)
            total.add(network(given.expand(len(together), *given.shape[1:])), fields)
    if not all(bool(part.isfinite().all()) for part in (total.mean, total.squares, total.noise)):
        raise ValueError(
            "the network's output is not finite; look for extreme values in its features, or take another "
            "checkpoint"
        )
    return Answer(
        *(part.cpu().numpy() for part in (total.mean, total.squares / passes, total.noise / passes))
    )


class _Running:
    """Sums over passes."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.squares = self.noise = torch.zeros(())

    def add(self, output: Tensor, fields: int) -> None:
        """Add passes, shape (batch, outputs, npix)."""
        for one in output:
            mean = one[:fields]
            if self.count == 0:
                self.mean, self.squares, self.noise = (torch.zeros_like(mean) for _ in range(3))
            self.count += 1
            apart = mean - self.mean
            self.mean = self.mean + apart / self.count
            self.squares = self.squares + apart * (mean - self.mean)
            if len(one) > fields:
                self.noise = self.noise + torch.exp(one[fields:])


def _seed(key: tuple[Any, ...], number: int, layer: int) -> int:
    """Return the seed of what a layer, by its place among those that drop, drops in a pass."""
    seed, *sky = key
    words = [*map(str, sky), f"pass {number}", f"layer {layer}"]
    return seed_of(seed, "dropout", *words) >> (128 - _SEED_BITS)


@contextmanager
def _active_dropout(network: nn.Module, dropouts: Sequence[ConcreteDropout]) -> Iterator[None]:
    """Let a network drop features, with this process's number of threads, and put all back."""
    threads, training = torch.get_num_threads(), network.training
    seeds = [dropout.seeds for dropout in dropouts]
    torch.set_num_threads(thread_count())
    try:
        count_on(network)
        yield
    finally:
        torch.set_num_threads(threads)
        network.train(training)
        for dropout, before in zip(dropouts, seeds, strict=True):
            dropout.seeds = before
