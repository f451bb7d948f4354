"""Cosmological parameters, drawn from published tables, and their power spectra by CAMB."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import camb
import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.simulation.cmb import unlensed_lmax
from cmbml.science.spectra import PowerSpectra, TheorySpectra
from cmbml.science.threads import thread_count

PHYSICAL_RANGES: Mapping[str, tuple[float, float]] = {
    "ombh2": (0.005, 0.1),
    "omch2": (0.001, 0.99),
    "H0": (20.0, 100.0),
    "tau": (0.01, 0.8),
    "As": (1e-10, 1e-8),
    "ns": (0.5, 1.5),
    "pivot_scalar": (1e-4, 1.0),
    "mnu": (0.0, 5.0),
}
"""The names that a cosmology has, as CAMB spells them, and the ranges in which it is taken as physical.

Densities, H0, tau and the neutrino mass: the prior ranges of Planck 2013 results XVI, Table 1. A_s, n_s and
the pivot: wide enough for every published fit, narrow enough to catch an amplitude given as 10^9 A_s.
"""

_LARGEST_SINGLE_MASS = 0.1
"""Sum of neutrino masses in eV up to which one species has it."""

_INTEGRATION_ACCURACY = 0.5
"""CAMB's accuracy of integration in time (its `IntTolBoost`), 1 by default.

Half of it saves a fifth of CAMB's time. Below 1000 it changes TT by at most 1.4e-4, TE by 1.9e-4 of
sqrt(TT EE), EE, BB and the potential by 4e-5; twice CAMB's other accuracies change TT and EE by 2e-3.
"""

DRAWS = 1000
"""Draws before a table or chain is given up; of the tables here not one draw in a million is unphysical."""


@dataclass(frozen=True)
class ParameterTable:
    """A published estimate of the parameters of flat LCDM.

    Parameters
    ----------
    names
        Names of the parameters, as CAMB has them.
    mean, sigma
        Mean and standard deviation of each; H0 in km/s/Mpc.
    correlation
        Correlation matrix, rows in the order of `names`.
    pivot
        Wavenumber at which A_s and n_s are defined, in 1/Mpc.
    mnu
        Sum of the neutrino masses in eV, which the estimate keeps fixed.
    source
        Where the numbers come from.

    Raises
    ------
    ValueError
        If the lengths differ, or the matrix is no correlation matrix.
    """

    names: tuple[str, ...]
    mean: tuple[float, ...]
    sigma: tuple[float, ...]
    correlation: tuple[tuple[float, ...], ...]
    pivot: float
    mnu: float
    source: str

    def __post_init__(self) -> None:
        n = len(self.names)
        matrix = np.array(self.correlation)
        if len(self.mean) != n or len(self.sigma) != n or matrix.shape != (n, n):
            raise ValueError(
                f"parameter table: {n} names need {n} means, errors and rows of correlations; "
                f"got {len(self.mean)}, {len(self.sigma)} and shape {matrix.shape}"
            )
        if not (np.allclose(matrix, matrix.T) and np.allclose(np.diag(matrix), 1)):
            raise ValueError("parameter table: the correlations must be symmetric, with 1 on the diagonal")
        if np.linalg.eigvalsh(matrix)[0] <= 0:
            raise ValueError("parameter table: the correlation matrix must be positive definite")

    @property
    def covariance(self) -> NDArray[np.float64]:
        """Covariance matrix of the parameters, shape (n, n)."""
        covariance: NDArray[np.float64] = np.array(self.correlation) * np.outer(self.sigma, self.sigma)
        return covariance


_NAMES = ("ombh2", "omch2", "H0", "tau", "As", "ns")

TABLES: Mapping[str, ParameterTable] = {
    "wmap9": ParameterTable(
        names=_NAMES,
        mean=(0.02264, 0.1138, 70.0, 0.089, 2.41e-9, 0.972),
        sigma=(0.00050, 0.0045, 2.2, 0.014, 0.10e-9, 0.013),
        correlation=(
            (1.000, -0.282, 0.622, 0.332, -0.566, 0.831),
            (-0.282, 1.000, -0.877, -0.251, 0.639, -0.473),
            (0.622, -0.877, 1.000, 0.321, -0.726, 0.711),
            (0.332, -0.251, 0.321, 1.000, 0.212, 0.410),
            (-0.566, 0.639, -0.726, 0.212, 1.000, -0.732),
            (0.831, -0.473, 0.711, 0.410, -0.732, 1.000),
        ),
        pivot=0.002,
        mnu=0.0,  # the WMAP team's basic model has massless neutrinos
        source=(
            "nine-year WMAP alone, Hinshaw et al. 2013, ApJS 208, 19; correlations from the covariance "
            "of the WMAP-9 chains that the Planck collaboration published with CosmoMC (base_WMAP)"
        ),
    ),
    "planck2018": ParameterTable(
        names=_NAMES,
        mean=(0.02237, 0.1200, 67.36, 0.0544, 2.099e-9, 0.9649),
        sigma=(0.00015, 0.0012, 0.54, 0.0073, 0.029e-9, 0.0042),
        correlation=(
            (1.000, -0.526, 0.705, 0.278, 0.241, 0.393),
            (-0.526, 1.000, -0.955, -0.396, -0.249, -0.670),
            (0.705, -0.955, 1.000, 0.404, 0.279, 0.666),
            (0.278, -0.396, 0.404, 1.000, 0.923, 0.346),
            (0.241, -0.249, 0.279, 0.923, 1.000, 0.230),
            (0.393, -0.670, 0.666, 0.346, 0.230, 1.000),
        ),
        pivot=0.05,
        mnu=0.06,
        source=(
            "TT,TE,EE+lowE+lensing, Planck 2018 results VI, A&A 641, A6, Table 2; correlations from the "
            "published covariance base_TTTEEE_lensing_lowE_lowl_plikHM"
        ),
    ),
    "planck2018_bao": ParameterTable(
        names=_NAMES,
        mean=(0.02242, 0.11933, 67.66, 0.0561, 2.105e-9, 0.9665),
        sigma=(0.00014, 0.00091, 0.42, 0.0071, 0.029e-9, 0.0038),
        correlation=(
            (1.000, -0.401, 0.647, 0.189, 0.176, 0.262),
            (-0.401, 1.000, -0.927, -0.297, -0.166, -0.563),
            (0.647, -0.927, 1.000, 0.306, 0.202, 0.551),
            (0.189, -0.297, 0.306, 1.000, 0.922, 0.257),
            (0.176, -0.166, 0.202, 0.922, 1.000, 0.153),
            (0.262, -0.563, 0.551, 0.257, 0.153, 1.000),
        ),
        pivot=0.05,
        mnu=0.06,
        source=(
            "TT,TE,EE+lowE+lensing+BAO, Planck 2018 results VI, A&A 641, A6, Table 2; correlations from the "
            "published covariance base_plikHM_TTTEEE_lowl_lowE_lensing_post_BAO"
        ),
    ),
}
"""Published tables by name.

