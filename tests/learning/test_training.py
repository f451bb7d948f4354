"""Trainings end as they would have without interruption; losses are the losses; errors keep what there is."""

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from kedro.io.core import DatasetError
from lightning.pytorch.utilities.exceptions import SIGTERMException

from cmbml.learning.checkpoints import build_network, check_is_checkpoint
from cmbml.learning.losses import sky_losses
from cmbml.learning.module import TrainingModule
from cmbml.learning.networks import NetworkSpec
from cmbml.learning.training import train
from tests.kedro_runs import ROOT
from tests.learning.small_trainings import (
    FACTS,
    PIXEL_SPEC,
    SPEC,
    Skies,
    checkpoint,
    same_weights,
    settings,
    small_training,
)

VARIANTS = {
    "plain": {},
    "averaged": {"average": 0.9},
    "amsgrad": {"optimiser": {"amsgrad": True}},
    "momentum": {"optimiser": {"name": "sgd", "lr": 0.01}},
    "decay and clip": {"optimiser": {"name": "adamw", "weight_decay": 0.1}, "gradient_clip": 0.1},
    "channels last": {"channels_last": True},
    "half": {"precision": "bf16-mixed"},
    "double": {"precision": "64", "average": 0.9},
    "rate by epoch": {"schedule": {"name": "cosine", "final_lr": 1e-3, "warm_up": 0.25, "stepped": "epoch"}},
}


class Ended(Exception):
    """Ends a training somewhere."""


class EndingSkies(Skies):
    """Skies that end the process, or raise, when an epoch has come to its fifth sky."""

    def __init__(self, *, epoch: int, kill: bool = False) -> None:
        super().__init__(7, jitter=0.1)
        self.end, self.kill, self.read = epoch, kill, 0

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.read = 0

    def __getitem__(self, number: int):
        self.read += 1
        if self.epoch == self.end and self.read == 5:
            if self.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Ended
        return super().__getitem__(number)


def end_in_epoch(directory: Path, epoch: int, *, kill: bool = False, **changes) -> None:
    train(SPEC, EndingSkies(epoch=epoch, kill=kill), Skies(2, seed=1), settings(**changes), directory, FACTS)


def same_training(one: Path, other: Path) -> bool:
    """Whether two trainings have the same checkpoints, bit by bit, and the same losses."""
    names = sorted(path.stem for path in one.iterdir())
    assert names == sorted(path.stem for path in other.iterdir())
    pairs = [(checkpoint(one, name), checkpoint(other, name)) for name in names]
    for a, b in pairs:
        states = [json.dumps(c["optimiser"], default=lambda t: t.tolist()) for c in (a, b)]
        losses = [[{k: v for k, v in row.items() if k != "seconds"} for row in c["history"]] for c in (a, b)]
        if not same_weights(a, b) or states[0] != states[1] or losses[0] != losses[1]:
            return False
    return True


# ---- Going on -------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_training_that_was_ended_in_an_epoch_goes_on_to_the_same_weights(variant, tmp_path):
    small_training(tmp_path / "whole", **VARIANTS[variant])
    with pytest.raises(Ended):
        end_in_epoch(tmp_path / "ended", 2, **VARIANTS[variant])
    assert checkpoint(tmp_path / "ended")["epoch"] == 2
    assert small_training(tmp_path / "ended", **VARIANTS[variant]) == "epochs"
    assert same_training(tmp_path / "whole", tmp_path / "ended")
    assert not same_weights(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "whole", "epoch_0002"))


