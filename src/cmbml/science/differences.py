"""Differences of channels in which the CMB cancels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.science.beams import window_ratio
from cmbml.science.harmonics import filter_alm

Array = NDArray[Any]


def difference_alm(
    alm: Array, beam: Array, reference: Array, reference_beam: Array, *, common: Array
) -> Array:
    """Return a channel minus a reference channel, both at one beam: the channel's own or the common one.

    Of the two it is the one that has less left at a multipole, so that the channel is never brought to a
    finer beam than its own. The CMB is the same in both and cancels.

    Parameters
    ----------
    alm, reference
        Coefficients of channel and reference, shape (n_fields, alm_size); of a reference with more
        fields, the first ones count.
    beam, reference_beam, common
        Beam windows of both, and the common one, shape (lmax + 1,).

    Returns
    -------
    numpy.ndarray
        Shape (n_fields, alm_size).
    """
    window = np.minimum(beam, common)
    same = filter_alm(reference[: len(alm)], window_ratio(window, reference_beam))
    return np.asarray(filter_alm(alm, window_ratio(window, beam)) - same)
