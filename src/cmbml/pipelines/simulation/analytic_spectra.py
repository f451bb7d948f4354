r"""Power spectra of a cosmology by formulas instead of CAMB: for tests and for trying things out.

With :math:`x = \ell / \ell_A`, :math:`\ell_A` the acoustic scale, and the primordial power

.. math:: P_\ell = T_0^2 A_s e^{-2\tau} (k_\ell / k_\mathrm{pivot})^{n_s - 1}, \quad k_\ell = \ell / D_M ,

the unlensed spectra are a plateau, acoustic oscillations in x with their second harmonic (which makes odd
peaks differ from even ones), damping, and the rescattering at reionisation:

.. math::

    D^{TT}_\ell = P_\ell [F_T(x) h_T(x) + s / \ell], \quad
    D^{EE}_\ell = P_\ell [F_E(x) h_E(x) + R_E(\ell)], \quad
    D^{TE}_\ell = P_\ell [\sqrt{F_T F_E} h_X(x) + R_X(\ell)] ,

    F(x) = e^{-(x / x_D)^m} \frac{x^p}{1 + (x / x_0)^q}, \quad
    h(x) = \sum_{i=0}^{4} \left(a_i + \frac{b_i}{1 + \min(x, 8)}\right)
    (1, \cos \pi x, \sin \pi x, \cos 2 \pi x, \sin 2 \pi x)_i, \quad
    R(\ell) = r (\tau / \tau_0)^n e^{-(\ell / \ell_r)^c} ,

with p = 0 and no cut-off in :math:`x_0` for T, n = 2 for E and 1 for TE. The lensing potential is

.. math:: D^{PP}_\ell = A_s \, u \, \ell^v / (1 + (\ell / \ell_1)^w)^z , \quad
    D^{PT}_\ell = c_\ell \sqrt{D^{TT}_\ell D^{PP}_\ell}, \quad c_\ell = c / (1 + (\ell / \ell_2)^d) .

The constants are fits to CAMB at the means of Planck 2018, made by `docs/derivations/analytic_spectra.py`.
There, from l = 2 to 2500, TT is within 4 per cent rms (10 at most), EE within 5 (35 at l < 6), TE within 5
per cent of sqrt(TT EE) (15 at most) and PP within 0.5; the lensed spectra are as close, BB within 3 per cent
rms. Another cosmology moves amplitude, tilt, reionisation and acoustic scale; relative heights of peaks,
damping in x, the width of the reionisation bump and the shape of PP stay those of Planck's: at WMAP's means
TT is within 4 per cent rms, and EE within 6 above l = 30 but off by half near 13.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import j0

from cmbml.science.spectra import PowerSpectra, TheorySpectra
from cmbml.science.units import T_CMB

Array = NDArray[np.float64]

_T0 = 1e6 * T_CMB
"""Temperature of the CMB in uK."""

_LIGHT = 299792.458
"""km/s."""

_PHOTONS = 2.4729e-5
"""omega_gamma = Omega_gamma h^2 at that temperature."""

_RADIATION = _PHOTONS * (1 + 0.2271 * 3.046)
"""With three massless neutrinos: Komatsu et al. 2011, ApJS 192, 18, equation 26."""

_LARGEST_CORRELATION = 0.95
"""Of T and E, so that far from the fit, too, the spectra are a covariance."""

_LAST_FITTED = 8.0
"""In units of l_A, so that it is near l = 2400."""

_HIGHEST = 3000
"""Multipole up to which E and the potential are taken for the lensed spectra, at least."""

_B_NODES, _LENS_NODES, _ANGLES = 40, 96, 32
"""Multipoles of B, multipoles of the potential and angles at which B modes are worked out.

