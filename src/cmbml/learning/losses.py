"""Losses of skies: one number per sky, weighted over its pixels."""

import torch
from torch import Tensor
from torch.nn import functional

from cmbml.learning.settings import TrainingSettings

LEAST_LOG_VARIANCE = -20.0
"""Log of the variance below which the Gaussian loss goes on along its tangent: a standard deviation of 4.5e-5
in the scale of the target, less than any network is sure of."""


def sky_losses(output: Tensor, target: Tensor, weights: Tensor, *, settings: TrainingSettings) -> Tensor:
    """Return the loss of every sky of a batch: sum(w loss) / sum(w) over its pixels and fields.

    Parameters
    ----------
    output
        Of the network, shape (batch, n_outputs, ...); with the loss "gaussian" (batch, 2 n_outputs, ...),
        fields first, then the log of their variance.
    target
        Shape (batch, n_outputs, ...).
    weights
        Shape (batch, 1, ...) or one that expands to it.
    settings
        Of the training.

    Returns
    -------
    torch.Tensor
        Shape (batch,).

    Raises
    ------
    ValueError
        If the shapes of output and target do not fit.
    """
    expected = (
        target.shape[0],
        target.shape[1] * (2 if settings.loss == "gaussian" else 1),
        *target.shape[2:],
    )
    if tuple(output.shape) != expected:
        raise ValueError(
            f"the network's output has shape {tuple(output.shape)}, loss {settings.loss} needs {expected} "
            f"for a target of shape {tuple(target.shape)}; give the network as many outputs as there are "
            "fields to find"
        )
    losses = _pixel_losses(output.to(target.dtype), target, settings)
    axes = tuple(range(1, losses.ndim))
    if weights[0].numel() == 1:
        return losses.mean(axes)
    return (weights * losses).sum(axes) / weights.expand_as(losses).sum(axes)


def _pixel_losses(output: Tensor, target: Tensor, settings: TrainingSettings) -> Tensor:
    """Return the loss of every pixel and field."""
    match settings.loss:
        case "l1":
            return (output - target).abs()
        case "l2":
            return (output - target).square()
        case "huber":
            delta = float(settings.huber_delta or 0)
            return functional.huber_loss(output, target, reduction="none", delta=delta)
        case "gaussian":
            mean, log_variance = output.chunk(2, dim=1)
            # Kendall & Gal 2017, arXiv:1703.04977, equation 8
            return ((target - mean).square() * inverse_variance(log_variance) + log_variance) / 2


def inverse_variance(log_variance: Tensor) -> Tensor:
    """Return exp(-s) of a log of a variance s, and below s0 = -20 its tangent exp(-s0) (1 + s0 - s).

    An untrained network may return any s, and exp(-s) of single precision is infinite below -88. The tangent
    is not, down to -1e29, and it keeps the loss convex in s, smooth, and falling away from there.
    """
    bounded = log_variance.clamp(min=LEAST_LOG_VARIANCE)
    return torch.exp(-bounded) * (1 + (bounded - log_variance))  # times exactly 1 where nothing is bounded