@pytest.mark.slow
@pytest.mark.parametrize("epoch", [0, 2])
def test_a_training_whose_process_is_killed_goes_on_to_the_same_weights(epoch, tmp_path):
    small_training(tmp_path / "whole", average=0.9)
    code = (
        "from pathlib import Path; from tests.learning.test_training import end_in_epoch; "
        f"end_in_epoch(Path({str(tmp_path / 'killed')!r}), {epoch}, kill=True, average=0.9)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / "killed" / "last.pt").exists() == (epoch > 0)
    assert small_training(tmp_path / "killed", average=0.9) == "epochs"
    assert same_training(tmp_path / "whole", tmp_path / "killed")


def test_a_training_out_of_time_keeps_all_and_goes_on_to_the_same_weights(tmp_path):
    small_training(tmp_path / "whole")
    starts = 0
    while small_training(tmp_path / "paused", max_minutes=1e-9) == "max_minutes":
        starts += 1
        assert checkpoint(tmp_path / "paused")["epoch"] == starts
    assert starts == 3
    assert same_training(tmp_path / "whole", tmp_path / "paused")


def test_a_training_that_is_done_is_not_done_again(tmp_path):
    small_training(tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert small_training(tmp_path, num_workers=1) == "epochs"
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_what_a_killed_write_has_left_is_swept_away(tmp_path):
    (tmp_path / "best.pt.12345678.part").write_bytes(b"half")
    small_training(tmp_path)
    assert not list(tmp_path.glob("*.part"))


def test_the_same_settings_give_the_same_weights_and_another_seed_others(tmp_path):
    for name, seed in (("one", 7), ("same", 7), ("other", 8)):
        small_training(tmp_path / name, seed=seed)
    assert same_training(tmp_path / "one", tmp_path / "same")
    assert not same_weights(checkpoint(tmp_path / "one"), checkpoint(tmp_path / "other"))
    assert not same_weights(*(checkpoint(tmp_path / name, "epoch_0000") for name in ("one", "other")))


def test_processes_that_read_skies_change_nothing(tmp_path):
    small_training(tmp_path / "here")
    small_training(tmp_path / "elsewhere", num_workers=2)
    assert same_training(tmp_path / "here", tmp_path / "elsewhere")


def test_how_often_checkpoints_are_kept_changes_nothing(tmp_path):
    small_training(tmp_path / "one", checkpoint_every=1)
    small_training(tmp_path / "two", checkpoint_every=4, checkpoint_also=())
    assert same_weights(checkpoint(tmp_path / "one"), checkpoint(tmp_path / "two"))
    assert sorted(path.stem for path in (tmp_path / "two").iterdir()) == ["best", "epoch_0004", "last"]
    kept = ["best", *(f"epoch_000{n}" for n in range(5)), "last"]
    assert sorted(path.stem for path in (tmp_path / "one").iterdir()) == kept


# ---- Losses -----------------------------------------------------------------------


def test_the_validation_loss_is_that_of_the_kept_network(tmp_path):
    small_training(tmp_path, average=0.5)
    last = checkpoint(tmp_path)
    skies = Skies(2, seed=1)
    features, targets, weights = (torch.stack(parts) for parts in zip(skies[0], skies[1], strict=True))
    output = build_network(last)(features)
    expected = sky_losses(output, targets, weights, settings=settings()).mean().item()
    assert last["history"][-1]["valid_loss"] == pytest.approx(expected, rel=1e-5)
    zero = sky_losses(torch.zeros_like(targets), targets, weights, settings=settings()).mean().item()
    assert last["zero_loss"] == pytest.approx(zero, rel=1e-5)


def test_the_training_loss_is_the_mean_over_skies_also_with_a_short_last_batch(tmp_path):
    """Without steps, the loss of an epoch is that of the untrained network on its seven skies."""
    train(
        PIXEL_SPEC,
        Skies(7),
        None,
        settings(optimiser={"lr": 1e-30}, schedule={"final_lr": 1e-30}),
        tmp_path,
        FACTS,
    )
    skies = Skies(7)
    features, targets, weights = (
        torch.stack(parts) for parts in zip(*(skies[n] for n in range(7)), strict=True)
    )
    output = build_network(checkpoint(tmp_path))(features)
    expected = sky_losses(output, targets, weights, settings=settings()).mean().item()
    row = checkpoint(tmp_path)["history"][-1]
    assert row["train_loss"] == pytest.approx(expected, rel=1e-5)
    assert np.isnan(row["valid_loss"])


def test_the_history_counts_epochs_steps_and_rates(tmp_path):
    small_training(tmp_path, epochs=3)
    rows = checkpoint(tmp_path)["history"]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["step"] for row in rows] == [6, 12, 18]  # three batches of two steps
    np.testing.assert_allclose([row["lr"] for row in rows], 0.01 * 0.1 ** (np.array([2, 5, 8]) / 9))
    assert all(row["seconds"] > 0 for row in rows)


def test_the_best_checkpoint_is_that_of_the_lowest_validation_loss(tmp_path):
    small_training(tmp_path, epochs=6, optimiser={"lr": 0.3}, schedule={"name": "constant"})
    losses = [row["valid_loss"] for row in checkpoint(tmp_path)["history"]]
    assert checkpoint(tmp_path, "best")["epoch"] == 1 + int(np.argmin(losses))


def test_a_network_learns(tmp_path):
    small_training(tmp_path, spec=PIXEL_SPEC, skies=30, epochs=30, optimiser={"lr": 0.02})
    last = checkpoint(tmp_path)
    assert last["history"][-1]["valid_loss"] < 0.1 * last["zero_loss"]


def test_the_averaged_network_is_the_moving_average_of_its_weights(tmp_path):
    """One step per epoch, so that every trained state is seen in a checkpoint."""
    changes = {"batch_size": 7, "steps_per_batch": 1, "average": 0.6, "checkpoint_every": 1}
    small_training(tmp_path, **changes)
    average = checkpoint(tmp_path, "epoch_0000")["weights"]["0.weight"]
    for step in range(1, 5):
        now = checkpoint(tmp_path, f"epoch_{step:04d}")
        decay = min(0.6, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * now["unaveraged"]["0.weight"]
        torch.testing.assert_close(now["weights"]["0.weight"], average)
    assert now["weights"]["1.num_batches_tracked"] == 4


def test_gradients_are_clipped_to_the_norm(tmp_path):
    """With plain descent the first step is the gradient times the rate."""
    changes = {
        "epochs": 1,
        "batch_size": 7,
        "steps_per_batch": 1,
        "gradient_clip": 1e-3,
        "optimiser": {"name": "sgd", "lr": 1.0, "betas": (0.0, 0.0)},
        "schedule": {"name": "constant"},
    }
    small_training(tmp_path, spec=PIXEL_SPEC, checkpoint_every=1, **changes)
    before, after = (checkpoint(tmp_path, name)["weights"] for name in ("epoch_0000", "epoch_0001"))
    step = torch.cat([(after[name] - before[name]).flatten() for name in before])
    assert step.norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_weights_decay_but_not_biases(tmp_path):
    decay = {"name": "adamw", "lr": 0.01, "weight_decay": 10.0}
    for name, weight_decay in (("with", 10.0), ("without", 0.0)):
        changes = {"epochs": 1, "batch_size": 7, "steps_per_batch": 1, "checkpoint_every": 1}
        small_training(
            tmp_path / name, spec=PIXEL_SPEC, optimiser={**decay, "weight_decay": weight_decay}, **changes
        )
    start = checkpoint(tmp_path / "with", "epoch_0000")["weights"]
    decayed, free = (checkpoint(tmp_path / name)["weights"] for name in ("with", "without"))
    torch.testing.assert_close(decayed["0.weight"], free["0.weight"] - 0.1 * start["0.weight"])
    torch.testing.assert_close(decayed["0.bias"], free["0.bias"], rtol=0, atol=0)


@pytest.mark.parametrize("amsgrad", [False, True])
def test_steps_are_those_of_the_algorithm(amsgrad):
    """Reddi, Kale & Kumar 2018, algorithm 2, with the corrections of Kingma & Ba 2015, algorithm 1.

    The gradient falls, so that the largest mean of its square is not the last one.
    """
    network, rate, (first, second) = torch.nn.Linear(3, 2), 0.1, (0.5, 0.6)
    given = settings(optimiser={"lr": rate, "betas": (first, second), "amsgrad": amsgrad})
    module = TrainingModule(network, given, train_skies=Skies(1), valid_skies=None, start=None)
    optimiser, generator = module.configure_optimizers(), np.random.default_rng(3)
    weights = network.weight.detach().numpy().astype(np.float64)
    mean, square, largest = (np.zeros((2, 3)) for _ in range(3))
    for step, size in enumerate((1.0, 0.3, 1e-2, 1e-3), start=1):
        gradient = (size * generator.normal(size=(2, 3))).astype(np.float32)
        network.weight.grad = torch.from_numpy(gradient)
        optimiser.step()
        mean = first * mean + (1 - first) * gradient
        square = second * square + (1 - second) * gradient**2
        largest = np.maximum(largest, square) if amsgrad else square
        root = np.sqrt(largest / (1 - second**step)) + 1e-8
        weights = weights - rate * mean / (1 - first**step) / root
        np.testing.assert_allclose(network.weight.detach().numpy(), weights, rtol=1e-5)
    assert (largest > square).any() == amsgrad


def test_a_training_from_before_a_setting_goes_on_without_it(tmp_path):
    small_training(tmp_path / "whole")
    with pytest.raises(Ended):
        end_in_epoch(tmp_path / "ended", 2)
    older = checkpoint(tmp_path / "ended")
    del older["settings"]["optimiser"]["amsgrad"]
    torch.save(older, tmp_path / "ended" / "last.pt")
    assert small_training(tmp_path / "ended") == "epochs"
    assert same_weights(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "ended"))
    with pytest.raises(ValueError, match="optimiser.amsgrad was absent, is now True"):
        small_training(tmp_path / "ended", optimiser={"amsgrad": True})


@pytest.mark.parametrize(
    "loss", [{"loss": "l2"}, {"loss": "huber", "huber_delta": 0.5}, {"loss": "gaussian"}]
)
def test_every_loss_trains(loss, tmp_path):
    outputs = 2 if loss["loss"] == "gaussian" else 1
    spec = NetworkSpec(PIXEL_SPEC.factory, {"outputs": outputs})
    small_training(tmp_path, spec=spec, skies=20, epochs=10, **loss)
    last = checkpoint(tmp_path)
    assert last["history"][-1]["valid_loss"] < last["history"][0]["valid_loss"]


def pointwise(axes: int) -> torch.nn.Module:
    return (torch.nn.Conv1d if axes == 1 else torch.nn.Conv2d)(2, 1, 1)


@pytest.mark.parametrize("channels_last", [False, True])
def test_maps_are_learnt_from_as_planes_are(channels_last, tmp_path):
    """The same pixels, once along a line."""
    losses = []
    for shape in ((8, 6), (48,)):
        spec = NetworkSpec("tests.learning.test_training:pointwise", {"axes": len(shape)})
        splits = (Skies(count, seed=seed, shape=shape) for seed, count in enumerate((7, 2)))
        place = tmp_path / str(len(shape))
        train(spec, *splits, settings(channels_last=channels_last), place, FACTS)
        losses.append([row["valid_loss"] for row in checkpoint(place)["history"]])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)


