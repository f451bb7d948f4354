"""Markov chains of parameters, as far as those who draw from them need to know."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class ChainRow:
    """One step of a chain.

    Parameters
    ----------
    index
        The number that the chain itself gives the step.
    values
        By the chain's own names, value of each parameter.
    """

    index: int
    values: Mapping[str, float]


class Chain(Protocol):
    """Steps of a chain, each read when it is asked for."""

    @property
    def length(self) -> int:
        """Number of steps."""

    def row(self, number: int) -> ChainRow:
        """Return one step, counted from 0."""
