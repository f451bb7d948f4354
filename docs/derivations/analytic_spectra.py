"""Fit the constants of the analytic spectra to CAMB.

`cmbml.pipelines.simulation.analytic_spectra` states the formulas. Here they are
fitted to CAMB's unlensed spectra at the means of Planck 2018, from l = 2 to 2500:
amplitudes of the harmonics by linear least squares, inside a fit of what shapes
the envelopes. Errors count relative to the spectrum, those of TE relative to
sqrt(TT EE).

Run `python docs/derivations/analytic_spectra.py`; it prints the constants as they
stand in the module, and how far the module's spectra are from CAMB's.
"""

from collections.abc import Callable

import numpy as np
from scipy.optimize import least_squares

from cmbml.pipelines.simulation import analytic_spectra as analytic
from cmbml.pipelines.simulation.cosmology import TABLES, cosmology_spectra, mean_cosmology
from cmbml.science.spectra import TheorySpectra

TOP = 2500
COSMOLOGY = mean_cosmology(TABLES["planck2018"])
ELL = np.arange(2.0, TOP + 1)
STARTS = {"T": (3.0, 1.4), "E": (4.0, 1.7, 2.5, 0.5, 2.0, 5.0, 1.5), "X": (12.0, 1.2)}


def fit(
    y: np.ndarray, weight: np.ndarray, columns: Callable[[np.ndarray], np.ndarray], start: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return nonlinear constants and linear amplitudes; `columns` gives what the latter multiply."""

    def solved(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        matrix = columns(p).T
        amplitudes = np.linalg.lstsq(matrix * weight[:, None], y * weight, rcond=None)[0]
        return amplitudes, (matrix @ amplitudes - y) * weight

    found = least_squares(lambda p: solved(p)[1], start, bounds=(0, np.inf), x_scale="jac")
    return found.x, solved(found.x)[0]


def constants(theory: TheorySpectra) -> dict[str, object]:
    """Return the constants of the module, fitted."""
    distance, scale = analytic.acoustic_scale(COSMOLOGY)
    x = ELL / scale
    power = analytic.primordial_power(ELL, COSMOLOGY, distance)
    tt, ee, te, pp, pt = (theory.unlensed.dl(name)[2 : TOP + 1] for name in ("TT", "EE", "TE", "PP", "PT"))
    waves = analytic.harmonics(x)
    waves = np.concatenate([waves, waves * analytic.drift(x)])

    def columns_t(p: np.ndarray) -> np.ndarray:
        return np.concatenate([analytic.envelope(x, tuple(p)) * waves, [1 / ELL]])

    def columns_e(p: np.ndarray) -> np.ndarray:
        return np.concatenate([analytic.envelope(x, tuple(p[:5])) * waves, [np.exp(-((ELL / p[5]) ** p[6]))]])

    shape_t, t = fit(tt / power, power / tt, columns_t, STARTS["T"])
    shape_e, e = fit(ee / power, power / ee, columns_e, STARTS["E"])
    both = np.sqrt(analytic.envelope(x, tuple(shape_t)) * analytic.envelope(x, tuple(shape_e[:5])))

    def columns_x(p: np.ndarray) -> np.ndarray:
        return np.concatenate([both * waves, [np.exp(-((ELL / p[0]) ** p[1]))]])

    shape_x, cross = fit(te / power, power / np.sqrt(tt * ee), columns_x, STARTS["X"])

    def potential(p: np.ndarray) -> np.ndarray:
        return p[0] * ELL ** p[1] / (1 + (ELL / p[2]) ** p[3]) ** p[4]

    lenses = least_squares(
        lambda p: np.log(potential(p) * COSMOLOGY["As"] / pp), (15, 0.7, 100, 0.9, 3), x_scale="jac"
    )
    low, correlation = ELL < 300, pt / np.sqrt(tt * pp)
    crossed = least_squares(
        lambda p: (p[0] / (1 + (ELL / p[1]) ** p[2]) - correlation)[low], (0.5, 12, 1.3), x_scale="jac"
    )
    return {
        "TEMPERATURE": analytic.Acoustic(rounded(shape_t), rounded(t[:5]), rounded(t[5:10])),
        "PLATEAU": rounded(t[10:])[0],
        "E_MODES": analytic.Acoustic(rounded(shape_e[:5]), rounded(e[:5]), rounded(e[5:10])),
        "E_REIONISATION": analytic.Reionisation(*rounded([e[10], *shape_e[5:]]), power=2),
        "CROSS": analytic.Acoustic((), rounded(cross[:5]), rounded(cross[5:10])),
        "CROSS_REIONISATION": analytic.Reionisation(*rounded([cross[10], *shape_x]), power=1),
        "POTENTIAL": rounded(lenses.x),
        "POTENTIAL_CROSS": rounded(crossed.x),
        "FITTED_TAU": COSMOLOGY["tau"],
    }


def rounded(values: np.ndarray) -> tuple[float, ...]:
    """Return numbers to five digits, which is more than the fit is good for."""
    return tuple(float(f"{value:.5g}") for value in values)


def errors(theory: TheorySpectra) -> dict[str, np.ndarray]:
    """Return the relative errors of the module's spectra from l = 2, of TE relative to sqrt(TT EE)."""
    model = analytic.analytic_spectra(COSMOLOGY, lmax=TOP)
    found = {}
    for label, ours, camb in (
        ("", model.unlensed, theory.unlensed),
        ("lensed ", model.lensed, theory.lensed),
    ):
        for name in ("TT", "EE", "TE", "PP", "BB"):
            if name in ours.values and camb.dl(name)[2:].any():
                product = camb.dl(name) if name != "TE" else np.sqrt(camb.dl("TT") * camb.dl("EE"))
                difference = ours.dl(name)[2:] - camb.dl(name)[2 : TOP + 1]
                found[label + name] = difference / product[2 : TOP + 1]
    return found


def main() -> None:
    """Print constants and errors."""
    theory = cosmology_spectra(COSMOLOGY, lmax=TOP)
    for name, value in constants(theory).items():
        print(f"{name} = {value}")
    for name, error in errors(theory).items():
        print(f"{name:10s} rms {np.sqrt(np.mean(error**2)):.3f}, largest {np.abs(error).max():.3f}", end="")
        print(f" at {ELL[np.abs(error).argmax()]:.0f}")


if __name__ == "__main__":
    main()
