"""When a training ends: what its history of losses tells."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cmbml.learning.settings import TrainingSettings

FAILED = ("diverged", "not_falling")
"""Ends of a training that is given up."""

PAUSED = "max_minutes"
"""End of a training that goes on when it is started again."""


def watched_loss(row: Mapping[str, float]) -> float:
    """Return the loss that decides: of the validation split, or of training where there is none."""
    return row["train_loss"] if math.isnan(row["valid_loss"]) else row["valid_loss"]


def data_loss(row: Mapping[str, float]) -> float:
    """Return the part of the watched loss that comes from the skies, without the network's regularisers.

    They know nothing of what has been learnt, and may be of either sign.
    """
    return watched_loss(row) - row.get("penalty", 0.0)


def best_epoch(history: Sequence[Mapping[str, float]]) -> int:
    """Return the number of the epoch with the lowest loss, the first of several."""
    return int(min(history, key=watched_loss)["epoch"])


def end_of_training(
    history: Sequence[Mapping[str, float]], settings: TrainingSettings, *, zero_loss: float
) -> str:
    """Return why the training ends after the last epoch of its history; "" if it goes on.

    Parameters
    ----------
    history
        Epochs done, at least one.
    settings
        Of the training.
    zero_loss
        Validation loss of an output of zeros, without regularisers.
    """
    losses = [watched_loss(row) for row in history]
    lowest, falling, stopping = min(losses), settings.stop_if_not_falling, settings.early_stopping
    if settings.stop_if_diverges is not None and losses[-1] - lowest > (settings.stop_if_diverges - 1) * abs(
        lowest
    ):
        return "diverged"
    waited = falling.after_epochs is not None and len(losses) >= falling.after_epochs
    if waited and min(map(data_loss, history)) >= falling.share * zero_loss:
        return "not_falling"
    if len(losses) >= settings.epochs:
        return "epochs"
    if (
        stopping.patience is not None
        and _epochs_since_better(losses, stopping.min_delta) >= stopping.patience
    ):
        return "early_stopping"
    return ""


def _epochs_since_better(losses: Sequence[float], min_delta: float) -> int:
    lowest, since = math.inf, 0
    for loss in losses:
        if loss < lowest - min_delta:
            lowest, since = loss, 0
        else:
            since += 1
    return since


def failure_message(checkpoint: Mapping[str, Any], settings: TrainingSettings, directory: str) -> str:
    """Return what to say of a training that was given up."""
    history, reason = checkpoint["history"], checkpoint["stopped"]
    last, best = history[-1], best_epoch(history)
    if reason == "diverged":
        what = (
            f"the loss {watched_loss(last):.4g} of epoch {last['epoch']} is more than "
            f"{settings.stop_if_diverges} times the lowest, {watched_loss(history[best - 1]):.4g} of epoch "
            f"{best} (stop_if_diverges)"
        )
    else:
        what = (
            f"after {last['epoch']} epochs the lowest loss is {min(map(data_loss, history)):.4g}, not "
            f"below {settings.stop_if_not_falling.share} of the {checkpoint['zero_loss']:.4g} of an output "
            "of zeros: the network has not learnt (stop_if_not_falling)"
        )
    return (
        f"{directory}: training given up, {what}. Lower optimiser.lr, clip gradients (gradient_clip), or "
        f"take another seed. All checkpoints are kept; best.pt is of epoch {best}"
    )