# ---- Precision, devices -----------------------------------------------------------


@pytest.mark.parametrize(("precision", "dtype"), [("64", torch.float64), ("bf16-mixed", torch.float32)])
def test_weights_have_the_precision_and_losses_are_near_those_of_single(precision, dtype, tmp_path):
    small_training(tmp_path / "single", spec=PIXEL_SPEC)
    small_training(tmp_path / "other", spec=PIXEL_SPEC, precision=precision)
    assert checkpoint(tmp_path / "other")["weights"]["0.weight"].dtype == dtype
    losses = [[row["train_loss"] for row in checkpoint(tmp_path / n)["history"]] for n in ("single", "other")]
    near = 1e-5 if precision == "64" else 0.02
    np.testing.assert_allclose(losses[1], losses[0], rtol=near)
    assert losses[0] != losses[1]


def test_channels_last_gives_the_same_losses_up_to_rounding(tmp_path):
    small_training(tmp_path / "first", spec=PIXEL_SPEC)
    small_training(tmp_path / "last", spec=PIXEL_SPEC, channels_last=True)
    losses = [[row["train_loss"] for row in checkpoint(tmp_path / n)["history"]] for n in ("first", "last")]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    weight = checkpoint(tmp_path / "last")["weights"]["0.weight"]
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.slow
def test_two_devices_train_as_one(tmp_path):
    """Batches are the same, so that only the order of sums differs; seven skies leave one to read twice."""
    changes = {"spec": PIXEL_SPEC, "batch_size": 4, "average": 0.5}
    small_training(tmp_path / "one", **changes)
    assert small_training(tmp_path / "two", devices=2, **changes) == "epochs"
    one, two = (checkpoint(tmp_path / name) for name in ("one", "two"))
    for name, weights in one["weights"].items():
        torch.testing.assert_close(two["weights"][name], weights, rtol=1e-4, atol=1e-6)
    for ours, theirs in zip(one["history"], two["history"], strict=True):
        assert theirs["train_loss"] == pytest.approx(ours["train_loss"], rel=1e-5)
        assert theirs["valid_loss"] == pytest.approx(ours["valid_loss"], rel=1e-5)
    kept = ["best.pt", "epoch_0000.pt", "epoch_0002.pt", "epoch_0004.pt", "last.pt"]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == kept


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch compiles with a C++ compiler on a CPU")
@pytest.mark.slow
def test_a_compiled_network_trains_as_an_eager_one(tmp_path):
    small_training(tmp_path / "eager", spec=PIXEL_SPEC)
    small_training(tmp_path / "compiled", spec=PIXEL_SPEC, compile=True)
    eager, compiled = (checkpoint(tmp_path / name)["weights"] for name in ("eager", "compiled"))
    assert list(eager) == list(compiled)
    for name, weights in eager.items():
        torch.testing.assert_close(compiled[name], weights, rtol=1e-4, atol=1e-5)


