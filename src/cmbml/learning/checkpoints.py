"""What a checkpoint of a training holds, and whether it fits what is asked for.

A checkpoint is a mapping of plain values and tensors, so that it loads without running any code:

=============== ==================================================================================
`format`        number of this layout
`version`       of cmbml
`network`       `factory` and `arguments`, see `cmbml.learning.networks.NetworkSpec`
`weights`       of the network to use, by name
`unaveraged`    weights that the training goes on with where those to use are a moving average; or None
`settings`      of the training, in JSON's types
`facts`         what the network was trained on: channels, fields, beam, nside, transforms, seeds, ...
`epoch`         epochs done
`history`       one mapping per epoch: `epoch`, `step`, `train_loss`, `valid_loss`, `lr`, `seconds`, and of a
                network with regularisers `penalty`, their part in the loss
`stopped`       why the training ended, "" while it goes on
`zero_loss`     validation loss of an output of zeros, without regularisers
`optimiser`     state of the optimiser
`schedule`      batches done, which is all that the learning rate depends on
`rng`           `seed` and number of the next epoch: every random number is drawn anew from them
=============== ==================================================================================
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

import cmbml
from cmbml.datasets.checkpoint import write_checkpoint
from cmbml.datasets.training_folder import COMPLETE
from cmbml.learning.networks import NetworkSpec, load_weights

FORMAT = 1

KEYS = (
    "format",
    "version",
    "network",
    "weights",
    "unaveraged",
    "settings",
    "facts",
    "epoch",
    "history",
    "stopped",
    "zero_loss",
    "optimiser",
    "schedule",
    "rng",
)

COLUMNS = ("epoch", "step", "train_loss", "valid_loss", "lr", "seconds")
"""What the history says of every epoch."""


def versions() -> dict[str, Any]:
    """Return what a checkpoint says of the code that wrote it."""
    return {"format": FORMAT, "version": cmbml.__version__}


def to_plain(value: Any) -> Any:
    """Return a value with its tensors on the CPU, apart from those that the training goes on to change."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)  # in its own layout: sums may depend on it
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    return value


def fixed_checkpoint(
    spec: NetworkSpec, weights: Mapping[str, torch.Tensor], *, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a network from elsewhere as the checkpoint of a complete training, of which no more is known.

    Parameters
    ----------
    spec
        The network.
    weights
        By name, in single precision.
    facts
        What it was trained on.

    Raises
    ------
    ValueError
        If the network cannot be built, or the weights do not fit it.
    """
    checkpoint = {
        **versions(),
        "network": {"factory": spec.factory, "arguments": to_plain(dict(spec.arguments))},
        "weights": to_plain(weights),
        "unaveraged": None,
        "settings": {"precision": "32"},
        "facts": to_plain(dict(facts)),
        "epoch": 0,
        "history": [],
        "stopped": COMPLETE[0],
        "zero_loss": None,
        "optimiser": {},
        "schedule": {"batches": 0},
        "rng": {},
    }
    build_network(checkpoint)
    return checkpoint


def keep_fixed(checkpoint: Mapping[str, Any], directory: Path) -> None:
    """Write a checkpoint that no training goes on from, as the best and the last one of a folder."""
    write_checkpoint(directory, checkpoint, ("best", "last"))


def check_is_checkpoint(checkpoint: Mapping[str, Any]) -> None:
    """Refuse what is no checkpoint of a training, or one of another layout.

    Raises
    ------
    ValueError
        If entries are missing, or the format is another.
    """
    missing = [key for key in KEYS if key not in checkpoint]
    if missing:
        raise ValueError(f"this is no checkpoint of a training: it lacks {', '.join(missing)}")
    if checkpoint["format"] != FORMAT:
        raise ValueError(
            f"checkpoint of format {checkpoint['format']} (cmbml {checkpoint['version']}); this version "
            f"reads format {FORMAT}: use the version that wrote it, or train anew"
        )


def check_checkpoint(checkpoint: Mapping[str, Any], expected_facts: Mapping[str, Any]) -> None:
    """Refuse a checkpoint that was trained on something else than it is to be used for.

    Parameters
    ----------
    checkpoint
        See this module's description.
    expected_facts
        What must agree, by name; facts that the checkpoint has beyond them may be anything.

    Raises
    ------
    ValueError
        If a fact differs; says for each which it was and which is asked for.
    """
    check_is_checkpoint(checkpoint)
    problems = fact_differences(checkpoint["facts"], expected_facts)
    if problems:
        raise ValueError(
            "the checkpoint does not fit: "
            + "; ".join(problems)
            + "; use what it was trained on, or train anew"
        )


def fact_differences(trained: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return a sentence for every fact that is not as wanted."""
    return [
        _difference(name, trained.get(name), value)
        for name, value in wanted.items()
        if to_plain(trained.get(name)) != to_plain(value)
    ]


def _difference(name: str, trained: Any, wanted: Any) -> str:
    was, now = to_plain(trained), to_plain(wanted)
    if not (isinstance(was, list) and isinstance(now, list)):
        return f"{name}: trained with {was}, asked for {now}"
    missing, unknown = (
        [str(item) for item in one if item not in other] for one, other in ((was, now), (now, was))
    )
    notes = [f"{', '.join(missing)} missing"] * bool(missing) + [
        f"{', '.join(unknown)} unknown to it"
    ] * bool(unknown)
    return f"{name}: trained with {was}, asked for {now} ({'; '.join(notes) or 'in another order'})"


def build_network(checkpoint: Mapping[str, Any]) -> nn.Module:
    """Return the network of a checkpoint, with its weights, for use and not for training.

    Raises
    ------
    ValueError
        If it is no checkpoint, its network cannot be built, or the weights do not fit it.
    """
    check_is_checkpoint(checkpoint)
    spec = NetworkSpec(checkpoint["network"]["factory"], checkpoint["network"]["arguments"])
    with torch.random.fork_rng(devices=[]):  # drawn weights are replaced: leave the random state alone
        network = spec.build()
    if checkpoint["settings"]["precision"] == "64":
        network.double()
    load_weights(network, checkpoint["weights"])
    return network.eval().requires_grad_(False)


def history_rows(checkpoint: Mapping[str, Any]) -> list[dict[str, float]]:
    """Return one row per epoch: epoch, optimiser steps, losses, learning rate, seconds.

    Losses are means over the skies of a split, in the scaled unit of the target; a validation loss is NaN
    where there is no validation split.
    """
    return [{name: row[name] for name in COLUMNS} for row in checkpoint["history"]]
