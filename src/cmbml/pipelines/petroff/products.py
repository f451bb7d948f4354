"""Chebyshev polynomials of a graph's matrix times features: compiled, and with a derivative of its own.

For a matrix L, features x and kernels W_k the product is

    y = sum_k T_k(L) x W_k,   T_0 = 1, T_1 = L, T_k = 2 L T_{k-1} - T_{k-2}.

L is symmetric, so that with g = dloss/dy

    dloss/dx = sum_k T_k(L) g W_k^T,   dloss/dW_k = x^T T_k(L) g:

both need T_k(L) g only. Of the forward pass nothing but x is kept, and no T_k is held longer than the
recursion needs it, so that memory does not grow with the order. A product that makes few features of many
is summed by Clenshaw's recursion, in which L is applied to the few,

    b_k = x W_k + 2 L b_{k+1} - b_{k+2},   y = x W_0 + L b_1 - b_2.

On a CPU, L is run through as a table of nine entries per row, all features of a pixel at once. Elsewhere it
is a sparse matrix of torch's.

References
----------
Defferrard, Bresson & Vandergheynst 2016, arXiv:1606.09375, equation 4 (Chebyshev convolution).
Clenshaw 1955, Mathematical Tables and Other Aids to Computation 9, 118 (its summation).
"""

import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from cmbml.pipelines.petroff.graph import SphereGraph
from cmbml.pipelines.petroff.rows import over_rows

Array = NDArray[Any]

_BLOCK = 24
"""Columns of a product with kernels of several groups at once: zeros between cost less than many calls."""


def chebyshev(x: Tensor, kernel: Tensor, graph: SphereGraph) -> Tensor:
    """Return sum_k T_k(L) x W_k, group by group.

    Parameters
    ----------
    x
        Shape (batch, npix, groups * n_in), NESTED, the features of a group together.
    kernel
        Shape (order, groups, n_in, n_out), order at least 1.
    graph
        The matrix L, scaled so that its spectrum lies within [-1, 1].

    Returns
    -------
    torch.Tensor
        Shape (batch, npix, groups * n_out), in the kernel's precision, also where torch mixes precisions.

    Raises
    ------
    ValueError
        If x has another number of pixels or of features.
    """
    _, groups, n_in, _ = kernel.shape
    if x.shape[1:] != (graph.npix, groups * n_in):
        raise ValueError(
            f"features of shape {tuple(x.shape)}: a graph of nside {graph.nside} and {groups} groups of "
            f"{n_in} features need (batch, {graph.npix}, {groups * n_in})"
        )
    with unmixed(x):
        result: Tensor = _Chebyshev.apply(x.to(kernel.dtype).contiguous(), kernel, graph)  # type: ignore[no-untyped-call]
    return result


def unmixed(x: Tensor) -> torch.autocast:
    """Return a context in which torch computes in the precision of what it is given."""
    return torch.autocast(x.device.type, enabled=False)