# ---- The process it runs in -------------------------------------------------------------


def test_the_process_is_left_as_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads, handler, seen = torch.get_num_threads(), signal.getsignal(signal.SIGINT), set()

    class Watching(Skies):
        def __getitem__(self, number):
            seen.add((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
            return super().__getitem__(number)

    train(SPEC, Watching(3), None, settings(threads=threads + 1), tmp_path / "training", FACTS)
    assert seen == {(threads + 1, True)}
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()
    assert signal.getsignal(signal.SIGINT) is handler
    assert [path.name for path in tmp_path.iterdir()] == ["training"]


def test_nothing_is_said_but_a_line_per_epoch(tmp_path, capfd, caplog):
    with caplog.at_level("INFO"), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        small_training(tmp_path / "unet", epochs=50)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 20
    assert all(line.startswith("training unet: epoch ") for line in lines)
    assert lines[-1].startswith("training unet: epoch 50 of 50: loss 0.")
    said = "".join(capfd.readouterr())
    assert not [word for word in ("lightning", "Trainer", "Tip", "GPU", "seed") if word in said]
    assert warned == []


def test_an_interrupt_is_an_interrupt_and_keeps_what_there_is(tmp_path):
    class Interrupting(EndingSkies):
        def __getitem__(self, number):
            try:
                return super().__getitem__(number)
            except Ended:
                raise KeyboardInterrupt from None

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        train(SPEC, Interrupting(epoch=1), Skies(2, seed=1), settings(), tmp_path, FACTS)
    assert signal.getsignal(signal.SIGINT) is handler
    assert checkpoint(tmp_path)["epoch"] == 1


def test_a_request_to_end_ends_the_process_and_keeps_what_there_is(tmp_path):
    class Terminated(EndingSkies):
        def __getitem__(self, number):
            try:
                return super().__getitem__(number)
            except Ended:
                os.kill(os.getpid(), signal.SIGTERM)
                return Skies.__getitem__(self, number)

    with pytest.raises(SIGTERMException):
        train(SPEC, Terminated(epoch=1), Skies(2, seed=1), settings(), tmp_path, FACTS)
    assert issubclass(SIGTERMException, SystemExit)
    assert checkpoint(tmp_path)["epoch"] == 1


# ---- What goes wrong ----------------------------------------------------------------


def test_early_stopping_ends_a_training_and_says_so(tmp_path):
    changes = {"epochs": 50, "early_stopping": {"patience": 2, "min_delta": 10.0}}
    assert small_training(tmp_path, **changes) == "early_stopping"
    last = checkpoint(tmp_path)
    assert last["stopped"] == "early_stopping"
    assert last["epoch"] == len(last["history"]) == 3
    assert small_training(tmp_path, **changes) == "early_stopping"


def test_a_training_that_does_not_learn_is_given_up_and_stays_so(tmp_path):
    changes = {
        "optimiser": {"lr": 1e-9},
        "schedule": {"name": "constant"},
        "stop_if_not_falling": {"after_epochs": 2, "share": 0.2},
    }
    for _ in range(2):
        with pytest.raises(RuntimeError, match="training given up, after 2 epochs the lowest loss is"):
            small_training(tmp_path, **changes)
        assert checkpoint(tmp_path)["stopped"] == "not_falling"
        assert checkpoint(tmp_path)["epoch"] == 2


def test_a_training_that_diverges_is_given_up_and_keeps_its_best_network(tmp_path):
    class Brighter(Skies):
        def __getitem__(self, number):
            features, target, weights = super().__getitem__(number)
            return features, target * (10 if self.epoch == 2 else 1), weights

    with pytest.raises(
        RuntimeError, match="training given up, the loss .* of epoch 3 is more than 2.0 times"
    ):
        train(SPEC, Brighter(7), None, settings(stop_if_diverges=2.0), tmp_path, FACTS)
    last, best = checkpoint(tmp_path), checkpoint(tmp_path, "best")
    assert last["stopped"] == "diverged"
    assert (best["epoch"], last["epoch"]) == (2, 3)
    build_network(best)


@pytest.mark.parametrize("checked", [True, False])
def test_a_loss_that_is_not_finite_ends_the_training_and_keeps_every_checkpoint(checked, tmp_path):
    class Poisoned(Skies):
        def __getitem__(self, number):
            features, target, weights = super().__getitem__(number)
            return features, target * (float("inf") if self.epoch == 2 and number == 5 else 1), weights

    expected = (
        r"epoch 3, step \d+: loss inf and gradients must be finite; the network's output is finite, so that "
        "target or weights are not, or are too large. Learning rate"
        if checked
        else "epoch 3, step 18: the training loss is not finite; after the epoch, in training, sky 5 of the "
        "split: the network's output is finite, so that target or weights are not, or are too large; with "
        "check_gradients true the step is told at which it began. Lower"
    )
    with pytest.raises(RuntimeError, match=expected):
        train(SPEC, Poisoned(7), Skies(2, seed=1), settings(check_gradients=checked), tmp_path, FACTS)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["best", "epoch_0000", "epoch_0002", "last"]
    assert checkpoint(tmp_path)["epoch"] == 2


def test_a_validation_loss_that_is_not_finite_ends_the_training(tmp_path):
    valid = Skies(2, seed=1)
    valid.weights[1] = 0  # no pixel counts
    with pytest.raises(
        RuntimeError,
        match="epoch 1, step 6: the validation loss is not finite; sky 1 of the split: the network's output is "
        "finite, so that target or weights are not",
    ):
        train(SPEC, Skies(7), valid, settings(), tmp_path, FACTS)
    assert [path.stem for path in tmp_path.iterdir()] == ["epoch_0000"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 5, "seed": 8}, "settings.epochs was 4, is now 5; settings.seed was 7, is now 8"),
        ({"spec": PIXEL_SPEC}, "network.factory was .*small_network, is now .*pixel_network"),
    ],
)
def test_a_directory_of_another_training_is_refused_and_untouched(changes, message, tmp_path):
    small_training(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=f"holds another training: .*{message}"):
        small_training(tmp_path, **changes)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_last_checkpoint_cut_short_is_named(tmp_path):
    small_training(tmp_path)
    path = tmp_path / "last.pt"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DatasetError, match="last.pt: cut short, or no checkpoint of plain values"):
        small_training(tmp_path)


