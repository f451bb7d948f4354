"""The U-Nets of CMBNNCS, of any depth, from one description.

References
----------
Wang et al. 2022, ApJS 260, 13, arXiv:2204.01820, section 3.2: the network with eight steps down and up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

_PADDING = {2: 0, 4: 1, 5: 2}
"""By kernel of stride 2, the padding with which a step halves or doubles the size exactly."""


@dataclass(frozen=True)
class UNetDescription:
    """What a U-Net consists of.

    Parameters
    ----------
    in_channels, out_channels
        Number of fields of input and output.
    filters
        Features after each step down, from the top; as many steps up follow.
    down_kernels, up_kernels
        Width of the convolution kernel of each step, in the order of use: 2, 4 or 5.
    activation, final_activation
        "prelu" (one slope per step), "relu", or "none"; of the last step the second.
    batch_norm, final_batch_norm
        Whether steps are normalised over the batch; the last step by the second.

    Raises
    ------
    ValueError
        If the numbers of kernels and filters differ, or a kernel or activation is none of those above.
    """

    in_channels: int
    out_channels: int
    filters: tuple[int, ...]
    down_kernels: tuple[int, ...]
    up_kernels: tuple[int, ...]
    activation: str = "prelu"
    final_activation: str = "prelu"
    batch_norm: bool = True
    final_batch_norm: bool = False

    def __post_init__(self) -> None:
        depth = len(self.filters)
        if not depth == len(self.down_kernels) == len(self.up_kernels) > 0:
            raise ValueError(
                f"a U-Net of {depth} steps needs {depth} kernels down and up; "
                f"got {len(self.down_kernels)} and {len(self.up_kernels)}"
            )
        unknown = sorted({*self.down_kernels, *self.up_kernels} - set(_PADDING))
        if unknown:
            raise ValueError(f"kernels {unknown}: a step halves or doubles with kernels of 2, 4 or 5")
        for name in (self.activation, self.final_activation):
            if name not in _ACTIVATIONS:
                raise ValueError(f"activation {name!r}: must be one of {', '.join(_ACTIVATIONS)}")


def published_unet(depth: int, *, in_channels: int, out_channels: int, max_filters: int) -> UNetDescription:
    """Return the description of a U-Net as the published code builds it.

    The numbers of filters double from step to step and end at `max_filters`. Kernels are 4 wide, but for
    the last one up, which is 2 (depth 5 and every other but 8), or for the two at the top, down and up,
    which are 5 (depth 8).

    Parameters
    ----------
    depth
        Steps down, and up.
    in_channels, out_channels
        Number of fields of input and output.
    max_filters
        Features at the bottom, a multiple of 2^(depth - 1); published: 512 at depth 5, 2048 at depth 8.

    Raises
    ------
    ValueError
        If `depth` is below 1, or `max_filters` cannot be halved at every step.
    """
    if depth < 1:
        raise ValueError(f"depth {depth}: a U-Net has at least one step")
    if max_filters % 2 ** (depth - 1):
        raise ValueError(
            f"max_filters {max_filters}: must be a multiple of {2 ** (depth - 1)} to be halved at "
            f"each of {depth} steps"
        )
    wide = depth == 8
    return UNetDescription(
        in_channels,
        out_channels,
        tuple(max_filters // 2 ** (depth - 1 - step) for step in range(depth)),
        down_kernels=(5, 5, *[4] * (depth - 2)) if wide else (4,) * depth,
        up_kernels=(*[4] * (depth - 2), 5, 5) if wide else (*[4] * (depth - 1), 2),
    )


def fitting_depths(rows: int, columns: int) -> tuple[int, ...]:
    """Return the depths that a plane allows: every step halves it without remainder."""
    depths: list[int] = []
    while rows % 2 == columns % 2 == 0 and min(rows, columns) > 1:
        rows, columns = rows // 2, columns // 2
        depths.append(len(depths) + 1)
    return tuple(depths)


class UNet(nn.Module):
    """A U-Net on the plane.

    Steps down are convolutions of stride 2, steps up transposed ones; from the second step up on, the
    input is the step down of the same size and the step up before, one after the other.

    Parameters
    ----------
    description
        What it consists of.
    """

    def __init__(self, description: UNetDescription) -> None:
        super().__init__()
        d = description
        widths = (d.in_channels, *d.filters)
        self.down = nn.ModuleList(
            _step(
                nn.Conv2d(a, b, kernel, stride=2, padding=_PADDING[kernel]),
                norm=d.batch_norm,
                activation=d.activation,
            )
            for (a, b), kernel in zip(pairwise(widths), d.down_kernels, strict=True)
        )
        outputs = (*d.filters[-2::-1], d.out_channels)
        inputs = (d.filters[-1], *(2 * width for width in d.filters[-2::-1]))
        last = len(outputs) - 1
        self.up = nn.ModuleList(
            _step(
                _transposed(a, b, kernel),
                norm=d.final_batch_norm if number == last else d.batch_norm,
                activation=d.final_activation if number == last else d.activation,
            )
            for number, (a, b, kernel) in enumerate(zip(inputs, outputs, d.up_kernels, strict=True))
        )

    def forward(self, planes: Tensor) -> Tensor:
        """Return the output planes.

        Parameters
        ----------
        planes
            Shape (batch, in_channels, rows, columns).

        Returns
        -------
        torch.Tensor
            Shape (batch, out_channels, rows, columns).

        Raises
        ------
        ValueError
            If the plane cannot be halved at every step; names the depths that fit.
        """
        rows, columns = planes.shape[-2:]
        depths = fitting_depths(rows, columns)
        if len(self.down) not in depths:
            raise ValueError(
                f"a network of depth {len(self.down)} does not fit a plane of {rows} x {columns} pixels; "
                f"depths that fit: {', '.join(map(str, depths))}"
            )
        kept: list[Tensor] = []
        for step in self.down:
            planes = step(planes)
            kept.append(planes)
        planes = self.up[0](kept.pop())
        for step in list(self.up)[1:]:
            planes = step(torch.cat([kept.pop(), planes], dim=1))
        return planes


def load_published_state(network: UNet, arrays: Sequence[Tensor]) -> None:
    """Fill a network with a published state: its entries in the order of the published code, down then up.

    Raises
    ------
    ValueError
        If number or shapes of the entries do not fit.
    """
    own = network.state_dict()
    wanted, given = ([tuple(value.shape) for value in values] for values in (own.values(), arrays))
    if wanted != given:
        differing = [
            name for name, *shapes in zip(own, wanted, given, strict=False) if shapes[0] != shapes[1]
        ]
        raise ValueError(
            f"a state of {len(given)} entries does not fit the network's {len(wanted)}; shapes first differ "
            f"at {differing[0] if differing else 'the end'}"
        )
    network.load_state_dict(dict(zip(own, arrays, strict=True)))


_ACTIVATIONS = {"prelu": nn.PReLU, "relu": nn.ReLU, "none": nn.Identity}


def _step(convolution: nn.Module, *, norm: bool, activation: str) -> nn.Sequential:
    parts: list[nn.Module] = [convolution]
    if norm:
        parts.append(nn.BatchNorm2d(convolution.out_channels))  # type: ignore[arg-type]
    if activation != "none":
        parts.append(_ACTIVATIONS[activation]())
    return nn.Sequential(*parts)


def _transposed(inputs: int, outputs: int, kernel: int) -> nn.ConvTranspose2d:
    extra = 1 if kernel == 5 else 0  # an odd kernel would give one pixel too few
    return nn.ConvTranspose2d(
        inputs, outputs, kernel, stride=2, padding=_PADDING[kernel], output_padding=extra
    )
