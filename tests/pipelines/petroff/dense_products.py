"""The Chebyshev product as its formula says, with whole matrices: slow, plain, and differentiated by torch."""

import torch
from torch import Tensor

from cmbml.pipelines.petroff.graph import SphereGraph


def dense_chebyshev(x: Tensor, kernel: Tensor, graph: SphereGraph) -> Tensor:
    """Return sum_k T_k(L) x W_k of (batch, npix, groups * n_in) and (order, groups, n_in, n_out)."""
    matrix = torch.from_numpy(graph.matrix().toarray()).to(kernel.dtype)
    before, term = torch.eye(graph.npix, dtype=kernel.dtype), matrix
    x = x.unflatten(-1, kernel.shape[1:3])  # (batch, npix, groups, n_in)
    result = torch.einsum("bpgi,gio->bpgo", x, kernel[0])
    for weights in kernel[1:]:
        result = result + torch.einsum("pq,bqgi,gio->bpgo", term, x, weights)
        before, term = term, 2 * matrix @ term - before
    return result.flatten(2)
