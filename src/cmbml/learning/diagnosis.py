"""Where a training broke: the first layer that makes of finite numbers one that is not.

Nothing of this is done while all is well. When a loss or a gradient is not finite, the batch goes through the
network once more, with every layer watched.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cmbml.learning.losses import sky_losses
from cmbml.learning.networks import regularisation
from cmbml.learning.samples import Skies
from cmbml.learning.settings import TrainingSettings

_PACKED = (dict, list, tuple)
"""What a layer may return its tensors in."""


def where_not_finite(network: nn.Module, features: Tensor, losses: Tensor) -> str:
    """Return where the numbers of a batch are no longer finite, in words.

    Parameters
    ----------
    network
        In the state in which it failed; with the gradients that it was left with, if it has come to them.
    features
        Of the batch.
    losses
        Of its skies.
    """
    if not _is_finite(features):
        return "the features of the skies are not finite themselves"
    called, broken = _watched_forward(network, features)
    if broken is not None:
        return f"first layer whose output is not finite: {_described(network, broken)}"
    cost = regularisation(network)
    if cost is not None and not _is_finite(cost):
        return f"regularisation() of the network is {cost.item()}"
    if not _is_finite(losses):
        return "the network's output is finite, so that target or weights are not, or are too large"
    return _where_backward(network, called)


@torch.no_grad()
def where_skies_fail(network: nn.Module, skies: Skies, settings: TrainingSettings) -> str:
    """Return where the numbers of the first sky whose loss is not finite break, in words.

    Parameters
    ----------
    network
        In whichever state; it is put into that for use.
    skies
        Of one split.
    settings
        Of the training, whose precision is used.
    """
    place = next(network.eval().parameters())
    mixed = settings.precision == "bf16-mixed"
    with torch.autocast(place.device.type, torch.bfloat16, enabled=mixed):
        for number in range(len(skies)):
            features, target, weights = (part[None].to(place.device, place.dtype) for part in skies[number])
            losses = sky_losses(network.forward(features), target, weights, settings=settings)
            if not _is_finite(losses):
                return f"sky {number} of the split: {where_not_finite(network, features, losses)}"
    cost = regularisation(network)
    if cost is not None and not _is_finite(cost):
        return f"regularisation() of the network is {cost.item()}"
    return "no sky by itself makes it so"


def random_state(device: torch.device) -> list[Tensor]:
    """Return the state of torch's random numbers, on the CPU and on a GPU where that computes."""
    cpu = torch.get_rng_state()
    return [cpu, torch.cuda.get_rng_state(device)] if device.type == "cuda" else [cpu]


def set_random_state(states: list[Tensor], device: torch.device) -> None:
    """Set what `random_state` has returned."""
    torch.set_rng_state(states[0])
    for state in states[1:]:
        torch.cuda.set_rng_state(state, device)


def _watched_forward(network: nn.Module, features: Tensor) -> tuple[list[nn.Module], nn.Module | None]:
    """Return the layers in the order in which they end, and the first whose output is not finite."""
    called: list[nn.Module] = []
    broken: list[nn.Module] = []

    def watch(layer: nn.Module, _: Any, output: Any) -> None:
        called.append(layer)
        if not broken and not all(map(_is_finite, _tensors(output))):
            broken.append(layer)

    with _hooked(network, watch), torch.no_grad():
        watch(network, None, network.forward(features))  # not by a call, which may be compiled
    return called, broken[0] if broken else None


@contextmanager
def _hooked(network: nn.Module, watch: Any) -> Iterator[None]:
    handles = [
        layer.register_forward_hook(watch, always_call=False)
        for layer in network.modules()
        if layer is not network
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _where_backward(network: nn.Module, called: list[nn.Module]) -> str:
    """Return where the way back from a finite loss broke: at the last layer, for that is its direction."""
    learnt = [layer for layer in called if _gradients(layer)]
    for layer in reversed(learnt):
        if not all(map(_is_finite, _gradients(layer))):
            return (
                f"outputs are finite; the way back from the loss broke at {_described(network, layer)}, the "
                "last layer whose gradient is not finite"
            )
    if not learnt:
        return "no layer has a gradient"
    largest = max(learnt, key=lambda layer: max(float(grad.abs().max()) for grad in _gradients(layer)))
    return (
        "outputs and gradients are finite, but not the norm of the gradients, of which the largest is in "
        f"{_described(network, largest)}"
    )


def _gradients(layer: nn.Module) -> list[Tensor]:
    """Return the gradients of the layer's own parameters."""
    return [weights.grad for weights in layer.parameters(recurse=False) if weights.grad is not None]


def _described(network: nn.Module, layer: nn.Module) -> str:
    names = {id(found): name for name, found in network.named_modules()}
    return f"{names[id(layer)] or 'the network itself'} ({type(layer).__name__})"


def _tensors(output: Any) -> list[Tensor]:
    if isinstance(output, Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output
    return [tensor for part in parts for tensor in _tensors(part)] if isinstance(output, _PACKED) else []


def _is_finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())
