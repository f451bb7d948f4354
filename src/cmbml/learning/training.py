"""Train a network: begin, or go on where an earlier start was ended.

Lightning drives the loop; what it would write and say by itself is switched off. A training is a function of
its data, its settings and its seed alone: every epoch draws the order of skies and all other random numbers
anew from seed and epoch, so that one that is started again from the end of an epoch ends with the same
weights, bit for bit.
"""

import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

from cmbml.datasets.checkpoint import read_last_checkpoint, sweep_checkpoints
from cmbml.datasets.partition_recipes import changes
from cmbml.datasets.training_folder import COMPLETE
from cmbml.learning.chatter import quiet_lightning
from cmbml.learning.checkpoints import check_is_checkpoint, to_plain
from cmbml.learning.keeper import Keeper
from cmbml.learning.map_datasets import ArrayPairs, check_apart
from cmbml.learning.module import TrainingModule, seed_torch
from cmbml.learning.networks import NetworkSpec
from cmbml.learning.progress import TrainingProgress
from cmbml.learning.samples import Skies
from cmbml.learning.settings import TrainingSettings
from cmbml.learning.starting_weights import StartingWeights
from cmbml.learning.stops import FAILED, failure_message

LOGGER = logging.getLogger(__name__)

_PRECISIONS: dict[str, Any] = {"32": "32-true", "64": "64-true", "bf16-mixed": "bf16-mixed"}


def train(  # noqa: PLR0917 (what a training is made of)
    spec: NetworkSpec,
    train_data: Skies,
    valid_data: Skies | None,
    settings: TrainingSettings,
    directory: Path,
    facts: Mapping[str, Any],
    *,
    start_weights: StartingWeights | None = None,
) -> str:
    """Train a network until it is done, or go on with a training that was ended before.

    Parameters
    ----------
    spec
        The network.
    train_data, valid_data
        Skies of (features, target, weights); without the second, the training loss decides what is best.
    settings
        Of the training.
    directory
        Where checkpoints are kept: `last.pt` and `best.pt` after every epoch, `epoch_0005.pt` and so on after
        those that are to be kept. Nothing is written elsewhere.
    facts
        What checkpoints say of the data: plain values by name.
    start_weights
        What to begin from instead of drawn weights; their digest becomes a fact. A training that goes on has
        them already.

    Returns
    -------
    str
        Why it ended: "epochs", "early_stopping", or "max_minutes" if it is to be started again.

    Raises
    ------
    ValueError
        If there are no skies, training and validation share one, the network cannot be built or does not fit
        the skies or the weights to start from, or the directory holds a training with other settings, network
        or facts.
    RuntimeError
        If a loss or gradient is not finite, or the training is given up; all checkpoints are kept.
    DatasetError
        If the last checkpoint cannot be read; names the file.
    """
    _check_splits(train_data, valid_data)
    begun = {} if start_weights is None else {"start_weights": start_weights.digest()}
    described = {
        "network": {"factory": spec.factory, "arguments": to_plain(dict(spec.arguments))},
        "facts": {**to_plain(dict(facts)), **begun},
    }
    sweep_checkpoints(directory)
    start = read_last_checkpoint(directory)
    if start is not None:
        _check_same_training(start, described, settings, directory)
        if start["stopped"] in FAILED:
            raise RuntimeError(failure_message(start, settings, str(directory)))
        if start["stopped"] in COMPLETE:
            return str(start["stopped"])
        LOGGER.info("%s: goes on after epoch %d of %d", directory, start["epoch"], settings.epochs)
    with _own_torch(settings), quiet_lightning(), _own_temporary_folder(settings):
        network = _new_network(spec, settings, start_weights if start is None else None)
        _fit(network, (train_data, valid_data), settings, directory, (described, start))
    last = read_last_checkpoint(directory)
    return "" if last is None else str(last["stopped"])


