"""What happens at the end of an epoch: history, checkpoints, and whether to go on."""

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from cmbml.datasets.checkpoint import write_checkpoint
from cmbml.learning.checkpoints import to_plain, versions
from cmbml.learning.diagnosis import where_skies_fail
from cmbml.learning.module import TrainingModule
from cmbml.learning.progress import TrainingProgress
from cmbml.learning.settings import checkpoint_name
from cmbml.learning.stops import FAILED, PAUSED, best_epoch, end_of_training, failure_message


class Keeper(Callback):
    """Keeps checkpoints and the history of losses, and ends the training.

    Parameters
    ----------
    directory
        Where checkpoints go.
    described
        Entries `network` and `facts` of checkpoints.
    history
        Epochs done before.
    progress
        Told of every epoch.
    """

    def __init__(
        self,
        directory: Path,
        *,
        described: Mapping[str, Any],
        history: list[dict[str, Any]],
        progress: TrainingProgress,
    ) -> None:
        self._directory, self._described = directory, described
        self._history, self._progress = history, progress
        self._began = self._epoch_began = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: TrainingModule) -> None:  # type: ignore[override]
        """Keep the untrained network if that is wanted."""
        self._began = time.monotonic()
        if trainer.is_global_zero and pl_module.start is None and 0 in pl_module.settings.kept_epochs():
            write_checkpoint(self._directory, self._checkpoint(pl_module, ""), (checkpoint_name(0),))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: TrainingModule) -> None:  # type: ignore[override]
        """Start the clock."""
        self._epoch_began = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: TrainingModule) -> None:  # type: ignore[override]
        """Keep what the epoch has brought; validation is done.

        Raises
        ------
        RuntimeError
            If the loss is not finite, or the training is given up.
        """
        row = self._row(pl_module)
        self._check_finite(row, pl_module)
        self._history.append(row)
        settings = pl_module.settings
        stopped = end_of_training(self._history, settings, zero_loss=pl_module.zero_loss)
        stopped = stopped or (
            PAUSED if trainer.strategy.broadcast(self._is_time_up(row, settings.max_minutes)) else ""
        )
        checkpoint = self._checkpoint(pl_module, stopped)
        if trainer.is_global_zero:
            names = [checkpoint_name(row["epoch"])] if row["epoch"] in settings.kept_epochs() else []
            names += ["best"] if best_epoch(self._history) == row["epoch"] else []
            write_checkpoint(self._directory, checkpoint, (*names, "last"))
            self._progress.say(row)
        if stopped in FAILED:
            raise RuntimeError(failure_message(checkpoint, settings, str(self._directory)))
        trainer.should_stop = bool(stopped)

    def _check_finite(self, row: Mapping[str, Any], module: TrainingModule) -> None:
        measured = {"training": row["train_loss"]}
        if module.valid_skies is not None:
            measured["validation"] = row["valid_loss"]
        wrong = [name for name, loss in measured.items() if not math.isfinite(loss)]
        if wrong:
            raise RuntimeError(
                f"epoch {row['epoch']}, step {row['step']}: the {wrong[0]} loss is not finite; "
                f"{_where_losses_fail(module, wrong)}. "
                "Lower optimiser.lr, clip gradients (gradient_clip), or look for extreme values and weights "
                "in the skies. All checkpoints are kept"
            )

    def _row(self, module: TrainingModule) -> dict[str, Any]:
        return {
            "epoch": module.epoch + 1,
            "step": module.steps,
            **module.take_losses(),
            "lr": module.rate,
            "seconds": time.monotonic() - self._epoch_began,
        }

    def _is_time_up(self, row: Mapping[str, Any], max_minutes: float | None) -> bool:
        """Return whether another epoch like this one would end too late."""
        return max_minutes is not None and time.monotonic() - self._began + row["seconds"] > 60 * max_minutes

    def _checkpoint(self, module: TrainingModule, stopped: str) -> dict[str, Any]:
        optimiser: Any = module.optimizers(use_pl_optimizer=False)
        epoch = self._history[-1]["epoch"] if self._history else 0
        return {
            **versions(),
            **self._described,
            "weights": to_plain(module.used.state_dict()),
            "unaveraged": None if module.averaged is None else to_plain(module.network.state_dict()),
            "settings": module.settings.model_dump(mode="json"),
            "epoch": epoch,
            "history": [dict(row) for row in self._history],
            "stopped": stopped,
            "zero_loss": module.zero_loss,
            "optimiser": to_plain(optimiser.state_dict()),
            "schedule": {"batches": epoch * int(module.trainer.num_training_batches)},
            "rng": {"seed": module.settings.seed, "next_epoch": epoch},
        }


def _where_losses_fail(module: TrainingModule, wrong: Sequence[str]) -> str:
    """Return where losses of these splits break, with the weights at the end of the epoch, in words."""
    settings = module.settings
    if "validation" in wrong and module.valid_skies is not None:
        where = where_skies_fail(module.used, module.valid_skies, settings)
        if wrong[0] == "validation":
            return where
        where = f"in validation, {where}"
    else:
        where = f"in training, {where_skies_fail(module.network, module.train_skies, settings)}"
    return f"after the epoch, {where}; with check_gradients true the step is told at which it began"
