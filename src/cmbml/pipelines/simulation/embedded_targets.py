"""What the embedded sky is held to: statistics of the real foregrounds.

Measured on the templates of PySM 2 [1]_, presets d1, s1, f1 and a1, at nside 64:
dust at 353 GHz, the other components at 30 GHz.

References
----------
.. [1] Thorne et al. 2017, MNRAS 469, 2821.
"""

from dataclasses import dataclass

BAND_EDGES = (0, 2, 5, 10, 15, 20, 30, 45, 60, 90)
"""Edges of the latitude bands, |b| in degrees."""

FAINTEST = 1e-3
"""Brightness in uK_RJ below which a logarithm is not followed: the templates fade to zero."""

POWER_ELLS = (20, 40, 80)
"""Multipoles at which polarised power is compared."""


@dataclass(frozen=True)
class Measured:
    """Statistics of one template.

    Parameters
    ----------
    faint, median, bright
        16th, 50th and 84th percentile of the pixels in each latitude band, uK_RJ.
    scatter, skew
        Standard deviation and skewness of the log residual: ln of the brightness
        (at least `FAINTEST`) minus its median in bands of |b| that are 2 degrees
        wide.
    slope, c10
        Of ln C_l against ln l of the log residual, l = 5-60; and its C_10.
    inner_to_outer
        Median at |b| < 5 within 60 degrees of the centre, over that at l = 120-240.
    polarisation_fraction
        Median P/I in each latitude band.
    ee, bb
        D_l at |b| > 20 (a sharp cut, divided by its sky fraction) at
        `POWER_ELLS`, uK_RJ^2.
    bb_to_ee
        Sum of C_l^BB over sum of C_l^EE, l = 10-100, same cut.
    coherence
        Root mean square at |b| > 20 of the unit vectors (Q, U)/P after smoothing
        to 20 degrees; 1 if all angles are alike.
    """

    faint: tuple[float, ...]
    median: tuple[float, ...]
    bright: tuple[float, ...]
    scatter: float
    skew: float
    slope: float
    c10: float
    inner_to_outer: float
    polarisation_fraction: tuple[float, ...] = ()
    ee: tuple[float, ...] = ()
    bb: tuple[float, ...] = ()
    bb_to_ee: float = 0.0
    coherence: float = 0.0


MEASURED = {
    "dust": Measured(
        faint=(787, 433, 188, 100, 61, 37, 21, 9.4, 7.6),
        median=(1620, 721, 321, 163, 102, 62.5, 38.9, 18.9, 11.1),
        bright=(4230, 1250, 546, 317, 230, 129, 75.5, 39.4, 17.4),
        scatter=0.61,
        skew=0.4,
        slope=-2.3,
        c10=3.1e-3,
        inner_to_outer=1.9,
        polarisation_fraction=(0.027, 0.038, 0.047, 0.059, 0.061, 0.070, 0.082, 0.088, 0.113),
        ee=(3.5, 2.7, 1.4),
        bb=(2.1, 1.3, 0.97),
        bb_to_ee=0.50,
        coherence=0.635,
    ),
    "synchrotron": Measured(
        faint=(76, 70, 49.8, 36, 29, 26.5, 23, 21.7, 21),
        median=(229, 150, 88.7, 61.6, 51.6, 41.5, 34.2, 30.2, 26.5),
        bright=(499, 258, 157, 102, 87, 68, 54.6, 41.4, 36.9),
        scatter=0.46,
        skew=0.0,
        slope=-3.1,
        c10=2.3e-3,
        inner_to_outer=3.1,
        polarisation_fraction=(0.138, 0.163, 0.176, 0.183, 0.181, 0.183, 0.193, 0.215, 0.229),
        ee=(7.3, 11.0, 3.3),
        bb=(4.1, 1.6, 1.2),
        bb_to_ee=0.54,
        coherence=0.76,
    ),
    "free_free": Measured(
        faint=(282, 104, 38.9, 21.4, 10.5, 2.9, 0.54, 0.0, 0.0),
        median=(1130, 328, 132, 71.1, 43.6, 22, 9.1, 2.9, 1.45),
        bright=(7270, 1050, 325, 203, 147, 67.8, 34.7, 15.9, 9.9),
        scatter=2.8,
        skew=-1.7,
        slope=-1.1,
        c10=1.8e-2,
        inner_to_outer=4.4,
    ),
    "ame": Measured(
        faint=(282, 170, 84, 47, 30, 17.9, 9.8, 4.4, 3.6),
        median=(725, 342, 153, 83, 54.7, 34.7, 22.5, 12.6, 7.6),
        bright=(2070, 692, 271, 153, 101, 67.8, 45.5, 27.7, 15.5),
        scatter=0.81,
        skew=-1.1,
        slope=-1.8,
        c10=3.6e-3,
        inner_to_outer=3.4,
    ),
}

MEASURED_CORRELATION = {
    ("dust", "synchrotron"): 0.40,
    ("dust", "free_free"): 0.30,
    ("dust", "ame"): 0.73,
    ("synchrotron", "free_free"): 0.11,
    ("synchrotron", "ame"): 0.48,
    ("free_free", "ame"): 0.23,
}
"""Correlation over pixels of the log residuals."""

MEASURED_SPECTRA = {
    "dust_index": (1.54, 0.037),
    "dust_temperature": (20.9, 2.15),
    "synchrotron_index": (-3.00, 0.063),
}
"""Mean and standard deviation over pixels; temperature in K."""

FREE_FREE_INDEX = -2.14
"""Index of free-free emission in K_RJ, the same everywhere (preset f1)."""

AME_100_TO_30 = 5e-4
"""Standard deviation of the AME at 100 GHz over that at 30 GHz, in K_RJ."""
