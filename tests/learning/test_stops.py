import math

import pytest

from cmbml.learning.stops import best_epoch, end_of_training, failure_message
from tests.learning.small_trainings import settings


def history(*losses: float, train: float = 1.0) -> list[dict]:
    return [{"epoch": n, "valid_loss": loss, "train_loss": train} for n, loss in enumerate(losses, 1)]


def end(losses: tuple[float, ...], zero_loss: float = 1.0, **changes) -> str:
    return end_of_training(history(*losses), settings(epochs=9, **changes), zero_loss=zero_loss)


def test_a_training_goes_on_until_its_last_epoch():
    assert end((3.0, 4.0, 5.0)) == ""
    assert end((1.0,) * 9) == "epochs"


def test_it_stops_early_when_nothing_better_comes():
    stopping = {"early_stopping": {"patience": 2, "min_delta": 0.1}}
    assert end((3.0, 2.0, 1.95), **stopping) == ""
    assert end((3.0, 2.0, 1.95, 1.91), **stopping) == "early_stopping"
    assert end((3.0, 2.0, 1.95, 1.8), **stopping) == ""
    assert end((3.0, 2.0, 1.95, 1.91), early_stopping={"patience": 2, "min_delta": 0.0}) == ""


def test_it_diverges_when_the_loss_is_many_times_its_lowest():
    assert end((1.0, 0.5, 5.0), stop_if_diverges=10.0) == ""
    assert end((1.0, 0.5, 5.1), stop_if_diverges=10.0) == "diverged"
    assert end((-1.0, -2.0, -1.0), stop_if_diverges=10.0) == ""  # a log likelihood has any sign


def test_it_does_not_fall_when_it_is_no_better_than_an_output_of_zeros():
    falling = {"stop_if_not_falling": {"after_epochs": 3, "share": 0.9}}
    assert end((1.0, 0.95), **falling) == ""
    assert end((1.0, 0.95, 0.95), **falling) == "not_falling"
    assert end((1.0, 0.85, 0.95), **falling) == ""
    assert end((1.0, 0.95, 0.95), zero_loss=2.0, **falling) == ""


def test_the_training_loss_decides_where_no_validation_loss_is_measured():
    rows = [
        {"epoch": n, "valid_loss": math.nan, "train_loss": loss} for n, loss in enumerate((3.0, 1.0, 2.0), 1)
    ]
    assert best_epoch(rows) == 2


def test_the_best_is_the_first_of_equals():
    assert best_epoch(history(2.0, 1.0, 1.0)) == 2


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("diverged", "the loss 8 of epoch 2 is more than 4.0 times the lowest, 1 of epoch 1"),
        (
            "not_falling",
            "after 2 epochs the lowest loss is 1, not below 0.9 of the 1.05 of an output of zeros",
        ),
    ],
)
def test_a_training_that_is_given_up_says_why_and_what_to_do(reason, message):
    checkpoint = {"history": history(1.0, 8.0), "stopped": reason, "zero_loss": 1.05}
    text = failure_message(checkpoint, settings(stop_if_diverges=4.0), "here")
    assert message in text
    assert "Lower optimiser.lr" in text
    assert text.endswith("best.pt is of epoch 1")
