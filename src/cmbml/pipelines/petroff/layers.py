"""Layers on the sphere. Features have the shape (batch, npix, groups * features), pixels NESTED.

References
----------
Petroff et al. 2020, ApJ 903, 104, arXiv:2004.11507, section 2.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from cmbml.pipelines.petroff.dropout import ConcreteDropout
from cmbml.pipelines.petroff.graph import Weighting, scaled_laplacian
from cmbml.pipelines.petroff.products import chebyshev, unmixed


class ChebyshevConvolution(nn.Module):
    """A convolution on the sphere, sum over k of T_k(L) x W_k, plus a bias; apart for each group.

    Parameters
    ----------
    nside
        Resolution.
    n_in, n_out
        Features of a group, before and after.
    order
        Number K of terms: the result at a pixel depends on pixels up to K - 1 steps away.
    groups
        Number of groups.
    weighting
        Of the graph.
    bias
        Whether there is one.

    Raises
    ------
    ValueError
        If `order` is below 1.
    """

    def __init__(
        self,
        nside: int,
        n_in: int,
        n_out: int,
        *,
        order: int,
        groups: int = 1,
        weighting: Weighting = "petroff",
        bias: bool = True,
    ) -> None:
        super().__init__()
        if order < 1:
            raise ValueError(
                f"order {order}: a Chebyshev convolution has at least one term; take K = 1 or more"
            )
        self.nside, self.weighting, self.features = nside, weighting, n_in
        self.weight = nn.Parameter(torch.empty(order, groups, n_in, n_out))
        self.bias = nn.Parameter(torch.empty(groups * n_out)) if bias else None
        # as published: of truncated normals, so that variances are kept by terms that shrink with k
        deviation = 1 / math.sqrt(n_in * (order + 0.5) / 2)
        nn.init.trunc_normal_(self.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -deviation, deviation)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, npix, groups * n_out) of (batch, npix, groups * n_in)."""
        y = chebyshev(x, self.weight, scaled_laplacian(self.nside, self.weighting))
        return y if self.bias is None else y.add_(self.bias)

    def squares(self) -> Tensor:
        """Return the sum of the squares of each group's kernel, shape (groups,)."""
        return self.weight.square().sum((0, 2, 3))


class ScaleAndShift(nn.Module):
    """The linear combination offset + scale * x, two numbers for each group, and the sum over groups.

    Parameters
    ----------
    groups, features
        Number of groups, and of features in each.
    """

    def __init__(self, groups: int, features: int) -> None:
        super().__init__()
        self.features = features
        self.weight = nn.Parameter(torch.ones(groups))
        self.bias = nn.Parameter(torch.zeros(groups))

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, npix, features), the sum of what becomes of each group."""
        batch, npix, _ = x.shape
        apart = x.view(batch, npix, len(self.weight), -1)
        with unmixed(x):
            y = torch.einsum("bpgf,g->bpf", apart.to(self.weight.dtype), self.weight)
        return y.add_(self.bias.sum())

    def squares(self) -> Tensor:
        """Return the square of each group's scale, shape (groups,)."""
        return self.weight.square()


class Dropped(nn.Module):
    """A layer with concrete dropout of its input.

    Parameters
    ----------
    layer
        Has `features`, what is dropped of a group, and `squares()`.
    groups
        Number of groups, each with a probability of its own.
    initial
        Probability before training; 0 for no dropout at all.
    noise
        What is dropped, see `ConcreteDropout`.
    """

    def __init__(
        self,
        layer: ChebyshevConvolution | ScaleAndShift,
        *,
        groups: int,
        initial: float,
        noise: str = "pixel",
    ) -> None:
        super().__init__()
        self.layer = layer
        self.dropout = ConcreteDropout(groups, initial=initial, noise=noise) if initial else None

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # compiled before, and not for torch to trace
    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer makes of x after dropout."""
        y: Tensor = self.layer(x if self.dropout is None else self.dropout(x))
        return y

    def regularisation(self, *, weight: float, dropout: float) -> Tensor:
        """Return what the loss is to be increased by, see `ConcreteDropout.regularisation`."""
        squares = self.layer.squares()
        if self.dropout is None:
            return weight * squares.sum()
        return self.dropout.regularisation(
            squares, features=self.layer.features, weight=weight, dropout=dropout
        )


def pool_largest(x: Tensor) -> Tensor:
    """Return the largest of the four children of every pixel, shape (batch, npix / 4, features)."""
    return _children(x).amax(2)


def pool_mean(x: Tensor) -> Tensor:
    """Return the mean of the four children of every pixel, shape (batch, npix / 4, features)."""
    return _children(x).mean(2)


def repeat_pixels(x: Tensor) -> Tensor:
    """Return every pixel as its four children, shape (batch, 4 npix, features)."""
    return x.repeat_interleave(4, dim=1)


POOLING: dict[str, Callable[[Tensor], Tensor]] = {"max": pool_largest, "mean": pool_mean}


def _children(x: Tensor) -> Tensor:
    return x.view(len(x), -1, 4, x.shape[-1])
