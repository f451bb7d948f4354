"""The figure of a training shows what there is."""

import numpy as np
import pandas as pd
import pytest

from cmbml.learning.figures import losses_figure


def test_losses_without_a_validation_split_are_drawn_too():
    rows = [{"epoch": n, "train_loss": 1.0 / n, "valid_loss": np.nan, "lr": 0.1} for n in (1, 2)]
    top, _ = losses_figure(pd.DataFrame(rows), title="a").axes
    assert [line.get_label() for line in top.get_lines()] == ["training"]


@pytest.mark.parametrize(
    ("valid", "scale"), [(0.5, "log"), (np.nan, "log"), (0.0, "linear"), (-2.0, "linear")]
)
def test_losses_that_fall_below_zero_are_drawn_on_a_line(valid, scale):
    rows = [{"epoch": n, "train_loss": 1.0 / n, "valid_loss": valid, "lr": 0.1} for n in (1, 2)]
    top, bottom = losses_figure(pd.DataFrame(rows), title="a").axes
    assert (top.get_yscale(), bottom.get_yscale()) == (scale, "log")