Means and errors are the papers' own. The papers print no correlations: these follow from the published
covariances of the chains by the two linear steps of `docs/derivations/cosmology_correlations.py` (H0 in
place of the acoustic scale, A_s moved to the table's pivot), which also give back every error to 4 per cent.
"""


def parameter_table(name: str) -> ParameterTable:
    """Return a published table.

    Raises
    ------
    ValueError
        If there is no table of that name.
    """
    if name not in TABLES:
        raise ValueError(f"cosmology {name!r}: not a parameter table; known are {', '.join(TABLES)}")
    return TABLES[name]


def mean_cosmology(table: ParameterTable) -> dict[str, float]:
    """Return the mean of a table, with its pivot and neutrino mass, by CAMB's names."""
    return _cosmology(table, table.mean)


def draw_cosmology(table: ParameterTable, rng: np.random.Generator, *, correlated: bool) -> dict[str, float]:
    """Draw one cosmology, Gaussian with the errors and correlations of a table.

    A draw outside `PHYSICAL_RANGES` is drawn again.

    Parameters
    ----------
    table
        Mean, errors and correlations.
    rng
        Generator that belongs to this simulation's cosmology.
    correlated
        Whether to keep the correlations; otherwise every parameter is an independent normal.

    Returns
    -------
    dict
        By CAMB's names: ombh2, omch2, H0, tau, As, ns, pivot_scalar, mnu.

    Raises
    ------
    ValueError
        If 1000 draws are unphysical.
    """
    sigma = np.array(table.sigma)
    root = np.linalg.cholesky(table.correlation) * sigma[:, None] if correlated else np.diag(sigma)  # (n, n)
    for _ in range(DRAWS):
        drawn = np.array(table.mean) + root @ rng.standard_normal(len(table.names))
        parameters = _cosmology(table, tuple(drawn.tolist()))
        if not unphysical(parameters):
            return parameters
    raise ValueError(
        f"parameter table ({table.source}): none of {DRAWS} draws was physical; "
        f"its means and errors must lie well inside {dict(PHYSICAL_RANGES)}"
    )


def _cosmology(table: ParameterTable, values: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(table.names, values, strict=True)) | {"pivot_scalar": table.pivot, "mnu": table.mnu}


def unphysical(parameters: Mapping[str, float]) -> list[str]:
    """Say which parameters are outside their range."""
    return [
        f"{name} {parameters[name]:g} (must lie between {low:g} and {high:g})"
        for name, (low, high) in PHYSICAL_RANGES.items()
        if not low <= parameters[name] <= high
    ]


def check_cosmology(parameters: Mapping[str, float]) -> Mapping[str, float]:
    """Return a cosmology if it is complete and physical.

    Raises
    ------
    ValueError
        If a name of `PHYSICAL_RANGES` is missing, another is there, or a value is outside its range.
    """
    missing = sorted(set(PHYSICAL_RANGES) - set(parameters))
    unknown = sorted(set(parameters) - set(PHYSICAL_RANGES))
    if missing or unknown:
        raise ValueError(
            f"cosmology: missing {', '.join(missing) or 'nothing'}, unknown "
            f"{', '.join(unknown) or 'nothing'}; a cosmology has exactly {', '.join(PHYSICAL_RANGES)}"
        )
    outside = unphysical(parameters)
    if outside:
        raise ValueError(f"cosmology: unphysical {', '.join(outside)}")
    return parameters


def massive_neutrinos(mnu: float) -> dict[str, Any]:
    """Return how CAMB is to share a sum of neutrino masses (eV) among its species.

    Up to 0.1 eV one species has it all, as the Planck collaboration keeps its 0.06 eV. A larger sum is that
    of three nearly equal masses, the splittings that oscillations measure being small against it, and chains
    in which it varies are sampled so. At 0.6 eV the two differ by 2 per cent of unlensed TT.
    """
    if mnu <= _LARGEST_SINGLE_MASS:
        return {"num_massive_neutrinos": 1}
    return {"num_massive_neutrinos": 3, "neutrino_hierarchy": "degenerate"}


def cosmology_spectra(parameters: Mapping[str, float], *, lmax: int, accuracy: float = 1.0) -> TheorySpectra:
    """Return the spectra that lensed skies up to `lmax` need, by one run of CAMB.

    Flat LCDM with scalar perturbations only and the nonlinear matter power in the lensing potential.

    Parameters
    ----------
    parameters
        A cosmology, see `PHYSICAL_RANGES`.
    lmax
        Band limit of the skies; the spectra go on to `unlensed_lmax(lmax)`.
    accuracy
        CAMB's `lens_potential_accuracy`, 1 or more. At 1 the lensed spectra below 400 are within 2e-4 (TT,
        EE) and 3e-3 (BB) of those at 4 and the potential's within 1e-2 below 1000.

    Returns
    -------
    TheorySpectra
        C_l, zero at l < 2, in uK_CMB2 (PT and PE in uK_CMB, PP without unit): unlensed TT, EE, BB (zero), TE,
        PP, PT, PE; lensed TT, EE, BB, TE. The same bits for the same parameters and thread count.

    Raises
    ------
    ValueError
        If `accuracy` is below 1, the cosmology is incomplete or unphysical, or CAMB refuses it.
    """
    if not accuracy >= 1:
        raise ValueError(
            f"CAMB accuracy {accuracy:g}: must be 1 or more; below, the lensing potential is that of the "
            "linear matter power and too small at high multipoles"
        )
    check_cosmology(parameters)
    top = unlensed_lmax(lmax)
    # without it OpenMP takes every core
    camb.config.ThreadNum = thread_count()
    try:
        settings = camb.set_params(**parameters, **massive_neutrinos(parameters["mnu"]), omk=0.0)
        settings.set_for_lmax(top, lens_potential_accuracy=accuracy)
        settings.Accuracy.IntTolBoost = _INTEGRATION_ACCURACY
        # `get_cmb_power_spectra` is given no parameters: with them it computes all a second time
        spectra = camb.get_results(settings).get_cmb_power_spectra(
            lmax=top,
            spectra=("unlensed_scalar", "lensed_scalar", "lens_potential"),
            CMB_unit="muK",
            raw_cl=True,
        )
    except (camb.CAMBError, ValueError) as error:
        raise ValueError(f"CAMB cannot compute the cosmology {dict(parameters)}: {error}") from error
    return _as_spectra(spectra)


def _as_spectra(spectra: Mapping[str, NDArray[Any]]) -> TheorySpectra:
    """Name CAMB's columns."""
    unlensed = dict(zip(("TT", "EE", "BB", "TE"), spectra["unlensed_scalar"].T, strict=True))
    potential = dict(zip(("PP", "PT", "PE"), spectra["lens_potential"].T, strict=True))
    lensed = dict(zip(("TT", "EE", "BB", "TE"), spectra["lensed_scalar"].T, strict=True))
    return TheorySpectra(
        unlensed=PowerSpectra(values=unlensed | potential, scaling="cl", lensed=False),
        lensed=PowerSpectra(values=lensed, scaling="cl", lensed=True),
    )
