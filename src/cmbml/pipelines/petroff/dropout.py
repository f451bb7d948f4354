"""Concrete dropout: dropout whose probability is learnt, by a smooth stand-in for dropping.

References
----------
Gal, Hron & Kendall 2017, arXiv:1705.07832, equations 2 to 5.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cmbml.pipelines.petroff.rows import over_rows

Array = NDArray[Any]

TEMPERATURE = 2 / 3
"""Of the stand-in; at 0 it would drop all or nothing."""

EPS = 1e-7
"""Added inside every logarithm, as published."""

_CHUNK = 512
"""Rows that are summed one after the other."""


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
        "pixel": a number u for every feature of every pixel, as Petroff et al. draw it. "feature": one for
        every feature of a sky.
    """

    def __init__(self, groups: int, *, initial: float, noise: str = "pixel") -> None:
        super().__init__()
        start = torch.logit(torch.tensor(initial, dtype=torch.float64)).to(torch.get_default_dtype())
        self.p_logit = nn.Parameter(start.repeat(groups))
        self.noise = noise
        self.seeds: tuple[int, ...] | None = None
        """Of the random numbers of each item of a batch; None for torch's random state, as in training."""

    @property
    def probability(self) -> Tensor:
        """Probability p of every group, shape (groups,)."""
        return torch.sigmoid(self.p_logit)

    def forward(self, x: Tensor) -> Tensor:
        """Drop features of x, shape (batch, npix, groups * features)."""
        if not self.training:
            return x
        x = x.to(self.p_logit.dtype)  # from bfloat16, too coarse for random numbers, in mixed precision
        return self.dropped(x, uniform_numbers(x if self.noise == "pixel" else x[:, :1], seeds=self.seeds))

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
        if _is_compiled(x, uniform) and not torch.is_grad_enabled():  # nothing is to be kept
            return _drop_only(x.contiguous(), torch.exp(log_odds), 1 / (1 - p), uniform.contiguous())
        result: Tensor = _Drop.apply(x, log_odds, 1 / (1 - p), uniform)  # type: ignore[no-untyped-call]
        return result

    def regularisation(self, squares: Tensor, *, features: int, weight: float, dropout: float) -> Tensor:
        """Return what the loss is to be increased by for the layer behind this dropout.

        weight * sum(kernel^2) / (1 - p) + dropout * features * [p ln p + (1 - p) ln(1 - p)], over all groups.

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
    """x (1 - z) / (1 - p), of which x and 1 - z are kept for the derivative, and nothing in between.

    With v = p u / [(1 - p) (1 - u)], 1 - z is 1 / (1 + v^(1 / t)), and v^(1 / t) is v sqrt(v).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, log_odds: Tensor, scale: Tensor, uniform: Tensor) -> Tensor:
        ctx.compiled = compiled = _is_compiled(x, uniform)
        if compiled:
            x = x.contiguous()
            y, kept = _drop(x, torch.exp(log_odds), scale, uniform.contiguous())
        else:
            v = (uniform + EPS).div_(1 - uniform + EPS).mul_(torch.exp(log_odds))
            kept = v.mul_(v.sqrt()).add_(1).reciprocal_()
            y = (x * kept).mul_(scale)
        ctx.save_for_backward(x, kept, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, kept, scale = ctx.saved_tensors
        if ctx.compiled:
            of_x, of_scale, towards_odds = _drop_backward(gradient.contiguous(), x, kept, scale)
        else:
            of_x = gradient * kept
            towards = of_x * x  # (batch, npix, features)
            columns = tuple(range(towards.ndim - 1))
            of_x.mul_(scale)
            of_scale = towards.sum(columns)
            towards_odds = towards.mul_(kept - 1).sum(columns)
        return of_x, towards_odds.mul_(scale / TEMPERATURE), of_scale, None


def uniform_numbers(x: Tensor, *, seeds: Sequence[int] | None = None) -> Tensor:
    """Return numbers from 0 to below 1 of the shape, kind and place of x.

    On a CPU, what follows from one number for every element is found faster than torch draws them, and in
    several threads.

    Parameters
    ----------
    x
        Shape (batch, ..., features), of which the numbers are not used.
    seeds
        From 0 to below 2^63, one for each item of the batch, whose numbers then follow from nothing else;
        None for torch's random state.

    Raises
    ------
    ValueError
        If there are not as many seeds as items.
    """
    if seeds is not None and len(seeds) != len(x):
        raise ValueError(f"{len(seeds)} seeds: a batch of {len(x)} needs one for each of its items")
    if x.device.type != "cpu":
        return torch.rand_like(x) if seeds is None else _drawn_elsewhere(x, seeds)
    out = torch.empty(x.shape, dtype=x.dtype)
    if seeds is None:
        items, seeds = [_wide(out)], [int(torch.randint(2**62, (1,)))]
    else:
        items = [_wide(item) for item in out]
    for rows, seed in zip(items, seeds, strict=True):
        over_rows(partial(_fill_uniform, rows, seed), len(rows))
    return out


def _drawn_elsewhere(x: Tensor, seeds: Sequence[int]) -> Tensor:
    """Return uniform numbers where x is, drawn by torch from a seed for each item."""
    items = [
        torch.rand(
            item.shape,
            generator=torch.Generator(x.device).manual_seed(seed),
            dtype=x.dtype,
            device=x.device,
        )
        for item, seed in zip(x, seeds, strict=True)
    ]
    return torch.stack(items)


def _is_compiled(x: Tensor, uniform: Tensor) -> bool:
    """Return whether the compiled functions can drop features of x."""
    return x.device.type == "cpu" and uniform.shape == x.shape


def _drop_only(x: Tensor, odds: Tensor, scale: Tensor, uniform: Tensor) -> Tensor:
    """Return x (1 - z) / (1 - p)."""
    y = torch.empty_like(x)
    given: list[Any] = [_wide(each) for each in (x, uniform, y)] + [odds.numpy(), scale.numpy()]
    over_rows(partial(_drop_rows_only, *given), len(given[0]))
    return y


def _drop(x: Tensor, odds: Tensor, scale: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Return x (1 - z) / (1 - p) and 1 - z."""
    y, kept = torch.empty_like(x), torch.empty_like(x)
    given: list[Any] = [_wide(each) for each in (x, uniform, y, kept)] + [odds.numpy(), scale.numpy()]
    over_rows(partial(_drop_rows, *given), len(given[0]))
    return y, kept


def _drop_backward(gradient: Tensor, x: Tensor, kept: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the derivative by x, and sums over rows of g x (1 - z) and -g x (1 - z) z."""
    of_x = torch.empty_like(x)
    given: list[Any] = [_wide(each) for each in (gradient, x, kept, of_x)]
    rows, features = given[0].shape
    # sums of a fixed number of rows first: the same with any number of threads, and rounded less
    sums = torch.zeros(2, -(-rows // _CHUNK), features, dtype=x.dtype)
    given += [sums.numpy(), scale.numpy()]
    over_rows(partial(_undrop_rows, *given), rows, step=_CHUNK)
    of_scale, towards_odds = sums.sum(1)
    return of_x, of_scale, towards_odds


def _wide(x: Tensor) -> Array:
    array: Array = x.view(-1, x.shape[-1]).numpy()
    return array


@numba.njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy", boundscheck=False)
def _drop_rows_only(  # noqa: PLR0917 (compiled)
    x: Array, uniform: Array, y: Array, odds: Array, scale: Array, first: int, last: int
) -> None:
    one, eps = x.dtype.type(1), x.dtype.type(EPS)
    for row in range(first, last):
        for f in range(x.shape[1]):
            u = uniform[row, f]
            v = odds[f] * (u + eps) / ((one - u) + eps)
            y[row, f] = x[row, f] * (one / (one + v * np.sqrt(v))) * scale[f]


@numba.njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy", boundscheck=False)
def _drop_rows(  # noqa: PLR0917 (compiled)
    x: Array, uniform: Array, y: Array, kept: Array, odds: Array, scale: Array, first: int, last: int
) -> None:
    one, eps = x.dtype.type(1), x.dtype.type(EPS)
    for row in range(first, last):
        for f in range(x.shape[1]):
            u = uniform[row, f]
            v = odds[f] * (u + eps) / ((one - u) + eps)
            kept[row, f] = one / (one + v * np.sqrt(v))
            y[row, f] = x[row, f] * kept[row, f] * scale[f]


@numba.njit(nogil=True, cache=True, fastmath={"contract"}, error_model="numpy", boundscheck=False)
def _undrop_rows(  # noqa: PLR0917 (compiled)
    gradient: Array, x: Array, kept: Array, of_x: Array, parts: Array, scale: Array, first: int, last: int
) -> None:
    one = x.dtype.type(1)
    for row in range(first, last):
        part = row // _CHUNK
        for f in range(x.shape[1]):
            towards = gradient[row, f] * kept[row, f]
            of_x[row, f] = towards * scale[f]
            towards *= x[row, f]
            parts[0, part, f] += towards
            parts[1, part, f] += towards * (kept[row, f] - one)


@numba.njit(nogil=True, cache=True, error_model="numpy", boundscheck=False)
def _fill_uniform(out: Array, seed: int, first: int, last: int) -> None:
    """Fill rows with numbers that are scrambled from a seed, the row and the column.

    A row has the 64 bits of splitmix64 (Steele, Lea & Flood 2014, doi:10.1145/2714064.2660195); a column's
    32 bits follow from them by a mixer of low bias (Wellons 2018, nullprogram.com/blog/2018/07/31). The upper
    24 bits make a number.
    """
    step = out.dtype.type(2.0**-24)
    for row in range(first, last):
        z = np.uint64(seed) + np.uint64(row + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        low, high = np.uint32(z & np.uint64(0xFFFFFFFF)), np.uint32(z >> np.uint64(32))
        for f in range(out.shape[1]):
            bits = np.uint32(low + np.uint32(f) * np.uint32(0x9E3779B9))  # products have 64 bits
            bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D))
            bits = np.uint32((bits ^ high ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
            bits ^= bits >> np.uint32(16)
            out[row, f] = np.int32(bits >> np.uint32(8)) * step


def count_on(network: nn.Module) -> nn.Module:
    """Return a network in the state for use, but for its dropout, which stays active."""
    network.eval()
    for module in network.modules():
        if isinstance(module, ConcreteDropout):
            module.train()
    return network
