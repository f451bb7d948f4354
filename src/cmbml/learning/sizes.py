"""How large what a network learns from, and what it has learnt, become on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from cmbml.learning.networks import NetworkSpec
from cmbml.learning.settings import TrainingSettings

_ENTRY = 350
"""Bytes of a tensor in a checkpoint beside its numbers: header, name, padding, and its place in the list."""

_RECORDS = 1500
"""Bytes of a checkpoint beside its tensors: settings, facts, and what it says of the file."""

_EPOCH = 80
"""Bytes of an epoch in the history of a checkpoint."""

_STATES = {"adam": 2, "adamw": 2, "sgd": 1}
"""Numbers that an optimiser keeps per weight."""


@dataclass(frozen=True)
class LearningSizes:
    """What sizes of the products of a method that learns follow from.

    Parameters
    ----------
    features, fields
        Number of maps that its network sees of a sky, and that it is to find.
    epochs
        Of the training.
    checkpoints
        Number of checkpoints that are kept beside the best and the last.
    checkpoint_size
        Bytes of each.
    prediction_fields, error_fields
        Number of maps of a prediction that is kept, and of what is told of the errors of a sky; 0 of methods
        that have none.
    fitted_skies
        By split, how many of its skies are predicted only to fit something to them.
    corrections
        By the name of what is fitted to them, its rows in a table.
    """

    features: int
    fields: int
    epochs: int
    checkpoints: int
    checkpoint_size: int
    prediction_fields: int = 0
    error_fields: int = 0
    fitted_skies: Mapping[str, int] = field(default_factory=dict)
    corrections: Mapping[str, int] = field(default_factory=dict)


def checkpoint_size(spec: NetworkSpec, settings: TrainingSettings) -> int:
    """Return the bytes of a checkpoint; the network is laid out for that, but has no memory of its own.

    Parameters
    ----------
    spec
        The network.
    settings
        Of the training: what the optimiser keeps, and whether weights are averaged.

    Raises
    ------
    ValueError
        If the network cannot be built.
    """
    with torch.device("meta"):
        network = spec.build()
    copies = 1 if settings.average is None else 2
    states = _STATES[settings.optimiser.name] + settings.optimiser.amsgrad
    learnt = list(network.parameters())
    tensors = [*network.state_dict().values()] * copies + learnt * states
    numbers: int = sum(value.numel() for value in tensors)
    width = 8 if settings.precision == "64" else 4
    return _RECORDS + _EPOCH * settings.epochs + width * numbers + _ENTRY * len(tensors)