class _Chebyshev(Function):
    """The product and its derivative, see this module's description."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, graph: SphereGraph) -> Tensor:
        ctx.save_for_backward(x, kernel)
        ctx.graph = graph
        return _product(x, kernel, graph)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, kernel = ctx.saved_tensors
        wanted_x, wanted_kernel, _ = ctx.needs_input_grad
        of_x = torch.zeros_like(x) if wanted_x else None
        of_kernel = torch.zeros_like(kernel) if wanted_kernel else None
        blocks = _blocks(kernel.transpose(2, 3))
        with unmixed(x):
            for k, term in enumerate(_terms(gradient.contiguous(), ctx.graph, len(kernel))):
                if of_x is not None:
                    _add_product(of_x, term, blocks, k)
                if of_kernel is not None:
                    _add_correlation(of_kernel[k], x, term, blocks)
        return of_x, of_kernel, None


def _product(x: Tensor, kernel: Tensor, graph: SphereGraph) -> Tensor:
    """Return sum_k T_k(L) x W_k, with L applied to features before W or after, whichever are fewer."""
    order, groups, n_in, n_out = kernel.shape
    blocks = _blocks(kernel)
    y = x.new_zeros(*x.shape[:2], groups * n_out)
    if n_out >= n_in:
        for k, term in enumerate(_terms(x, graph, order)):
            _add_product(y, term, blocks, k)
        return y
    before = torch.zeros_like(y)
    _add_product(y, x, blocks, order - 1)  # b_{K-1}, and b_K = 0 before it
    for k in reversed(range(order - 1)):
        before, y = y, _continued(graph, y if k else y.mul_(0.5), before)  # L b_1 - b_2 at the end
        _add_product(y, x, blocks, k)
    return y


def _rows(x: Tensor) -> Tensor:
    """Return the pixels of all skies one below the other, shape (batch * npix, features)."""
    return x.view(-1, x.shape[-1])


def _blocks(kernel: Tensor) -> list[tuple[slice, slice, Tensor]]:
    """Return kernels of a few groups each as matrices with zeros between groups.

    Returns
    -------
    list
        Columns of the input, columns of the output, and a matrix (order, inputs, outputs) for each.
    """
    order, groups, n_in, n_out = kernel.shape
    together = max(1, _BLOCK // max(n_in, n_out))
    blocks = []
    for first in range(0, groups, together):
        last = min(first + together, groups)
        matrix = kernel.new_zeros(order, last - first, n_in, last - first, n_out)
        own = torch.arange(last - first, device=kernel.device)
        matrix[:, own, :, own, :] = kernel[:, first:last].transpose(0, 1)
        blocks.append(
            (
                slice(first * n_in, last * n_in),
                slice(first * n_out, last * n_out),
                matrix.view(order, (last - first) * n_in, (last - first) * n_out),
            )
        )
    return blocks


def _add_product(y: Tensor, x: Tensor, blocks: list[tuple[slice, slice, Tensor]], k: int) -> None:
    """Add x W_k to y."""
    for inside, outside, matrix in blocks:
        _rows(y)[:, outside].addmm_(_rows(x)[:, inside], matrix[k])


def _add_correlation(
    of_kernel: Tensor, x: Tensor, gradient: Tensor, blocks: list[tuple[slice, slice, Tensor]]
) -> None:
    """Add x^T g, group by group, to the derivative by one kernel, shape (groups, n_in, n_out).

    The blocks are those of the transposed kernel, from columns of g to columns of x.
    """
    _, n_in, n_out = of_kernel.shape
    for outside, inside, _ in blocks:
        full = _rows(x)[:, inside].T @ _rows(gradient)[:, outside]
        first, last = inside.start // n_in, inside.stop // n_in
        own = torch.arange(last - first, device=full.device)
        of_kernel[first:last] += full.view(last - first, n_in, last - first, n_out)[own, :, own, :]


def _terms(x: Tensor, graph: SphereGraph, order: int) -> Iterator[Tensor]:
    """Yield T_k(L) x for k < order, each valid until the next one is asked for."""
    yield x
    if order == 1:
        return
    before, last = x, _multiplied(graph, x)
    yield last
    for k in range(2, order):
        before, last = last, _continued(graph, last, before.clone() if k == 2 else before)
        yield last


def _multiplied(graph: SphereGraph, x: Tensor) -> Tensor:
    """Return L x."""
    if _has_table(x):
        return _by_table(_multiply, graph, x, torch.empty_like(x))
    matrix = _sparse(graph, x.device, x.dtype)
    return torch.stack([matrix @ sky for sky in x])


def _continued(graph: SphereGraph, x: Tensor, before: Tensor) -> Tensor:
    """Return 2 L x - before, in the memory of `before`."""
    if _has_table(x):
        return _by_table(_recur, graph, x, before)
    matrix = _sparse(graph, x.device, x.dtype)
    for sky, out in zip(x, before, strict=True):
        out.neg_().add_(matrix @ sky, alpha=2)
    return before


def _has_table(x: Tensor) -> bool:
    return x.device.type == "cpu"


def _by_table(kernel: Callable[..., None], graph: SphereGraph, x: Tensor, out: Tensor) -> Tensor:
    """Run a compiled product over the pixels, sky after sky."""
    source, target = x.detach().numpy(), out.detach().numpy()
    columns, values = _table(graph)

    def work(first: int, last: int) -> None:
        for number in range(len(source)):
            kernel(source[number], target[number], columns, values, first, last)

    over_rows(work, graph.npix)
    return out


@lru_cache(maxsize=64)
def _table(graph: SphereGraph) -> tuple[Array, Array]:
    """Return columns without a sign, which spares the processor a check, and values."""
    return graph.columns.astype(np.uint32), np.array(graph.values)


@lru_cache(maxsize=64)
def _sparse(graph: SphereGraph, device: torch.device, dtype: torch.dtype) -> Tensor:
    matrix = graph.matrix()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int32)),
            torch.from_numpy(matrix.indices.astype(np.int32)),
            torch.from_numpy(matrix.data),
            size=matrix.shape,
            dtype=dtype,
            device=device,
            check_invariants=True,
        )


@numba.njit(nogil=True, cache=True, fastmath={"contract"}, boundscheck=False)
def _multiply(  # noqa: PLR0917 (compiled)
    source: Array, out: Array, columns: Array, values: Array, first: int, last: int
) -> None:
    """Set rows first ... last - 1 of out to those of L source."""
    width = source.shape[1]
    for p in range(first, last):
        # numbers of its own, not views: the compiler then knows that writing to out does not change them
        c0, c1, c2, c3, c4 = columns[p, 0], columns[p, 1], columns[p, 2], columns[p, 3], columns[p, 4]
        c5, c6, c7, c8 = columns[p, 5], columns[p, 6], columns[p, 7], columns[p, 8]
        v0, v1, v2, v3, v4 = values[p, 0], values[p, 1], values[p, 2], values[p, 3], values[p, 4]
        v5, v6, v7, v8 = values[p, 5], values[p, 6], values[p, 7], values[p, 8]
        for f in range(width):
            out[p, f] = (
                v0 * source[c0, f]
                + v1 * source[c1, f]
                + v2 * source[c2, f]
                + v3 * source[c3, f]
                + v4 * source[c4, f]
                + v5 * source[c5, f]
                + v6 * source[c6, f]
                + v7 * source[c7, f]
                + v8 * source[c8, f]
            )


@numba.njit(nogil=True, cache=True, fastmath={"contract"}, boundscheck=False)
def _recur(  # noqa: PLR0917 (compiled)
    source: Array, out: Array, columns: Array, values: Array, first: int, last: int
) -> None:
    """Set rows first ... last - 1 of out to those of 2 L source - out."""
    width = source.shape[1]
    for p in range(first, last):
        c0, c1, c2, c3, c4 = columns[p, 0], columns[p, 1], columns[p, 2], columns[p, 3], columns[p, 4]
        c5, c6, c7, c8 = columns[p, 5], columns[p, 6], columns[p, 7], columns[p, 8]
        v0, v1, v2, v3, v4 = values[p, 0], values[p, 1], values[p, 2], values[p, 3], values[p, 4]
        v5, v6, v7, v8 = values[p, 5], values[p, 6], values[p, 7], values[p, 8]
        for f in range(width):
            total = (
                v0 * source[c0, f]
                + v1 * source[c1, f]
                + v2 * source[c2, f]
                + v3 * source[c3, f]
                + v4 * source[c4, f]
                + v5 * source[c5, f]
                + v6 * source[c6, f]
                + v7 * source[c7, f]
                + v8 * source[c8, f]
            )
            out[p, f] = total + total - out[p, f]