def test_a_last_checkpoint_of_something_else_is_named(tmp_path):
    torch.save({"model_state_dict": {}}, tmp_path / "last.pt")
    with pytest.raises(
        ValueError, match="last.pt: this is no checkpoint of a training: it lacks format, version"
    ):
        small_training(tmp_path)


def test_an_output_of_another_shape_is_named_at_the_first_batch(tmp_path):
    with pytest.raises(ValueError, match=r"output has shape \(3, 2, 8, 6\), loss l1 needs \(3, 1, 8, 6\)"):
        small_training(tmp_path, spec=NetworkSpec(SPEC.factory, {"outputs": 2}))
    assert not (tmp_path / "last.pt").exists()


@pytest.mark.parametrize(("counts", "name"), [((0, 1), "training"), ((1, 0), "validation")])
def test_a_split_without_skies_is_named_before_anything_is_written(counts, name, tmp_path):
    with pytest.raises(ValueError, match=f"the {name} split has no skies; simulate some"):
        train(SPEC, *(Skies(count) for count in counts), settings(), tmp_path / "new", FACTS)
    assert not (tmp_path / "new").exists()


def test_a_checkpoint_holds_what_it_should(tmp_path):
    small_training(tmp_path)
    last = checkpoint(tmp_path)
    check_is_checkpoint(last)
    assert last["network"] == {"factory": SPEC.factory, "arguments": SPEC.arguments}
    assert last["facts"] == FACTS
    assert last["settings"] == settings().model_dump(mode="json")
    assert last["schedule"] == {"batches": 12}
    assert last["rng"] == {"seed": 7, "next_epoch": 4}
    assert len(last["optimiser"]["state"]) == len(
        [n for n in last["weights"] if "running" not in n and "num" not in n]
    )
