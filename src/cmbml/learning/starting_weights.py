"""Weights of another network to begin a training from."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from cmbml.datasets.checkpoint import tensors_digest

LISTED = 5
"""Most names that an error message lists."""


@dataclass(frozen=True)
class StartingWeights:
    """What a network takes over from another one before its training begins.

    Parameters
    ----------
    weights
        Of the other network, by name: entry `weights` of its checkpoint.
    fresh
        Beginnings of names, such as "final_variance", of weights that may stay as they are drawn. Those that
        the other network has and that fit are taken nevertheless.
    renamed
        By the beginning of names in the other network, the one in this network: {"final_conv": "mu_conv"}.
    """

    weights: Mapping[str, Tensor]
    fresh: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)

    def named(self) -> dict[str, Tensor]:
        """Return the weights by their names in this network.

        Raises
        ------
        ValueError
            If two of them are given one name.
        """
        named = {self._name(name): weights for name, weights in self.weights.items()}
        if len(named) < len(self.weights):
            raise ValueError(
                f"renamed {dict(self.renamed)}: gives two of the weights to start from one name; leave out "
                "the other one"
            )
        return named

    def digest(self) -> str:
        """Return the hash of what is taken over, and of what may stay as it is drawn."""
        return tensors_digest(self.named(), *sorted(self.fresh))

    def fill(self, network: nn.Module) -> None:
        """Replace the weights of a network, its buffers included, by those that are to be taken over.

        Raises
        ------
        ValueError
            If a weight is missing, has another shape, or is not in the network, and may not stay as it is
            drawn; lists them.
        """
        given, own = self.named(), dict(network.state_dict())
        misfits = _misfits(own, given)
        problems = [text for name, text in misfits.items() if not self._may_stay(name)]
        if problems:
            more = f"; and {len(problems) - LISTED} more" if len(problems) > LISTED else ""
            raise ValueError(
                f"weights to start from do not fit the network: {'; '.join(problems[:LISTED])}{more}. Take "
                "those of a network that differs in nothing else, rename them (renamed), or let them be "
                "drawn (fresh)"
            )
        fitting = {name: weights for name, weights in given.items() if name not in misfits}
        network.load_state_dict({**own, **fitting})

    def _name(self, name: str) -> str:
        for old, new in self.renamed.items():
            if _begins(name, old):
                return new + name.removeprefix(old)
        return name

    def _may_stay(self, name: str) -> bool:
        return any(_begins(name, beginning) for beginning in self.fresh)


def _begins(name: str, beginning: str) -> bool:
    return name == beginning or name.startswith(f"{beginning}.")


def _misfits(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, str]:
    """Return, by the name of every weight that cannot be taken over, why not."""
    shapes = {name: (tuple(given[name].shape), tuple(own[name].shape)) for name in own if name in given}
    return {
        **{name: f"{name} is missing" for name in own if name not in given},
        **{
            name: f"{name} has shape {theirs}, the network needs {ours}"
            for name, (theirs, ours) in shapes.items()
            if theirs != ours
        },
        **{name: f"{name} is not in the network" for name in given if name not in own},
    }