def _check_splits(train_data: Skies, valid_data: Skies | None) -> None:
    """Refuse splits that cannot be trained on."""
    for name, split in (("training", train_data), ("validation", valid_data)):
        if split is not None and len(split) == 0:
            raise ValueError(f"the {name} split has no skies; simulate some, or choose another split")
    if isinstance(train_data, ArrayPairs) and isinstance(valid_data, ArrayPairs):
        check_apart(train_data, valid_data)


def _check_same_training(
    start: Mapping[str, Any], described: Mapping[str, Any], settings: TrainingSettings, directory: Path
) -> None:
    """Refuse to go on with a training of something else."""
    try:
        check_is_checkpoint(start)
    except ValueError as error:
        raise ValueError(f"{directory}/last.pt: {error}") from error
    old = {
        "settings": settings.results_of(start["settings"]),
        "network": start["network"],
        "facts": start["facts"],
    }
    differing = changes(old, {"settings": settings.recipe(), **described})
    if differing:
        raise ValueError(
            f"{directory}: holds another training: {'; '.join(differing[:5])}. To go on with it, restore the "
            "old values; to train anew, take another directory or remove this one"
        )


def _fit(
    network: nn.Module,
    data: tuple[Skies, Skies | None],
    settings: TrainingSettings,
    directory: Path,
    state: tuple[Mapping[str, Any], Mapping[str, Any] | None],
) -> None:
    """Call lightning, from the beginning or from the end of an epoch."""
    described, start = state
    module = TrainingModule(network, settings, train_skies=data[0], valid_skies=data[1], start=start)
    progress = TrainingProgress(f"training {directory.name}", settings.epochs)
    history = [dict(row) for row in start["history"]] if start else []
    trainer = Trainer(
        accelerator=_accelerator(settings),
        devices=settings.devices,
        strategy=settings.strategy if settings.devices > 1 else "auto",
        precision=_PRECISIONS[settings.precision],
        max_epochs=settings.epochs - module.first_epoch,
        deterministic=settings.deterministic,
        limit_val_batches=0 if data[1] is None else None,
        use_distributed_sampler=False,  # the order is ours
        barebones=True,  # no logger, no checkpoints, no bar, no summary of lightning's
        default_root_dir=directory,
        callbacks=[progress, Keeper(directory, described=described, history=history, progress=progress)],
    )
    interrupt = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module)
    except SIGTERMException:  # a SystemExit too, and as much of a reason to end
        raise
    except SystemExit as stop:  # lightning makes one of an interrupt, and ignores further ones
        raise KeyboardInterrupt from stop
    finally:
        progress.close()
        if threading.current_thread() is threading.main_thread() and interrupt is not None:
            signal.signal(signal.SIGINT, interrupt)


def _accelerator(settings: TrainingSettings) -> str:
    """Return lightning's word for what computes; of GPUs, those that have double precision for sums."""
    found = "cuda" if torch.cuda.is_available() else "cpu"
    return {"auto": found, "gpu": "cuda", "cpu": "cpu"}[settings.accelerator]


def _new_network(
    spec: NetworkSpec, settings: TrainingSettings, start_weights: StartingWeights | None
) -> nn.Module:
    """Return the untrained network, its weights drawn from the seed or taken over from another one."""
    seed_torch(settings.seed, "weights")
    network = spec.build()
    if start_weights is not None:
        start_weights.fill(network)
    if settings.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


@contextmanager
def _own_torch(settings: TrainingSettings) -> Iterator[None]:
    """Set what torch has once per process, and put it back."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(settings.threads)
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


@contextmanager
def _own_temporary_folder(settings: TrainingSettings) -> Iterator[None]:
    """Have lightning's processes leave their temporary files in one folder, and remove it.

    It is the system's, whose path is short: sockets of processes lie there, and theirs may not be long.
    """
    if settings.devices == 1:
        yield
        return
    before = os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory(prefix="cmbml-") as folder:
        os.environ["TMPDIR"] = folder
        try:
            yield
        finally:
            os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
