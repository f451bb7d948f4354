"""The U-Net on the sphere after Adams et al.: all channels in one encoder, deterministic or Bayesian.

Blocks are two times a convolution, a normalisation and a rectifier. Downwards, the largest of four children;
upwards, each pixel as its four children, beside what the encoder had at that resolution. A convolution of
one term gives the CMB, and in the Bayesian network another one the log of its variance; there, whole
features of a sky are dropped in front of every convolution.

A Bayesian network begins with the weights of a trained deterministic one, see `bayesian_start`.

References
----------
Adams, Lu, Gorski, Rocha & Wagstaff 2023, AAAI, arXiv:2302.12378 (the networks, and the start).
Defferrard et al. 2020, arXiv:2012.15000 (DeepSphere).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from cmbml.pipelines.petroff.dropout import ConcreteDropout
from cmbml.pipelines.petroff.layers import ChebyshevConvolution, Dropped, pool_largest, repeat_pixels
from cmbml.pipelines.petroff.network import regularisation_of
from cmbml.pipelines.petroff.resolutions import check_depth

_MOMENTUM, _EPS = 0.1, 1e-5
"""Of normalisations: the weight of a new batch in the running statistics, and what is added to variances."""

_START = 1e-6
"""Standard deviation of the log-variance convolution's weights where a Bayesian network begins."""


class DeepSphereNetwork(nn.Module):
    """Maps (batch, channels, npix) to the CMB (and the log of its variance), (batch, 1 or 2, npix); NESTED.

    Parameters
    ----------
    channels
        Number of channels.
    nside
        Resolution.
    depth
        Steps between resolutions; nside / 2^depth is the lowest one.
    filters
        Features of the first level, doubled from level to level; or those of all depth + 1 levels.
    order
        Number K of terms of the convolutions.
    initial_dropout
        Probability of dropping before training; 0 for a network without dropout.
    weight_strength, dropout_strength
        Of the regularisation, see `cmbml.pipelines.petroff.dropout.ConcreteDropout.regularisation`: published
        l^2 / (tau N) and 2 / (tau N), with l = 1e-4, tau = 0.1 and N skies to learn from.
    uncertain
        Whether the log of the variance is an output; without it there is the CMB alone.
    recompute
        Whether a training computes features of a block again when it needs them, instead of keeping them.

    Raises
    ------
    ValueError
        If `nside` is no power of two, `depth` does not fit it, or there are not depth + 1 numbers of filters.
    """

    def __init__(
        self,
        *,
        channels: int,
        nside: int,
        depth: int,
        filters: int | Sequence[int],
        order: int,
        initial_dropout: float,
        weight_strength: float,
        dropout_strength: float,
        uncertain: bool,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        check_depth(nside, depth)
        widths = _widths(filters, depth)
        self.recompute = recompute
        self.strengths = {"weight": weight_strength, "dropout": dropout_strength}

        def layer(nside: int, n_in: int, n_out: int, terms: int) -> Dropped:
            convolution = ChebyshevConvolution(
                nside, n_in, n_out, order=terms, weighting="deepsphere", bias=terms == 1
            )
            nn.init.normal_(convolution.weight, std=math.sqrt(2 / (n_in + n_out)))
            return Dropped(convolution, groups=1, initial=initial_dropout, noise="feature")

        def block(level: int, n_in: int, between: int, n_out: int) -> Block:
            resolution = nside >> level
            return Block(layer(resolution, n_in, between, order), layer(resolution, between, n_out, order))

        above = [channels, *widths[:-1]]
        below = [widths[0], *widths[:-1]]
        self.encoder = nn.ModuleList(
            block(level, above[level], widths[level], widths[level]) for level in range(depth)
        )
        self.bottleneck = block(depth, above[depth], widths[depth], below[depth])
        self.decoder = nn.ModuleList(
            block(level, 2 * widths[level], widths[level], below[level]) for level in reversed(range(depth))
        )
        outputs = ("mean", "log_variance") if uncertain else ("final",)
        self.outputs = nn.ModuleDict({name: layer(nside, widths[0], 1, 1) for name in outputs})

    def forward(self, maps: Tensor) -> Tensor:
        """Return the CMB and the log of its variance."""
        x = maps.transpose(1, 2).contiguous()  # (batch, npix, channels)
        skipped = []
        for block in self.encoder:
            x = self._run(block, x)
            skipped.append(x)
            x = pool_largest(x)
        x = self._run(self.bottleneck, x)
        for block in self.decoder:
            x = self._run(block, torch.cat([repeat_pixels(x), skipped.pop()], dim=-1))
        return torch.cat([layer(x) for layer in self.outputs.values()], dim=-1).transpose(1, 2)

    def regularisation(self) -> Tensor:
        """Return what the regularisers add to the loss of a batch."""
        return regularisation_of(self, **self.strengths)

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.recompute and torch.is_grad_enabled():
            result: Tensor = checkpoint(block, x, use_reentrant=False, context_fn=lambda: _once(block))
            return result
        return block(x)  # type: ignore[no-any-return]


class Block(nn.Module):
    """Two convolutions, each with a normalisation and a rectifier behind it.

    Parameters
    ----------
    first, second
        The convolutions, with their dropout.
    """

    def __init__(self, first: Dropped, second: Dropped) -> None:
        super().__init__()
        self.layers = nn.ModuleList([first, second])
        self.norms = nn.ModuleList(PixelNorm(layer.layer.weight.shape[-1]) for layer in (first, second))

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, npix, n_out) of (batch, npix, n_in)."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = functional.relu(norm(layer(x)))
        return x


