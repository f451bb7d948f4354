import io

import pytest
import rich
from rich.console import Console

from cmbml.learning.progress import progress_line
from tests.learning.small_trainings import small_training


def test_the_line_of_an_epoch_tells_losses_rate_and_time():
    row = {"epoch": 3, "train_loss": 1.23456, "valid_loss": 2.0, "lr": 0.0012, "seconds": 4.56}
    expected = "epoch 3 of 9: loss 1.235, validation 2, learning rate 0.0012, 4.6 s"
    assert progress_line(row, 9) == expected


def test_a_terminal_shows_one_bar_with_the_loss(tmp_path, monkeypatch, caplog):
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=150)
    monkeypatch.setattr(rich, "get_console", lambda: console)
    with caplog.at_level("INFO"):
        small_training(tmp_path / "unet")
    text = written.getvalue()
    assert "training unet" in text
    assert "12/12" in text
    assert "epoch 4: loss 0." in text
    assert caplog.records == []


def test_the_bar_is_taken_away_after_an_error(tmp_path, monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    monkeypatch.setattr(rich, "get_console", lambda: console)
    with pytest.raises(RuntimeError, match="given up"):
        small_training(tmp_path, stop_if_not_falling={"after_epochs": 1, "share": 0.01})
    assert console._live_stack == []
