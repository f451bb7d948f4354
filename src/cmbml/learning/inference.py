"""Use a trained network."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cmbml.learning.checkpoints import build_network
from cmbml.science.threads import thread_count

_TENSORS = frozenset({"weights", "unaveraged", "optimiser"})
_KEPT = 2
"""How many networks a process keeps: they can be large."""

L = TypeVar("L", bound="CheckpointLoader")
"""Loader of a checkpoint."""

_networks: dict[str, "Trained"] = {}


class CheckpointLoader(Protocol):
    """Loads a checkpoint when it is called, and knows which one."""

    @property
    def fingerprint(self) -> str:
        """Hash of everything that determines what is loaded."""

    def __call__(self) -> Mapping[str, Any]:
        """Load."""


@dataclass(frozen=True)
class Trained:
    """What cleaning needs of a checkpoint; the state of its optimiser, which is larger, is let go.

    Parameters
    ----------
    network
        For use.
    checkpoint
        The checkpoint without its tensors.
    """

    network: nn.Module
    checkpoint: Mapping[str, Any]


def chosen_checkpoint(checkpoints: Mapping[str, L], name: str, *, method: str) -> L:
    """Return the loader of a checkpoint.

    Parameters
    ----------
    checkpoints
        By name, what loads each that was kept.
    name
        The chosen one.
    method
        Whose network it is, for messages.

    Raises
    ------
    ValueError
        If it was not kept; names those that were.
    """
    if name not in checkpoints:
        raise ValueError(
            f"{method}_prediction.checkpoint {name}: not kept; there are {', '.join(checkpoints)}. Choose "
            "one of them, or remove the training's folder and train anew with another "
            f"{method}_training.checkpoint_every or checkpoint_also"
        )
    return checkpoints[name]


def trained(loader: CheckpointLoader) -> Trained:
    """Return the network of a checkpoint and what is said of it, which a process loads once for all skies.

    Raises
    ------
    ValueError
        As `cmbml.learning.checkpoints.build_network`.
    """
    key = loader.fingerprint
    if key not in _networks:
        while len(_networks) >= _KEPT:
            _networks.pop(next(iter(_networks)))
        checkpoint = loader()
        rest = {name: None if name in _TENSORS else value for name, value in checkpoint.items()}
        _networks[key] = Trained(build_network(checkpoint), rest)
    return _networks[key]


def network_of(loader: CheckpointLoader) -> nn.Module:
    """Return the network alone of what `trained` returns."""
    return trained(loader).network


def device_of(accelerator: str) -> torch.device:
    """Return where a network is to compute.

    Parameters
    ----------
    accelerator
        "cpu", "gpu", or "auto" for a GPU where there is one.

    Raises
    ------
    ValueError
        If a GPU is asked for, and torch finds none.
    """
    found = torch.cuda.is_available()
    if accelerator == "gpu" and not found:
        raise ValueError(
            "accelerator gpu: torch finds no GPU here; take cpu or auto, or a torch that is built for the GPU"
        )
    return torch.device("cuda" if found and accelerator != "cpu" else "cpu")


def predict(network: nn.Module, features: NDArray[Any]) -> NDArray[Any]:
    """Return what a network makes of skies.

    As many threads are used as `cmbml.science.threads` says. The last bits may depend on how many skies come
    together, so that one at a time is best where results are to be compared bit for bit.

    Parameters
    ----------
    network
        In the state for use, see `cmbml.learning.checkpoints.build_network`; on any device.
    features
        Shape (batch, n_features, ...), transformed as in training.

    Returns
    -------
    numpy.ndarray
        Shape (batch, n_outputs, ...), in the network's precision.

    Raises
    ------
    ValueError
        If a result is not finite; names the sky's place in the batch.
    """
    weight = next(network.parameters())
    with _threads(), torch.inference_mode():
        given = torch.as_tensor(np.ascontiguousarray(features)).to(weight.device, weight.dtype)
        output = network(given).cpu().numpy()
    finite = np.isfinite(output).all(axis=tuple(range(1, output.ndim)))
    if not finite.all():
        raise ValueError(
            f"sky {int(np.argmin(finite))} of the batch: the network's output is not finite; look for "
            "extreme values in its features, or take another checkpoint"
        )
    return np.asarray(output)


@contextmanager
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(thread_count())
    try:
        yield
    finally:
        torch.set_num_threads(before)
