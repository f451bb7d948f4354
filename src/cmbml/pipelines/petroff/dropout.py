"""Concrete dropout: dropout whose probability is learnt, by a smooth stand-in for dropping.

References
----------
Gal, Hron & Kendall 2017, arXiv:1705.07832, equations 2 to 5.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

TEMPERATURE = 2 / 3
"""Of the stand-in; at 0 it would drop all or nothing."""

EPS = 1e-7
"""Added inside every logarithm, as published."""


class ConcreteDropout(nn.Module):
    """Drops features of groups, each group with a learnt probability p of its own.

    With u uniform between 0 and 1,

        z = sigmoid([ln p - ln(1 - p) + ln u - ln(1 - u)] / t),   t = 2/3,

    and x becomes x (1 - z) / (1 - p). In evaluation nothing is dropped.

    Parameters
    ----------
    groups
        Number of groups of features, each with a probability.
    initial
        Probability before training.
    noise
        "pixel": a number u for every feature of every pixel, as Petroff et al. draw it. "feature": one for every
        feature of a sky.
    """

    def __init__(self, groups: int, *, initial: float, noise: str = "pixel") -> None:
        super().__init__()
        start = torch.logit(torch.tensor(initial, dtype=torch.float64)).to(torch.get_default_dtype())
        self.p_logit = nn.Parameter(start.repeat(groups))
        self.noise = noise

    @property
    def probability(self) -> Tensor:
        """Probability p of every group, shape (groups,)."""
        return torch.sigmoid(self.p_logit)

    def forward(self, x: Tensor) -> Tensor:
        """Drop features of x, shape (batch, npix, groups * features)."""
        if not self.training:
            return x
        shape = x.shape if self.noise == "pixel" else (x.shape[0], 1, x.shape[2])
        return self.dropped(x, torch.rand(shape, dtype=x.dtype, device=x.device))

    def dropped(self, x: Tensor, uniform: Tensor) -> Tensor:
        """Return x with features dropped by given uniform numbers.

        Parameters
        ----------
        x
            Shape (batch, npix, groups * features).
        uniform
            Between 0 and 1, of the shape of x or one that expands to it.
        """
        p = self.probability.repeat_interleave(x.shape[-1] // len(self.p_logit))  # (groups * features,)
        log_odds = torch.log(p + EPS) - torch.log(1 - p + EPS)
        result: Tensor = _Drop.apply(x, log_odds, 1 / (1 - p), uniform)
        return result

    def regularisation(self, squares: Tensor, *, features: int, weight: float, dropout: float) -> Tensor:
        """Return what the loss is to be increased by for the layer behind this dropout.

        weight * sum(kernel^2) / (1 - p) + dropout * features * [p ln p + (1 - p) ln(1 - p)], summed over groups.

        Parameters
        ----------
        squares
            By group, the sum of the squares of the layer's kernel.
        features
            Features of a group that are dropped or not.
        weight, dropout
            Strengths: l^2 / N and 2 / N for N skies to learn from and a length scale l.
        """
        p = self.probability
        entropy = torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)
        return (weight * squares / (1 - p) + dropout * features * entropy).sum()


class _Drop(Function):
    """x (1 - z) / (1 - p), of which x and 1 - z are kept for the derivative, and nothing in between."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, x: Tensor, log_odds: Tensor, scale: Tensor, uniform: Tensor
    ) -> Tensor:
        kept = (uniform + EPS).div_((1 + EPS) - uniform).mul_(torch.exp(log_odds))
        kept = kept.pow_(1 / TEMPERATURE).add_(1).reciprocal_()  # 1 - z
        ctx.save_for_backward(x, kept, scale)
        return (x * kept).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[override]
        x, kept, scale = ctx.saved_tensors
        of_x = gradient * kept
        towards = of_x * x  # (batch, npix, features)
        columns = tuple(range(towards.ndim - 1))
        of_scale = towards.sum(columns)
        of_odds = towards.mul_(kept - 1).sum(columns).mul_(scale / TEMPERATURE)
        return of_x.mul_(scale), of_odds, of_scale, None


def count_on(network: nn.Module) -> nn.Module:
    """Return a network in the state for use, but for its dropout, which stays active."""
    network.eval()
    for module in network.modules():
        if isinstance(module, ConcreteDropout):
            module.train()
    return network
