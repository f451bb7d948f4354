"""What a training says of itself while it goes on."""

import logging
from typing import Any

import rich
from lightning.pytorch import Callback
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from cmbml.learning.chatter import quiet_for_good
from cmbml.learning.module import TrainingModule

LOGGER = logging.getLogger(__name__)
LINES = 20
"""Most lines of a training in a log."""


def progress_line(row: dict[str, Any], epochs: int) -> str:
    """Return what is said of an epoch."""
    return (
        f"epoch {row['epoch']} of {epochs}: loss {row['train_loss']:.4g}, validation "
        f"{row['valid_loss']:.4g}, learning rate {row['lr']:.2g}, {row['seconds']:.1f} s"
    )


class TrainingProgress(Callback):
    """One bar with the loss beside it on a terminal, some lines elsewhere.

    Parameters
    ----------
    title
        What the bar is called.
    epochs
        Of the whole training.
    """

    def __init__(self, title: str, epochs: int) -> None:
        self._title, self._epochs = title, epochs
        self._bar: Progress | None = None
        self._task: Any = None
        self._losses = ""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        quiet_for_good()  # in the process of another device, which lightning has made

    def on_train_start(self, trainer: Any, pl_module: TrainingModule) -> None:  # type: ignore[override]
        """Show the bar, if somebody looks."""
        console = rich.get_console()
        if not trainer.is_global_zero or not (console.is_terminal or console.is_jupyter):
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[losses]}"))
        self._bar = Progress(*columns, *times, console=console)
        self._bar.start()
        batches = int(trainer.num_training_batches)
        self._task = self._bar.add_task(
            self._title, total=self._epochs * batches, completed=pl_module.first_epoch * batches, losses=""
        )

    def on_train_batch_end(self, *_: Any) -> None:
        """Count one batch."""
        if self._bar is not None:
            self._bar.update(self._task, advance=1)

    def say(self, row: dict[str, Any]) -> None:
        """Show the losses of an epoch, or log them if it is time for a line."""
        epoch = row["epoch"]
        if self._bar is not None:
            losses = f"epoch {epoch}: loss {row['train_loss']:.4g}, validation {row['valid_loss']:.4g}"
            self._bar.update(self._task, losses=losses)
        elif epoch == self._epochs or epoch * LINES // self._epochs > (epoch - 1) * LINES // self._epochs:
            LOGGER.info("%s: %s", self._title, progress_line(row, self._epochs))

    def on_train_end(self, *_: Any) -> None:
        """Take the bar away."""
        self.close()

    def on_exception(self, *_: Any) -> None:
        """Take the bar away."""
        self.close()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
