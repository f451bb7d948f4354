"""The numbers behind the embedded sky: tables over Galactic latitude, spectra, correlations.

They were found by drawing skies and comparing them with what is measured on the
real one, see `embedded_targets`. Names and symbols are those of `ComponentModel`
and `PolarisationModel`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.simulation.embedded_fields import Spectrum, Wall

Array = NDArray[Any]

COMPONENTS = ("dust", "synchrotron", "free_free", "ame")

DUST_GHZ = 353.0
"""Frequency of the dust templates, I and Q, U."""

LOW_GHZ = 30.0
"""Frequency of the synchrotron (I and Q, U), free-free and AME templates."""

NODES = (0, 1, 2, 3.5, 5.5, 8, 11, 15.5, 21, 28, 37, 48, 60, 72, 90)
"""|b| in degrees at which the tables below are given."""


@dataclass(frozen=True)
class ComponentModel:
    """How the brightness of one component is drawn.

    I(l, b) = m (exp(s g) - c)_+ / (1 - c) with ln m = log_median + longitude cos l,
    s = spread, c = offset, all functions of |b| given at `NODES`, and g a field
    of mean 0 and variance 1. A negative offset puts a floor under faint places,
    a positive one lets them fade out, as where a component separation found none.

    Parameters
    ----------
    log_median
        ln of the median brightness in uK_RJ.
    longitude
        Half the log ratio of the directions to the centre and away from it.
    spread, offset
        Width and zero level of the scatter.
    spectrum
        Of the Gaussian part of g.
    grain
        Amplitude within g of a rough part that no other component shares, as
        the noise in the published maps; empty for none.
    """

    log_median: tuple[float, ...]
    longitude: tuple[float, ...]
    spread: tuple[float, ...]
    offset: tuple[float, ...]
    spectrum: Spectrum
    grain: tuple[float, ...] = ()


MODELS = {
    "dust": ComponentModel(
        log_median=(7.78, 7.47, 7.04, 6.61, 6.08, 5.7, 5.26, 4.8, 4.38, 4, 3.7, 3.25, 2.68, 2.38, 2.2),
        longitude=(1.20, 0.80, 0.40, 0.20, 0.10, 0.05, 0.00, 0.05, 0.15, 0.15, 0.05, 0.00, 0.00, 0.00, 0.00),
        spread=(0.47, 0.47, 0.46, 0.5, 0.53, 0.59, 0.69, 0.87, 0.88, 0.83, 0.75, 0.75, 0.62, 0.53, 0.48),
        offset=(
            0.05,
            0.05,
            0.05,
            0.0,
            -0.05,
            -0.05,
            -0.15,
            -0.32,
            -0.38,
            -0.32,
            -0.15,
            0.05,
            -0.05,
            -0.25,
            -0.25,
        ),
        spectrum=Spectrum(slope=-2.45, knee=0.7),
    ),
    "synchrotron": ComponentModel(
        log_median=(5.53, 5.39, 5.21, 4.99, 4.68, 4.4, 4.17, 4, 3.85, 3.68, 3.54, 3.43, 3.33, 3.31, 3.28),
        longitude=(1.07, 0.97, 0.75, 0.55, 0.35, 0.32, 0.26, 0.24, 0.24, 0.3, 0.25, 0.14, 0.1, 0.05, 0),
        spread=(0.56, 0.54, 0.52, 0.51, 0.47, 0.47, 0.48, 0.45, 0.45, 0.46, 0.42, 0.36, 0.36, 0.34, 0.3),
        offset=(0.15, 0.15, 0.15, 0.15, 0.15, 0.1, 0.05, 0.08, 0.06, -0.02, -0.1, -0.15, -0.15, -0.15, -0.1),
        spectrum=Spectrum(slope=-3.0),
    ),
    "free_free": ComponentModel(
        log_median=(7.6, 7.2, 6.5, 5.85, 5.28, 4.85, 4.45, 3.95, 3.45, 2.85, 2.2, 1.4, 0.55, 0.4, 0.35),
        longitude=(1.95, 1.5, 1.01, 0.67, 0.57, 0.35, 0.2, 0.15, 0.15, 0.25, 0.25, 0.1, 0.1, 0, 0),
        spread=(1.19, 1.19, 1.13, 0.95, 0.79, 0.73, 0.84, 1.05, 1.05, 0.95, 1.2, 1.35, 1.45, 1.5, 1.45),
        offset=(0.05, 0.05, 0.05, 0.08, 0.22, 0.28, 0.22, 0.17, 0.24, 0.33, 0.30, 0.37, 0.42, 0.42, 0.42),
        spectrum=Spectrum(slope=-2.7, knee=1.2),
        grain=(0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.58, 0.65, 0.75, 0.84, 0.88, 0.88, 0.88, 0.88),
    ),
    "ame": ComponentModel(
        log_median=(6.85, 6.61, 6.20, 5.80, 5.32, 4.92, 4.52, 4.12, 3.76, 3.40, 3.08, 2.72, 2.24, 2.04, 1.90),
        longitude=(1.34, 1.04, 0.76, 0.56, 0.32, 0.22, 0.09, 0.14, 0.24, 0.38, 0.38, 0.32, 0.2, 0.1, 0),
        spread=(0.53, 0.52, 0.51, 0.52, 0.52, 0.55, 0.64, 0.7, 0.69, 0.69, 0.67, 0.61, 0.58, 0.57, 0.56),
        offset=(0.05, 0.05, 0.05, 0.07, 0.12, 0.12, 0.06, -0.03, -0.03, 0.02, 0.13, 0.29, 0.29, 0.23, 0.16),
        spectrum=Spectrum(slope=-2.6, knee=1.0),
        grain=(0.2, 0.2, 0.2, 0.25, 0.3, 0.3, 0.33, 0.38, 0.4, 0.45, 0.5, 0.55, 0.6, 0.6, 0.6),
    ),
}

GRAIN_SPECTRUM = Spectrum(slope=-3.0, knee=60.0)
"""White at large scales; its variance stays finite at any resolution."""

COHERENCE = np.array(
    [
        [1.00, 0.60, 0.73, 0.91],
        [0.60, 1.00, 0.27, 0.76],
        [0.73, 0.27, 1.00, 0.63],
        [0.91, 0.76, 0.63, 1.00],
    ]
)
"""Correlation per multipole of the Gaussian parts, in the order of `COMPONENTS`."""

WALLS = (
    (0.8, Wall(Spectrum(slope=-4.0, knee=8.0, cut=30.0), level=0.7, inside=0.6, outside=0.12)),
    (0.6, Wall(Spectrum(slope=-3.5, knee=15.0, cut=80.0), level=0.0, inside=0.25, outside=0.25)),
)
"""Sharp-edged shells and thinner filaments, with their amplitudes (squares sum to 1)."""

WALL_SHARE = {"dust": 0.36, "free_free": 0.15, "ame": 0.28}
"""Amplitude of the walls within the field of unit variance; the Gaussian part has the rest."""

LOOPS, LOOP_SHARE = 6, 1.2
"""Loops in the synchrotron field: how many, and the brightness of a bright rim in units of its spread."""

SMOOTHNESS = 0.03
"""Brightness, in units of (1 - c) m, over which (x)_+ is rounded; free-free fades to about exp(-c/0.03)."""


@dataclass(frozen=True)
class PolarisationModel:
    """How the polarisation of one component is drawn.

    (Q, U) = J [(plane, 0) + spread (q, u)], limited to P <= limit x I. J is the
    brightness without its small scales; (q, u) is the pattern of a uniform
    field plus a random field of E and B modes. `plane` and `spread` are given
    at `NODES`, in per cent.

    Parameters
    ----------
    plane_percent
        Polarisation fraction by a magnetic field along the Galactic plane.
    spread_percent
        Standard deviation of the random part, per Stokes parameter.
    uniform
        Strength of the pattern of a uniform field, in units of `spread`.
    spectrum
        Of E and B.
    bb_to_ee
        Ratio of their powers.
    with_intensity
        Correlation of E with the Gaussian part of the intensity.
    smoothing_ell
        Multipole at which J loses the structure of I.
    limit
        Largest polarisation fraction.
    """

    plane_percent: tuple[float, ...]
    spread_percent: tuple[float, ...]
    uniform: float
    spectrum: Spectrum
    bb_to_ee: float
    with_intensity: float
    smoothing_ell: float
    limit: float


POLARISATION = {
    "dust": PolarisationModel(
        plane_percent=(1.8, 2.2, 2.8, 3.2, 3.5, 3.7, 3.7, 3.5, 3.4, 3.3, 2.8, 2, 1, 0.5, 0),
        spread_percent=(1.4, 1.5, 1.8, 2.2, 2.9, 3.3, 3.8, 4.3, 5.2, 6, 6.7, 7.2, 8.5, 9.5, 9.5),
        uniform=0.9,
        spectrum=Spectrum(slope=-2.5, knee=2.0, lmin=2),
        bb_to_ee=0.43,
        with_intensity=0.2,
        smoothing_ell=10.0,
        limit=0.5,
    ),
    "synchrotron": PolarisationModel(
        plane_percent=(11, 12.5, 13, 14, 13.5, 12.5, 11, 9, 7.5, 6.5, 5.5, 3.5, 1, 0, 0),
        spread_percent=(6, 6.5, 7.5, 8.5, 10, 11, 12, 13.5, 14, 15, 16, 16.5, 17, 17.5, 17.5),
        uniform=1.1,
        spectrum=Spectrum(slope=-2.55, knee=1.0, lmin=2),
        bb_to_ee=0.30,
        with_intensity=0.1,
        smoothing_ell=10.0,
        limit=0.7,
    ),
}

TEMPERATURE_PROFILE = (19, 18.9, 18.6, 18.3, 18.4, 18.7, 19.1, 19.6, 20.2, 20.8, 21.4, 22.2, 22.8, 23.1, 23.2)
"""Median dust temperature at `NODES` in K: the plane is colder than the diffuse gas."""

TEMPERATURE_SCATTER = 1.6
"""Standard deviation about `TEMPERATURE_PROFILE` in K."""

SPECTRAL_SPECTRA = {
    "dust_index": Spectrum(slope=-2.2),
    "dust_temperature": Spectrum(slope=-2.3),
    "synchrotron_index": Spectrum(slope=-3.5, knee=6.0),
}
"""Power spectra of the maps of the spectral parameters."""
