"""The network of Petroff et al.: an encoder per channel, one decoder, both on the sphere itself.

At every resolution from nside downwards, two convolutions of each channel's features; between resolutions the
largest of four children. Upwards, a convolution, then the features of all channels at that resolution, each scaled
and shifted, are added, then another convolution. A last convolution gives the CMB and minus the log of its
variance. Every layer has a concrete dropout in front of it.

The channels are groups of features, which run through their encoders at once.

References
----------
Petroff et al. 2020, ApJ 903, 104, arXiv:2004.11507, section 2 and figure 1.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from cmbml.pipelines.petroff.layers import (
    POOLING,
    ChebyshevConvolution,
    Dropped,
    ScaleAndShift,
    repeat_pixels,
)
from cmbml.science.pixels import check_nside


class PetroffNetwork(nn.Module):
    """Maps (batch, channels, npix) to (batch, 2, npix): the CMB and the log of its variance; NESTED.

    Parameters
    ----------
    channels
        Number of channels, each with an encoder of its own.
    nside
        Resolution.
    depth
        Steps between resolutions; nside / 2^depth is the lowest one.
    filters
        Features of a channel at every resolution.
    order
        Number K of terms of the convolutions.
    initial_dropout
        Probability of dropping before training; 0 for a network without dropout.
    weight_strength, dropout_strength
        Of the regularisation, see `ConcreteDropout.regularisation`.
    pooling
        "max", as published, or "mean".
    output
        "linear", as published, or "elu", which the last convolution then goes through.
    uncertain
        Whether the log of the variance is an output; without it there is the CMB alone.
    recompute
        Whether a training computes features of encoder levels again when it needs them, instead of keeping them:
        a third slower, and a fraction of the memory.

    Raises
    ------
    ValueError
        If `nside` is no power of two, or `depth` does not fit it.
    """

    def __init__(
        self,
        channels: int,
        nside: int,
        *,
        depth: int,
        filters: int,
        order: int,
        initial_dropout: float,
        weight_strength: float,
        dropout_strength: float,
        pooling: str,
        output: str,
        uncertain: bool,
        recompute: bool,
    ) -> None:
        super().__init__()
        check_depth(nside, depth)
        self.recompute = recompute
        self.strengths = {"weight": weight_strength, "dropout": dropout_strength}
        self.pool = POOLING[pooling]
        self.output, self.uncertain = output, uncertain
        resolutions = [nside >> level for level in range(depth + 1)]

        def convolution(nside: int, n_in: int, n_out: int, groups: int) -> Dropped:
            layer = ChebyshevConvolution(nside, n_in, n_out, order=order, groups=groups)
            return Dropped(layer, groups=groups, initial=initial_dropout)

        self.down = nn.ModuleList(
            nn.ModuleList(
                [
                    convolution(n, filters if level else 1, filters, channels),
                    convolution(n, filters, filters, channels),
                ]
            )
            for level, n in enumerate(resolutions)
        )
        self.skips = nn.ModuleList(
            Dropped(ScaleAndShift(channels, filters), groups=channels, initial=initial_dropout)
            for _ in resolutions
        )
        self.up = nn.ModuleList(
            nn.ModuleList([convolution(n, filters, filters, 1), convolution(n, filters, filters, 1)])
            for n in resolutions[:-1]
        )
        self.last = convolution(nside, filters, 2 if uncertain else 1, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the CMB and the log of its variance."""
        x = maps.transpose(1, 2)  # (batch, npix, channels)
        skipped = []
        for level, convolutions in enumerate(self.down):
            x = self._level(self._encoded, convolutions, self.pool(x) if level else x)
            skipped.append(self.skips[level](x))
        y = functional.elu(skipped.pop())
        for convolutions in reversed(self.up):
            y = self._level(self._decoded, convolutions, repeat_pixels(y), skipped.pop())
        y = self.last(y)
        if self.output == "elu":
            y = functional.elu(y)
        if self.uncertain:  # published: minus the log of the variance
            y = torch.stack([y[..., 0], -y[..., 1]], dim=-1)
        return y.transpose(1, 2)

    def regularisation(self) -> Tensor:
        """Return what the regularisers add to the loss of a batch."""
        layers = [module for module in self.modules() if isinstance(module, Dropped)]
        return torch.stack([layer.regularisation(**self.strengths) for layer in layers]).sum()

    def _level(self, function: Callable[..., Tensor], *given: object) -> Tensor:
        if self.recompute and self.training and torch.is_grad_enabled():
            result: Tensor = checkpoint(function, *given, use_reentrant=False)
            return result
        return function(*given)

    @staticmethod
    def _encoded(convolutions: nn.ModuleList, x: Tensor) -> Tensor:
        for convolution in convolutions:
            x = functional.elu(convolution(x))
        return x

    @staticmethod
    def _decoded(convolutions: nn.ModuleList, y: Tensor, skipped: Tensor) -> Tensor:
        first, second = convolutions
        return functional.elu(second(functional.elu(first(y).add_(skipped))))


def check_depth(nside: int, depth: int) -> int:
    """Return `depth` if a sphere of `nside` can be coarsened that often.

    Raises
    ------
    ValueError
        If `nside` is no power of two, or `depth` is not between 0 and its logarithm.
    """
    deepest = check_nside(nside).bit_length() - 1
    if not 0 <= depth <= deepest:
        raise ValueError(
            f"depth {depth}: a sphere of nside {nside} can be coarsened {deepest} times, down to nside 1; take 0 to "
            f"{deepest}"
        )
    return depth