class PixelNorm(nn.Module):
    """Batch normalisation over skies and pixels of (batch, npix, features).

    Parameters
    ----------
    features
        Number of features.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(features)), nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(features))
        self.register_buffer("running_var", torch.ones(features))
        self.remembers = True
        """Whether a pass in training changes the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x with the mean and variance that weight and bias say."""
        mean, variance = self.running_mean, self.running_var
        if not self.remembers:
            mean, variance = mean.clone(), variance.clone()
        y = functional.batch_norm(
            x.flatten(0, 1),
            mean,
            variance,
            self.weight,
            self.bias,
            training=self.training,
            momentum=_MOMENTUM,
            eps=_EPS,
        )
        return y.view_as(x)


def bayesian_start(weights: Mapping[str, Tensor], *, initial_dropout: float, seed: int) -> dict[str, Tensor]:
    """Return the weights that a Bayesian network begins with, from those of a deterministic one.

    Its last convolution gives the mean; that of the log of the variance has weights drawn with a standard
    deviation of 1e-6 and no bias, so that the variance begins at one.

    Parameters
    ----------
    weights
        State of a `DeepSphereNetwork` that is not `uncertain`.
    initial_dropout
        Probability of dropping in front of every convolution that has none yet; 0 for none.
    seed
        Of what is drawn.

    Raises
    ------
    ValueError
        If the weights are not those of a deterministic network.
    """
    last = {name: value for name, value in weights.items() if name.startswith("outputs.final.")}
    if "outputs.final.layer.weight" not in last:
        raise ValueError(
            "weights have no outputs.final.layer.weight: a Bayesian network begins with those of a "
            "deterministic DeepSphere network; train one with loss l2 first"
        )
    start = {name: value.clone() for name, value in weights.items() if name not in last}
    start |= {name.replace("final", "mean"): value.clone() for name, value in last.items()}
    generator = torch.Generator().manual_seed(seed)
    weight, bias = (last[f"outputs.final.layer.{name}"] for name in ("weight", "bias"))
    drawn = torch.randn(weight.shape, generator=generator, dtype=torch.float64).mul_(_START)
    start["outputs.log_variance.layer.weight"] = drawn.to(weight)
    start["outputs.log_variance.layer.bias"] = torch.zeros_like(bias)
    if initial_dropout:
        logit = ConcreteDropout(1, initial=initial_dropout).p_logit.detach()
        for name in [name for name in start if name.endswith(".layer.weight")]:
            start.setdefault(name.removesuffix("layer.weight") + "dropout.p_logit", logit.clone())
    return start


def _widths(filters: int | Sequence[int], depth: int) -> list[int]:
    """Return the number of features of every level, the lowest resolution last."""
    widths = [filters << level for level in range(depth + 1)] if isinstance(filters, int) else list(filters)
    if len(widths) != depth + 1 or min(widths) < 1:
        raise ValueError(
            f"filters {filters}: depth {depth} needs one number for the first level, or {depth + 1} for all, "
            "each at least 1"
        )
    return widths


def _once(block: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what the first and the second computation of a block run in: only the first is remembered."""
    return nullcontext(), _forgetful([module for module in block.modules() if isinstance(module, PixelNorm)])


@contextmanager
def _forgetful(norms: Sequence[PixelNorm]) -> Iterator[None]:
    for norm in norms:
        norm.remembers = False
    try:
        yield
    finally:
        for norm in norms:
            norm.remembers = True
