"""Networks by name and arguments, so that a file can say which one it holds the weights of."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol, get_type_hints, runtime_checkable

from torch import Tensor, nn


@runtime_checkable
class Regularised(Protocol):
    """A network that says what its weights cost, whatever the skies."""

    def regularisation(self) -> Tensor:
        """Return a scalar with a gradient, which is added to the loss of every sky."""


def regularisation(network: nn.Module) -> Tensor | None:
    """Return what is added to the loss of every sky; None if the network has nothing of the kind.

    Raises
    ------
    ValueError
        If it is no scalar.
    """
    if not isinstance(network, Regularised):
        return None
    cost = network.regularisation()
    if cost.ndim:
        raise ValueError(
            f"network {type(network).__name__}: regularisation() has shape {tuple(cost.shape)}, it must be a "
            "scalar; sum it"
        )
    return cost


@dataclass(frozen=True)
class NetworkSpec:
    """Which network, in plain words.

    Parameters
    ----------
    factory
        "package.module:name" of a class of networks, or of a function annotated to return one.
    arguments
        Keyword arguments of the factory: numbers, strings, lists and mappings of them. The network they give
        maps (batch, n_features, ...) to (batch, n_outputs, ...).
    how
        Further arguments that tell how the network computes, not what: a checkpoint does not name them, and a
        training may go on with others.
    """

    factory: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    how: Mapping[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        """Return the network with weights that torch's random state draws.

        Raises
        ------
        ValueError
            If there is no such factory, it makes no network, or does not take the arguments.
        """
        make = _factory(self.factory)
        try:
            return make(**self.arguments, **self.how)
        except TypeError as error:
            raise ValueError(f"network {self.factory} with {dict(self.arguments)}: {error}") from error


def _factory(name: str) -> Callable[..., nn.Module]:
    """Return a factory of networks by its name.

    A checkpoint from elsewhere names its factory, so that nothing but a factory of networks is called.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"network {name!r}: not found ({error}); name it as package.module:name, and install its package"
        ) from error
    made = found if inspect.isclass(found) else _return_type(found)
    if not (inspect.isclass(made) and issubclass(made, nn.Module)):
        raise ValueError(
            f"network {name!r}: is neither a torch.nn.Module nor a function annotated to return one; "
            "annotate it"
        )
    make: Callable[..., nn.Module] = found
    return make


def _return_type(found: Any) -> Any:
    try:
        return get_type_hints(found).get("return")
    except TypeError:  # nothing that has annotations
        return None


def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Fill a network with weights.

    Raises
    ------
    ValueError
        If names or shapes of the weights are not those of the network; says which.
    """
    own = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    problems = [
        *(f"{name} is missing" for name in own if name not in given),
        *(f"{name} is not in the network" for name in given if name not in own),
        *(
            f"{name} has shape {given[name]}, the network needs {own[name]}"
            for name in own
            if name in given and own[name] != given[name]
        ),
    ]
    if problems:
        shown = "; ".join(problems[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise ValueError(
            f"weights do not fit the network: {shown}; build it as the checkpoint says, or train anew"
        )
    network.load_state_dict(dict(weights))
