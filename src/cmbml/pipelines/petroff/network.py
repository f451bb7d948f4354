"""The network of Petroff et al.: an encoder per channel, one decoder, both on the sphere itself.

At every resolution from nside downwards, two convolutions of each channel's features; between resolutions the
largest of four children. Upwards, a convolution, then the features of all channels at that resolution, each
scaled and shifted, are added, then another convolution. A last convolution gives the CMB and minus the log of
its variance. Every layer has a concrete dropout in front of it.

The channels are groups of features, which run through their encoders at once.

References
----------
Petroff et al. 2020, ApJ 903, 104, arXiv:2004.11507, section 2 and figure 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

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
from cmbml.pipelines.petroff.resolutions import check_depth


@dataclass(frozen=True)
class SphereDescription:
    """What a network on the sphere is made of.

    Parameters
    ----------
    channels
        Number of channels, each with an encoder of its own.
    outputs
        Number of outputs.
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
    pooling
        "max", as published, or "mean".
    recompute
        Whether a training computes the features of a level again when it needs them, instead of keeping them.
    """

    channels: int
    outputs: int
    nside: int
    depth: int
    filters: int
    order: int
    initial_dropout: float
    pooling: str
    recompute: bool

    def layer(self, nside: int, n_in: int, n_out: int, groups: int) -> Dropped:
        """Return a convolution with its dropout."""
        convolution = ChebyshevConvolution(nside, n_in, n_out, order=self.order, groups=groups)
        return Dropped(convolution, groups=groups, initial=self.initial_dropout)


class SphereNetwork(nn.Module):
    """Maps (batch, channels, npix) to (batch, outputs, npix), pixels NESTED.

    Parameters
    ----------
    description
        What it is made of.

    Raises
    ------
    ValueError
        If nside is no power of two, or the depth does not fit it.
    """

    def __init__(self, description: SphereDescription) -> None:
        super().__init__()
        check_depth(description.nside, description.depth)
        self.recompute, self.pool = description.recompute, POOLING[description.pooling]
        channels, filters, layer = description.channels, description.filters, description.layer
        resolutions = [description.nside >> level for level in range(description.depth + 1)]
        self.down = nn.ModuleList(
            nn.ModuleList(
                [
                    layer(nside, filters if level else 1, filters, channels),
                    layer(nside, filters, filters, channels),
                ]
            )
            for level, nside in enumerate(resolutions)
        )
        self.skips = nn.ModuleList(
            Dropped(ScaleAndShift(channels, filters), groups=channels, initial=description.initial_dropout)
            for _ in resolutions
        )
        self.up = nn.ModuleList(
            nn.ModuleList([layer(nside, filters, filters, 1), layer(nside, filters, filters, 1)])
            for nside in resolutions[:-1]
        )
        self.last = layer(description.nside, filters, description.outputs, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return what the last convolution gives."""
        x = maps.transpose(1, 2)  # (batch, npix, channels)
        skipped = []
        for level, layers in enumerate(self.down):
            x = self._level(_encoded, layers, self.pool(x) if level else x)
            skipped.append(self.skips[level](x))
        y = functional.elu(skipped.pop())
        for layers in reversed(self.up):
            y = self._level(_decoded, layers, repeat_pixels(y), skipped.pop())
        outputs: Tensor = self.last(y).transpose(1, 2)
        return outputs

    def _level(self, function: Callable[..., Tensor], *given: object) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            result: Tensor = checkpoint(function, *given, use_reentrant=False)
            return result
        return function(*given)


def _encoded(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers:
        x = functional.elu(layer(x))
    return x


def _decoded(layers: nn.ModuleList, y: Tensor, skipped: Tensor) -> Tensor:
    first, second = layers
    return functional.elu(second(functional.elu(first(y).add_(skipped))))


def regularisation_of(network: nn.Module, *, weight: float, dropout: float) -> Tensor:
    """Return what the regularisers of all layers of a network add to the loss of a batch."""
    layers = [module for module in network.modules() if isinstance(module, Dropped)]
    return torch.stack([layer.regularisation(weight=weight, dropout=dropout) for layer in layers]).sum()
