"""The networks that clean: the published U-Net alone, and one that corrects a reference channel.

The second has the U-Net of the first inside, between convolutions at full resolution. What it returns is

    y = a x_ref + b + sum_i u_i(x) x_i,

x_ref the reference channel, x_i the differences of the other channels from it, and u_i maps
of weights that the U-Net makes of the differences: an internal linear combination whose weights vary over the
sky and are learnt. The CMB cancels in every x_i, so that u cannot know it, and its part of y is
that of x_ref.

References
----------
Wang et al. 2022, ApJS 260, 13, arXiv:2204.01820, section 3.2: the U-Net.
Basak, S. & Delabrouille, J. 2012, MNRAS 419, 1163, arXiv:1106.5383, equations 8-12: a linear combination
with weights that vary over the sky.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cmbml.pipelines.cmbnncs.network import UNet, UNetDescription, published_unet


def published_network(*, in_channels: int, out_channels: int, depth: int, max_filters: int) -> UNet:
    """Return the U-Net as it was published: planes of the channels in, planes of the CMB out."""
    return UNet(
        published_unet(depth, in_channels=in_channels, out_channels=out_channels, max_filters=max_filters)
    )


def correcting_network(
    *,
    fields: Sequence[int],
    depth: int,
    filters: int,
    max_filters: int,
    gains: Sequence[Sequence[float]],
    batch_norm: bool,
    compress: bool,
) -> "CorrectingNetwork":
    """Return a network that corrects the first features, those of the reference channel.

    Parameters
    ----------
    fields
        Of each feature, the number of the output it belongs to; the first ones are the reference's, 0, 1, ...
    depth
        Steps down, and up, of the U-Net inside.
    filters, max_filters
        Features at full resolution and after its first step; they double at every step up to the second.
    gains
        By output, a and b: what the reference's scaled field is worth in the scale of the output.
    batch_norm
        Whether the U-Net normalises over the batch.
    compress
        Whether the U-Net sees asinh of the features, so that the plane of the Galaxy does not drown the rest.
    """
    description = UNetDescription(
        filters,
        filters,
        tuple(min(filters * 2**step, max_filters) for step in range(depth)),
        down_kernels=(4,) * depth,
        up_kernels=(4,) * depth,
        batch_norm=batch_norm,
    )
    return CorrectingNetwork(description, tuple(fields), tuple(map(tuple, gains)), compress=compress)


class CorrectingNetwork(nn.Module):
    """See `correcting_network` and the description of this module.

    Weights begin at zero, so that an untrained network returns the reference channel.

    Parameters
    ----------
    description
        Of the U-Net inside; as many channels in as out.
    fields
        Of each feature, the number of its output.
    gains
        By output, factor and offset of the reference.
    compress
        Whether the U-Net sees asinh of the features.

    Raises
    ------
    ValueError
        If the first features are not one per output, or there are none beyond.
    """

    selection: Tensor
    gain: Tensor
    offset: Tensor

    def __init__(
        self,
        description: UNetDescription,
        fields: tuple[int, ...],
        gains: tuple[tuple[float, ...], ...],
        *,
        compress: bool,
    ) -> None:
        super().__init__()
        n_outputs, n_differences, width = len(gains), len(fields) - len(gains), description.in_channels
        if fields[:n_outputs] != tuple(range(n_outputs)) or n_differences < 1:
            raise ValueError(
                f"fields {list(fields)}: the first {n_outputs} are those of the reference, "
                f"{list(range(n_outputs))}, and differences follow"
            )
        self.compress = compress
        self.head = nn.Sequential(nn.Conv2d(n_differences, width, 3, padding=1), nn.PReLU())
        self.unet = UNet(description)
        self.tail = nn.Sequential(nn.Conv2d(2 * width, width, 3, padding=1), nn.PReLU())
        self.weights = nn.Conv2d(width, n_differences, 1)
        nn.init.zeros_(self.weights.weight)
        nn.init.zeros_(self.weights.bias)  # type: ignore[arg-type]
        belongs = [[float(field == number) for field in fields[n_outputs:]] for number in range(n_outputs)]
        self.register_buffer("selection", torch.tensor(belongs), persistent=False)
        for name, column in zip(("gain", "offset"), zip(*gains, strict=True), strict=True):
            self.register_buffer(name, torch.tensor(column).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, planes: Tensor) -> Tensor:
        """Return the corrected reference.

        Parameters
        ----------
        planes
            Shape (batch, n_features, rows, columns), the reference first.

        Returns
        -------
        torch.Tensor
            Shape (batch, n_outputs, rows, columns).
        """
        n_outputs = len(self.selection)
        reference, differences = planes[:, :n_outputs], planes[:, n_outputs:]
        full = self.head(torch.asinh(differences) if self.compress else differences)
        weights = self.weights(self.tail(torch.cat([full, self.unet(full)], dim=1)))
        correction = torch.einsum("of,bfrc->borc", self.selection, weights * differences)
        corrected: Tensor = self.gain * reference + self.offset + correction
        return corrected
