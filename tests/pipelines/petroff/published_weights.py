"""Weights in the order of Petroff et al.'s code, brought into networks of ours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmbml.pipelines.petroff.cleaner import PetroffNetwork
from cmbml.pipelines.petroff.layers import Dropped


def convolution_kernel(kernel: Tensor, *, order: int) -> Tensor:
    """Return a kernel with rows feature by feature, orders fast, as (order, 1, n_in, n_out)."""
    return kernel.unflatten(0, (-1, order)).transpose(0, 1).unsqueeze(1)


def fill(network: PetroffNetwork, arrays: Mapping[str, Any], variables: Sequence[Mapping[str, Any]]) -> None:
    """Give every layer of a network the weights stored for it."""
    roles = {variable["layer"]: variable["role"] for variable in variables}
    with torch.no_grad():
        for number, role in roles.items():
            layer, group = _layer(network, role)
            kernel, bias, logit = (
                torch.from_numpy(np.asarray(arrays[f"L{number:03d}__{name}"]))
                for name in ("kernel", "bias", "p_logit")
            )
            layer.dropout.p_logit[group] = logit[0]
            if role.startswith("scale"):
                layer.layer.weight[group], layer.layer.bias[group] = kernel.squeeze(), bias.squeeze()
                continue
            weight = layer.layer.weight
            outputs = weight.shape[-1]
            weight[:, group] = convolution_kernel(kernel, order=len(weight))[:, 0]
            layer.layer.bias[group * outputs : (group + 1) * outputs] = bias.ravel()


def _layer(network: PetroffNetwork, role: str) -> tuple[Dropped, int]:
    """Return the layer of a role such as "down level=1 nside=4 freq=0 conv=2", and the group in it."""
    sphere = network.sphere
    words = dict(word.split("=") for word in role.split() if "=" in word)
    level = int(words.get("level", 0))
    match role.split(maxsplit=1)[0]:
        case "down":
            return sphere.down[level][int(words["conv"]) - 1], int(words["freq"])
        case "up":
            return sphere.up[level][int(words["conv"]) - 1], 0
        case "final":
            return sphere.last, 0
    return sphere.skips[level], int(words["freq"])
