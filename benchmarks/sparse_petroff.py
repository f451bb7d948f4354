"""The network of Petroff et al. as one writes it down first: torch's sparse products and derivatives.

One convolution for every channel and layer, as in the code published with the paper. All terms of a
convolution are laid side by side and go through one matrix product.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmbml.pipelines.petroff.cleaner import PetroffNetwork
from cmbml.pipelines.petroff.dropout import EPS, TEMPERATURE
from cmbml.pipelines.petroff.graph import scaled_laplacian
from cmbml.pipelines.petroff.layers import Dropped, pool_largest, repeat_pixels


class SparseLayer(nn.Module):
    """One group of a convolution, or of a linear combination, with dropout of its input.

    Parameters
    ----------
    layer
        Whose weights are copied.
    group
        Which group of it.
    """

    def __init__(self, layer: Dropped, group: int) -> None:
        super().__init__()
        groups = len(layer.dropout.p_logit)
        self.p_logit = nn.Parameter(layer.dropout.p_logit[group].detach().clone())
        self.convolves = hasattr(layer.layer, "nside")
        bias = layer.layer.bias.detach().view(groups, -1)[group]
        self.bias = nn.Parameter(bias.clone())
        if not self.convolves:
            self.weight = nn.Parameter(layer.layer.weight[group].detach().clone())
            return
        kernel = layer.layer.weight[:, group].detach()  # (order, n_in, n_out)
        self.order = len(kernel)
        self.weight = nn.Parameter(kernel.transpose(0, 1).flatten(0, 1).clone())  # (n_in * order, n_out)
        matrix = scaled_laplacian(layer.layer.nside, layer.layer.weighting).matrix().tocoo()
        places = torch.from_numpy(matrix.coords[0]), torch.from_numpy(matrix.coords[1])
        self.laplacian = torch.sparse_coo_tensor(
            torch.stack(places).long(), torch.from_numpy(matrix.data), matrix.shape, check_invariants=True
        ).coalesce()

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer makes of x, shape (batch, npix, n_in)."""
        if self.training:
            x = self.dropped(x)
        if not self.convolves:
            return self.bias + self.weight * x
        batch, npix, n_in = x.shape
        first = x.permute(1, 2, 0).reshape(npix, n_in * batch)
        terms = [first, torch.sparse.mm(self.laplacian, first)][: self.order]
        while len(terms) < self.order:
            terms.append(2 * torch.sparse.mm(self.laplacian, terms[-1]) - terms[-2])
        side_by_side = torch.stack(terms).view(self.order, npix, n_in, batch).permute(3, 1, 2, 0)
        return (side_by_side.reshape(batch * npix, -1) @ self.weight).view(batch, npix, -1) + self.bias

    def dropped(self, x: Tensor) -> Tensor:
        """Return x with features dropped."""
        p, u = torch.sigmoid(self.p_logit), torch.rand_like(x)
        odds = torch.log(p + EPS) - torch.log(1 - p + EPS) + torch.log(u + EPS) - torch.log(1 - u + EPS)
        return x * (1 - torch.sigmoid(odds / TEMPERATURE)) / (1 - p)


class SparseNetwork(nn.Module):
    """The same network with the same weights.

    Parameters
    ----------
    network
        With dropout, largest of four children and linear output, as published.
    """

    def __init__(self, network: PetroffNetwork) -> None:
        super().__init__()
        channels = len(network.sphere.skips[0].layer.weight)
        self.down = nn.ModuleList(
            nn.ModuleList(
                nn.Sequential(SparseLayer(first, group), nn.ELU(), SparseLayer(second, group), nn.ELU())
                for group in range(channels)
            )
            for first, second in network.sphere.down
        )
        self.skips = nn.ModuleList(
            nn.ModuleList(SparseLayer(layer, group) for group in range(channels))
            for layer in network.sphere.skips
        )
        self.up = nn.ModuleList(
            nn.ModuleList([SparseLayer(first, 0), SparseLayer(second, 0)])
            for first, second in network.sphere.up
        )
        self.last = SparseLayer(network.sphere.last, 0)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the CMB and the log of its variance, shape (batch, 2, npix)."""
        features = [channel.unsqueeze(-1) for channel in maps.unbind(1)]
        skipped = []
        for level, (encoders, skips) in enumerate(zip(self.down, self.skips, strict=True)):
            if level:
                features = [pool_largest(x) for x in features]
            features = [encoder(x) for encoder, x in zip(encoders, features, strict=True)]
            skipped.append(sum(skip(x) for skip, x in zip(skips, features, strict=True)))
        y = functional.elu(skipped.pop())
        for first, second in reversed(self.up):
            y = functional.elu(first(repeat_pixels(y)) + skipped.pop())
            y = functional.elu(second(y))
        y = self.last(y)
        return torch.stack([y[..., 0], -y[..., 1]], dim=1)
