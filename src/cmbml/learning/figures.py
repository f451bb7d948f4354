"""The figure of a training."""

import pandas as pd
from matplotlib.figure import Figure

DPI = 100
_TRAINING, _VALIDATION, _RATE = "#0072B2", "#D55E00", "0.6"


def losses_figure(losses: pd.DataFrame, *, title: str) -> Figure:
    """Return a figure of the losses of every epoch, and of the learning rate; logarithmic where it can be.

    Parameters
    ----------
    losses
        One row per epoch with `epoch`, `train_loss`, `valid_loss` and `lr`; losses in the scaled unit of the
        target.
    title
        Heading.
    """
    figure = Figure(figsize=(7.0, 5.2), dpi=DPI, layout="constrained")
    figure.suptitle(f"{title}: training", fontsize=12)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    top.plot(losses["epoch"], losses["train_loss"], color=_TRAINING, label="training")
    if losses["valid_loss"].notna().any():
        top.plot(losses["epoch"], losses["valid_loss"], color=_VALIDATION, label="validation")
        best = losses.iloc[int(losses["valid_loss"].argmin())]
        top.plot(
            best["epoch"],
            best["valid_loss"],
            "o",
            color=_VALIDATION,
            label=f"best: {best['valid_loss']:.4g} at epoch {best['epoch']:.0f}",
        )
    if not (losses[["train_loss", "valid_loss"]] <= 0).any(axis=None):  # likelihoods go below 0
        top.set_yscale("log")
    top.set_ylabel("loss, in the scale of the target")
    top.legend(fontsize=9, frameon=False)
    bottom.plot(losses["epoch"], losses["lr"], color=_RATE)
    bottom.set_yscale("log")
    bottom.set_ylabel("learning rate")
    bottom.set_xlabel("epoch")
    for axes in (top, bottom):
        axes.grid(alpha=0.25, linewidth=0.5, which="both")
        axes.tick_params(direction="in", which="both", top=True, right=True)
    return figure