With as many, the integral is half a per cent rms, and at most 1.3 per cent, from that with 160, 400 and 128.
"""


@dataclass(frozen=True)
class Acoustic:
    """Constants of the acoustic part of a spectrum.

    Parameters
    ----------
    shape
        x_D, m, p, x_0, q of the envelope F; for T only x_D, m.
    a, b
        Amplitudes of the harmonics.
    """

    shape: tuple[float, ...]
    a: tuple[float, ...]
    b: tuple[float, ...]


@dataclass(frozen=True)
class Reionisation:
    """Constants r, l_r and c of the rescattered part, and the power n of tau."""

    height: float
    width: float
    steepness: float
    power: int


TEMPERATURE = Acoustic(
    shape=(2.925, 1.3699),
    a=(0.38159, 0.00023012, -0.0082006, 0.037468, -0.036856),
    b=(-0.22124, -0.10932, 0.18914, -0.042216, -0.090505),
)
PLATEAU = 0.020019
E_MODES = Acoustic(
    shape=(3.195, 1.5091, 3.1978, 2.0097, 1.7452),
    a=(4.7047e-05, 3.1261e-05, 1.5176e-05, -0.00015578, -0.00016087),
    b=(0.0015745, -0.0002313, -0.00016365, 0.00049289, 0.0015917),
)
E_REIONISATION = Reionisation(height=3.127e-06, width=4.5136, steepness=1.4204, power=2)
CROSS = Acoustic(
    shape=(),
    a=(-0.0034934, 0.00095163, -8.3433e-05, -0.00040898, 0.0024974),
    b=(0.0076398, -0.0091271, -0.003403, 0.016212, -0.0061845),
)
CROSS_REIONISATION = Reionisation(height=0.0001641, width=7.2699, steepness=3.4306, power=1)
POTENTIAL = (15.37, 0.68624, 107.61, 0.86658, 3.057)
POTENTIAL_CROSS = (0.44432, 12.097, 1.3788)
FITTED_TAU = 0.0544


def analytic_spectra(parameters: Mapping[str, float], *, lmax: int) -> TheorySpectra:
    """Return approximate spectra of a cosmology.

    Parameters
    ----------
    parameters
        A cosmology by CAMB's names; neutrinos count as radiation, and their mass as matter.
    lmax
        Last multipole of the spectra.

    Returns
    -------
    TheorySpectra
        D_l in uK_CMB2: unlensed TT, EE, BB (zero), TE, PP, PT; lensed TT, EE, TE with smoothed
        peaks, and BB of `lensed_b_modes`.
    """
    ell = np.arange(2.0, max(lmax, _HIGHEST) + 1)
    distance, acoustic = acoustic_scale(parameters)
    x = ell / acoustic
    potential = potential_spectrum(ell, parameters["As"])
    smoothing = _peak_smoothing(ell, potential, acoustic)
    before, after = (_primary(ell, x, parameters, distance, g) for g in (np.ones((5, 1)), smoothing))
    cross = POTENTIAL_CROSS[0] / (1 + (ell / POTENTIAL_CROSS[1]) ** POTENTIAL_CROSS[2])
    unlensed = {
        **before,
        "BB": np.zeros_like(ell),
        "PP": potential,
        "PT": cross * np.sqrt(before["TT"] * potential),
    }
    lensed = {**after, "BB": lensed_b_modes(ell, before["EE"], parameters["As"])}
    order = ("TT", "EE", "BB", "TE")
    return TheorySpectra(
        unlensed=_spectra({name: unlensed[name] for name in (*order, "PP", "PT")}, lmax, lensed=False),
        lensed=_spectra({name: lensed[name] for name in order}, lmax, lensed=True),
    )


def _spectra(values: Mapping[str, Array], lmax: int, *, lensed: bool) -> PowerSpectra:
    """Prepend l = 0 and 1, and cut at `lmax`."""
    whole = {name: np.concatenate([[0.0, 0.0], value])[: lmax + 1] for name, value in values.items()}
    return PowerSpectra(whole, scaling="dl", lensed=lensed)


# ---- Scales -------------------------------------------------------------------


def acoustic_scale(parameters: Mapping[str, float]) -> tuple[float, float]:
    r"""Return the distance to last scattering in Mpc and the acoustic scale l_A = pi D_M / r_s.

    .. math::
        D_M = \int_{a_*}^1 \frac{c \, da}{a^2 H}, \quad r_s = \int_0^{a_*} \frac{c_s \, da}{a^2 H}, \quad
        c_s = c / \sqrt{3 (1 + R)}, \quad R = \frac{3 \omega_b}{4 \omega_\gamma} a

    of a flat universe, with the redshift of last scattering of Hu & Sugiyama.

    References
    ----------
    Hu & Sugiyama 1996, ApJ 471, 542, equation E1.
    """
    baryons, dark = parameters["ombh2"], parameters["omch2"]
    matter = baryons + dark + parameters["mnu"] / 93.14
    g1 = 0.0783 * baryons**-0.238 / (1 + 39.5 * baryons**0.763)
    g2 = 0.560 / (1 + 21.1 * baryons**1.81)
    last = 1 / (1 + 1048 * (1 + 0.00124 * baryons**-0.738) * (1 + g1 * matter**g2))
    vacuum = (parameters["H0"] / 100) ** 2 - matter - _RADIATION

    def per_root(root: Array) -> Array:
        """Return c / (a^2 H) da / d sqrt(a) in Mpc, finite at a = 0."""
        a = root**2
        return _LIGHT / 100 * 2 * root / np.sqrt(_RADIATION + matter * a + vacuum * a**4)

    nodes, weights = np.polynomial.legendre.leggauss(40)
    early, late = np.sqrt(last) * (nodes + 1) / 2, np.sqrt(last) + (1 - np.sqrt(last)) * (nodes + 1) / 2
    slowing = np.sqrt(3 * (1 + 0.75 * baryons / _PHOTONS * early**2))
    horizon = np.sum(weights * per_root(early) / slowing) * np.sqrt(last) / 2
    distance = np.sum(weights * per_root(late)) * (1 - np.sqrt(last)) / 2
    return float(distance), float(np.pi * distance / horizon)


# ---- T and E ------------------------------------------------------------------


def primordial_power(ell: Array, parameters: Mapping[str, float], distance: float) -> Array:
    """Return P_l in uK2."""
    wavenumber = ell / distance / parameters["pivot_scalar"]
    power: Array = (
        _T0**2 * parameters["As"] * np.exp(-2 * parameters["tau"]) * wavenumber ** (parameters["ns"] - 1)
    )
    return power


def harmonics(x: Array) -> Array:
    """Return 1 and the two harmonics of the acoustic oscillation, shape (5, n)."""
    return np.stack([np.ones_like(x), *(f(n * np.pi * x) for n in (1, 2) for f in (np.cos, np.sin))])


def drift(x: Array) -> Array:
    """Return what the amplitudes b of the harmonics are multiplied by; constant beyond the fitted range."""
    fraction: Array = 1 / (1 + np.minimum(x, _LAST_FITTED))
    return fraction


def envelope(x: Array, shape: tuple[float, ...]) -> Array:
    """Return F(x)."""
    damping: Array = np.exp(-((x / shape[0]) ** shape[1]))
    return damping * x ** shape[2] / (1 + (x / shape[3]) ** shape[4]) if len(shape) > 2 else damping


def rescattered(ell: Array, constants: Reionisation, tau: float) -> Array:
    """Return R(l)."""
    tail: Array = np.exp(-((ell / constants.width) ** constants.steepness))
    return constants.height * (tau / FITTED_TAU) ** constants.power * tail


def _primary(
    ell: Array, x: Array, parameters: Mapping[str, float], distance: float, smoothing: Array
) -> dict[str, Array]:
    """Return D_l of TT, EE, TE, each harmonic multiplied by its row of `smoothing`."""
    waves = harmonics(x) * smoothing  # (5, n)
    t, e, cross = (
        np.array(c.a) @ waves + np.array(c.b) @ waves * drift(x) for c in (TEMPERATURE, E_MODES, CROSS)
    )
    shape_t, shape_e = envelope(x, TEMPERATURE.shape), envelope(x, E_MODES.shape)
    power, tau = primordial_power(ell, parameters, distance), parameters["tau"]
    tt = power * (shape_t * t + PLATEAU / ell)
    ee = power * (shape_e * e + rescattered(ell, E_REIONISATION, tau))
    te = power * (np.sqrt(shape_t * shape_e) * cross + rescattered(ell, CROSS_REIONISATION, tau))
    limit = _LARGEST_CORRELATION * np.sqrt(tt * ee)
    return {"TT": tt, "EE": ee, "TE": np.clip(te, -limit, limit)}


# ---- Lensing ------------------------------------------------------------------


def potential_spectrum(ell: Array, amplitude: float) -> Array:
    """Return D_l = [l(l+1)]^2 C_l / 2 pi of the lensing potential for an amplitude A_s."""
    u, v, first, w, z = POTENTIAL
    shape: Array = amplitude * u * ell**v / (1 + (ell / first) ** w) ** z
    return shape


def _peak_smoothing(ell: Array, potential: Array, acoustic: float) -> Array:
    r"""Return by how much lensing shrinks each harmonic, shape (5, n).

    A harmonic n in :math:`x` is a feature of the correlation function at the separation
    :math:`\beta = n \pi / \ell_A`, across which deflections differ by a variance

    .. math::
        \sigma^2(\beta) = \sum_\ell \frac{2 \ell + 1}{4 \pi} \, \ell (\ell + 1) \, C_\ell^{PP}
        \, [1 - J_0(\ell \beta)] ,

    so that it shrinks by :math:`e^{-\ell^2 \sigma^2(\beta) / 2}`. The power that lensing brings into the
    damping tail is left out.

    References
    ----------
    Seljak 1996, ApJ 463, 1: smoothing of the correlation function by relative deflections.
    """
    variance = potential * (2 * ell + 1) / (2 * ell * (ell + 1))  # of deflections, per multipole
    separations = np.pi / acoustic * np.array([0, 1, 1, 2, 2])
    sigma2 = np.sum(variance * (1 - j0(separations[:, None] * ell)), axis=1)
    smoothing: Array = np.exp(-(ell**2) * sigma2[:, None] / 2)
    return smoothing


def lensed_b_modes(ell: Array, e_modes: Array, amplitude: float) -> Array:
    r"""Return D_l of the B modes that lensing makes of E modes, in lowest order and on the flat sky.

    .. math:: C_\ell^{BB} = \int \frac{d^2 L}{(2 \pi)^2} \,
        [\mathbf{L} \cdot \boldsymbol\ell']^2 \, C_L^{PP} \, C_{\ell'}^{EE} \, \sin^2 2\phi , \quad
        \boldsymbol\ell' = \boldsymbol\ell - \mathbf{L} ,

    with the angle :math:`\phi` between :math:`\boldsymbol\ell` and :math:`\boldsymbol\ell'`; worked out at a
    few multipoles and interpolated.

    Parameters
    ----------
    ell
        Consecutive multipoles, from 2.
    e_modes
        D_l of unlensed EE there.
    amplitude
        A_s, for the potential.

    References
    ----------
    Hu 2000, Phys. Rev. D 62, 043007: harmonic approach, flat sky.
    """
    some = np.linspace(2**0.5, ell[-1] ** 0.5, _B_NODES)[:, None, None] ** 2
    lens = np.geomspace(2, ell[-1], _LENS_NODES)[:, None]
    angle = (np.arange(_ANGLES) + 0.5) * np.pi / _ANGLES  # the other half of the circle is the same
    along, across = some - lens * np.cos(angle), -lens * np.sin(angle)  # of l - L, with l along the axis
    squared = along**2 + across**2
    product = lens * np.cos(angle) * along + lens * np.sin(angle) * across  # L . (l - L)
    turned = 4 * (along * across) ** 2 / squared**2  # sin^2 2 phi
    power = np.interp(np.sqrt(squared), ell, 2 * np.pi * e_modes / (ell * (ell + 1)), left=0, right=0)
    potential = 2 * np.pi * potential_spectrum(lens, amplitude) / (lens * (lens + 1)) ** 2
    per_lens = np.sum(product**2 * turned * power, axis=2) * 2 * np.pi / _ANGLES  # (B nodes, lens nodes)
    measure = (lens**2 * potential)[:, 0] * np.log(lens[1, 0] / lens[0, 0]) / (2 * np.pi) ** 2
    some = some[:, 0, 0]
    b_modes = np.interp(np.log(ell), np.log(some), np.log(per_lens @ measure))
    result: Array = np.exp(b_modes) * ell * (ell + 1) / (2 * np.pi)
    return result
