"""Gaussian beams in harmonic space."""

import numpy as np
from numpy.typing import NDArray

ARCMIN = np.pi / 180 / 60
"""One minute of arc in radians."""

LARGEST_WINDOW_AT_CUT = 0.8
"""A map whose beam window is still above this at lmax is shaped by the cut, not by the beam."""


def beam_window(fwhm: float, lmax: int) -> NDArray[np.float64]:
    """Return the window b_l = exp(-l(l+1) sigma^2 / 2) of a Gaussian beam.

    Parameters
    ----------
    fwhm
        Full width at half maximum in radians, 0 or more.
    lmax
        Band limit, inclusive.

    Returns
    -------
    numpy.ndarray
        Shape (lmax + 1,). It acts on T, E and B alike: the spin-2 window
        differs by the constant factor exp(2 sigma^2), left out here as in
        HEALPix's `smoothing`.

    Raises
    ------
    ValueError
        If `fwhm` is negative.
    """
    if not fwhm >= 0:
        raise ValueError(f"fwhm {fwhm} rad: a beam cannot be narrower than 0")
    ell = np.arange(lmax + 1)
    sigma = fwhm / np.sqrt(8 * np.log(2))
    window: NDArray[np.float64] = np.exp(-0.5 * ell * (ell + 1) * sigma**2)
    return window


def window_ratio(window: NDArray[np.float64], beam: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what brings a map from one beam to another: window / beam, where there is something to bring.

    Parameters
    ----------
    window
        Of the beam that the map is to have, shape (lmax + 1,).
    beam
        Of the beam that it has, of the same shape.

    Returns
    -------
    numpy.ndarray
        Shape (lmax + 1,); 0 where `beam` is 0, as that of a wide beam is in double precision at high l.

    Examples
    --------
    >>> window_ratio(np.array([1.0, 0.5, 0.25]), np.array([1.0, 0.25, 0.0])).tolist()
    [1.0, 2.0, 0.0]
    """
    return np.divide(window, beam, out=np.zeros_like(beam), where=beam > 0)


def check_target_beam(fwhm_arcmin: float, lmax: int) -> float:
    """Return `fwhm_arcmin` if maps at that beam are set by it and not by lmax.

    Raises
    ------
    ValueError
        If the beam window at `lmax` is above 0.8.
    """
    at_cut = float(beam_window(fwhm_arcmin * ARCMIN, lmax)[-1])
    if at_cut > LARGEST_WINDOW_AT_CUT:
        raise ValueError(
            f"target beam {fwhm_arcmin:g} arcmin: its window at lmax {lmax} is {at_cut:.2f}, above "
            f"{LARGEST_WINDOW_AT_CUT}, so that the cut at lmax and not the beam would shape the map; "
            "take a wider target beam or a higher lmax"
        )
    return fwhm_arcmin
