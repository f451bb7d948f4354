"""Statistics of the features of many skies, of which one at a time is held.

Skies are arrays (n_features, ...), of NumPy or tensors; whatever follows the
feature axis counts as pixels.

References
----------
Chan, T. F., Golub, G. H. & LeVeque, R. J. 1983, The American Statistician 37, 242,
equations 2.1: means and sums of squares of two samples combined.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.learning.features import check_pixels
from cmbml.science.seeds import generator_of

Numbers = NDArray[np.float64]

PIXELS_PER_SKY = 4096
"""How many pixels of each sky enter a median."""

MAD_TO_SIGMA = 1.482602218505602
"""1 / Phi^-1(3/4): what the median absolute deviation of a normal distribution is multiplied by to give its
standard deviation."""


def extremes(skies: Iterable[Any], names: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Return the smallest and the largest value of every feature, shape (n_features,) each."""
    lowest: Numbers | None = None
    highest: Numbers | None = None
    for flat in _flattened(skies, names):
        low, high = flat.min(axis=1).astype(np.float64), flat.max(axis=1).astype(np.float64)
        lowest = low if lowest is None else np.minimum(lowest, low)
        highest = high if highest is None else np.maximum(highest, high)
    return _found(lowest), _found(highest)


def moments(skies: Iterable[Any], names: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Return mean and standard deviation of every feature over all pixels and skies, shape (n_features,)."""
    count, mean, squares = 0, None, None
    for flat in _flattened(skies, names):
        n = flat.shape[1]
        own = flat.mean(axis=1, dtype=np.float64)
        own_squares = np.array(
            [np.square(row - m, dtype=np.float64).sum() for row, m in zip(flat, own, strict=True)]
        )
        if mean is None or squares is None:
            count, mean, squares = n, own, own_squares
            continue
        apart, total = own - mean, count + n
        mean = mean + apart * n / total
        squares = squares + own_squares + apart**2 * count * n / total
        count = total
    return _found(mean), np.sqrt(_found(squares) / max(count, 1))


def robust_moments(skies: Iterable[Any], names: Sequence[str]) -> tuple[Numbers, Numbers]:
    """Return median and spread of every feature, which the few bright pixels of the Galaxy do not set.

    The spread is the median absolute deviation from the median, times `MAD_TO_SIGMA`.
    Of each sky `PIXELS_PER_SKY` pixels are looked at: others in the next sky, so that
    together they cover the sky evenly; always the same ones.

    Returns
    -------
    tuple of numpy.ndarray
        Shape (n_features,) each.
    """
    samples = []
    order = np.empty(0, np.int64)
    for number, flat in enumerate(_flattened(skies, names)):
        if len(order) != flat.shape[1]:
            order = generator_of(0, "pixels of medians").permutation(flat.shape[1])
        start = number * PIXELS_PER_SKY
        chosen = np.arange(start, start + min(PIXELS_PER_SKY, len(order))) % len(order)
        samples.append(flat[:, order[chosen]].astype(np.float32))
    sample = np.concatenate(samples, axis=1) if samples else None
    if sample is None:
        return _found(None), _found(None)
    median = np.median(sample, axis=1)
    spread = np.median(np.abs(sample - median[:, None]), axis=1)
    return median.astype(np.float64), MAD_TO_SIGMA * spread.astype(np.float64)


def _flattened(skies: Iterable[Any], names: Sequence[str]) -> Iterator[NDArray[Any]]:
    """Yield the skies as (n_features, n_pixels), all finite and of one number of features."""
    n_features = None
    for number, sky in enumerate(skies):
        array = np.asarray(sky)
        flat = array.reshape(len(array), -1)
        if n_features not in (None, len(flat)):
            raise ValueError(
                f"sky {number} of those to fit has {len(flat)} features, the ones before have {n_features}"
            )
        n_features = len(flat)
        check_pixels(flat, what=f"sky {number} of those to fit: feature", names=names)
        yield flat


def _found(values: Numbers | None) -> Numbers:
    if values is None:
        raise ValueError("no sky to fit a transform to; give those of the training split")
    return values
