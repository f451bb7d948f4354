"""The networks that clean: as published, and one that corrects a reference channel.

The second has the same layers. What it returns as the CMB is

    y = a x_ref + b + sum_i (c_i + u_i(x)) x_i,

x_ref the reference channel, x_i the differences of the other channels from it, c_i a number, and u_i maps of
weights that the layers make of the differences. The CMB cancels in every x_i, so that u cannot know it, and
its part of y is that of x_ref. The log of the variance is the layers' last output.

References
----------
Petroff et al. 2020, ApJ 903, 104, arXiv:2004.11507, section 2: the layers.
Basak, S. & Delabrouille, J. 2012, MNRAS 419, 1163, arXiv:1106.5383, equations 8-12: a linear combination with
weights that vary over the sky.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmbml.pipelines.petroff.network import SphereDescription, SphereNetwork, regularisation_of


class PetroffNetwork(nn.Module):
    """Maps (batch, channels, npix) to (batch, 2, npix): the CMB and the log of its variance; NESTED.

    Parameters
    ----------
    channels, nside, depth, filters, order, initial_dropout, pooling, recompute
        See `cmbml.pipelines.petroff.network.SphereDescription`.
    weight_strength, dropout_strength
        Of the regularisation, see `cmbml.pipelines.petroff.dropout.ConcreteDropout.regularisation`.
    output
        "linear", as published, or "elu", which the last convolution then goes through.
    uncertain
        Whether the log of the variance is an output; without it there is the CMB alone.
    """

    def __init__(
        self,
        *,
        channels: int,
        nside: int,
        depth: int,
        filters: int,
        order: int,
        initial_dropout: float,
        weight_strength: float,
        dropout_strength: float,
        pooling: str,
        output: str,
        uncertain: bool,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.strengths = {"weight": weight_strength, "dropout": dropout_strength}
        self.output = output
        outputs = 2 if uncertain else 1
        self.sphere = SphereNetwork(
            SphereDescription(
                channels, outputs, nside, depth, filters, order, initial_dropout, pooling, recompute
            )
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Return the CMB and the log of its variance."""
        y: Tensor = self.sphere(maps)
        if self.output == "elu":
            y = functional.elu(y)
        # published: the second output is minus the log of the variance
        return y if y.shape[1] == 1 else torch.stack([y[:, 0], -y[:, 1]], dim=1)

    def regularisation(self) -> Tensor:
        """Return what the regularisers add to the loss of a batch."""
        return regularisation_of(self, **self.strengths)


class CorrectingNetwork(nn.Module):
    """Maps (batch, features, npix) to (batch, 2, npix), see the description of this module; NESTED.

    Weights of differences begin at zero, so that an untrained network returns the reference channel.

    Parameters
    ----------
    channels
        Number of features: the reference, and differences from it.
    gains
        a and b: what the reference's scaled map is worth in the scale of the output.
    compress
        Whether the layers see asinh of the differences, so that the plane of the Galaxy does not drown the
        rest.
    nside, depth, filters, order, initial_dropout, pooling, recompute
        As `PetroffNetwork`.
    weight_strength, dropout_strength, uncertain
        As `PetroffNetwork`.

    Raises
    ------
    ValueError
        If there is no difference.
    """

    gain: Tensor

    def __init__(
        self,
        *,
        channels: int,
        gains: Sequence[float],
        compress: bool,
        nside: int,
        depth: int,
        filters: int,
        order: int,
        initial_dropout: float,
        weight_strength: float,
        dropout_strength: float,
        pooling: str,
        uncertain: bool,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        differences = channels - 1
        if differences < 1:
            raise ValueError(
                f"{channels} features: a reference and at least one difference from it are needed"
            )
        self.strengths = {"weight": weight_strength, "dropout": dropout_strength}
        self.compress = compress
        outputs = differences + (1 if uncertain else 0)
        self.sphere = SphereNetwork(
            SphereDescription(
                differences, outputs, nside, depth, filters, order, initial_dropout, pooling, recompute
            )
        )
        last = self.sphere.last.layer
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.common = nn.Parameter(torch.zeros(differences, 1))
        self.register_buffer("gain", torch.tensor([float(value) for value in gains]), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the corrected reference and the log of its variance."""
        reference, differences = features[:, :1], features[:, 1:]
        seen = torch.asinh(differences) if self.compress else differences
        made: Tensor = self.sphere(seen)
        n = differences.shape[1]
        weights = made[:, :n] + self.common
        correction = (weights * differences).sum(1, keepdim=True)
        mean = self.gain[0] * reference + self.gain[1] + correction
        return torch.cat([mean, made[:, n:]], dim=1)

    def regularisation(self) -> Tensor:
        """Return what the regularisers add to the loss of a batch."""
        return regularisation_of(self, **self.strengths)
