"""Learning rates as functions of how much of the training is done."""

import math

from cmbml.learning.settings import TrainingSettings

ONE_CYCLE_START = 1 / 25
"""Share of the highest rate with which one cycle begins; torch's OneCycleLR has the same."""


def learning_rate(settings: TrainingSettings, *, epoch: int, batch: int, batches: int) -> float:
    """Return the learning rate of a batch.

    With the share t of the training that is done, which grows by batches or by epochs, the published
    exponential schedule is lr (final_lr / lr)^t.

    Parameters
    ----------
    settings
        Of the training.
    epoch, batch
        Number of the epoch, and of the batch in it, both from 0.
    batches
        Batches of an epoch.

    References
    ----------
    Wang et al. 2022, ApJS 260, 13, arXiv:2204.01820, section 3.3: the exponential one.
    """
    schedule, highest = settings.schedule, settings.optimiser.lr
    done = epoch * batches + batch if schedule.stepped == "batch" else epoch
    total = settings.epochs * (batches if schedule.stepped == "batch" else 1)
    rise = schedule.warm_up * total
    if done < rise:
        return highest * _risen(schedule.name, done=done, rise=rise)
    t = (done - rise) / (total - rise)
    if schedule.name == "constant":
        return highest
    if schedule.name == "exponential":
        return float(highest * (schedule.final_lr / highest) ** t)
    return schedule.final_lr + (highest - schedule.final_lr) * (1 + math.cos(math.pi * t)) / 2


def _risen(name: str, *, done: int, rise: float) -> float:
    """Return the share of the highest rate that is reached in the rise."""
    if name == "one_cycle":
        return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * (1 - math.cos(math.pi * done / rise)) / 2
    return (done + 1) / (rise + 1)  # not 0 at the first batch, which would be lost
