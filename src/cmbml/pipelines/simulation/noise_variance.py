"""White noise with the (co)variances of a map of them, such as Planck's."""

from typing import Any

import healpy as hp
import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.simulation.noise_sensitivity import white_field
from cmbml.science.instrument import Channel
from cmbml.science.pixels import nside_to_npix
from cmbml.science.skymap import SkyMap, is_unseen
from cmbml.science.units import Calibration

Array = NDArray[Any]

COVARIANCES = ("II", "IQ", "IU", "QQ", "QU", "UU")
"""The covariances of a pixel's I, Q, U. Its root has the same places: "IQ" is what I's number adds to Q."""

VARIANCE_UNIT = "uK_CMB2"

_TOLERANCE = 1e-3
"""By how much L L^T may miss a covariance, relative to the standard deviations: the root of a rounding of
float32 is 2.4e-4, and so much can be lost where fields nearly depend on one another."""


def variance_root(variances: SkyMap, nside: int, *, stokes: str, calibration: Calibration) -> Array:
    """Return the root of the covariance of every pixel.

    Parameters
    ----------
    variances
        Fields II, or II, IQ, IU, QQ, QU, UU, of any resolution and unit; pixels that were not observed are
        UNSEEN.
    nside
        Resolution of the root.
    stokes
        "I" or "IQU".
    calibration
        How surface brightness becomes temperature.

    Returns
    -------
    numpy.ndarray
        Shape (1, npix): the standard deviation; or (6, npix): the lower triangle of the Cholesky root L of
        the 3x3 matrix of I, Q, U = L L^T, by rows. uK_CMB, float32.

    Raises
    ------
    ValueError
        If a field is missing, no child of a pixel was observed, or a matrix is no covariance.
    """
    wanted = COVARIANCES if stokes == "IQU" else COVARIANCES[:1]
    missing = [name for name in wanted if name not in variances.fields]
    if missing:
        raise ValueError(
            f"variance map: no {', '.join(missing)}, it has {', '.join(variances.fields)}; "
            "name the columns of the file in the catalog, or set the instrument's stokes to I"
        )
    factor = calibration.factor(variances.unit, VARIANCE_UNIT)
    rows = (variances.values[variances.fields.index(name)] for name in wanted)
    covariance = factor * np.stack([change_variance_nside(row, nside) for row in rows])  # (1 | 6, npix)
    return _cholesky(covariance).astype(np.float32)


def change_variance_nside(variance: Array, nside: int) -> Array:
    """Return the variance of the noise at another resolution.

    Of coarser pixels, which average N = (nside_in / nside)^2 finer ones, it is their mean over N; children
    that were not observed are left out. Of finer pixels it is N times larger, N = (nside / nside_in)^2.

    Parameters
    ----------
    variance
        Shape (npix_in,), RING, any unit; UNSEEN where not observed.
    nside
        Resolution of the result.

    Returns
    -------
    numpy.ndarray
        Shape (npix,), float64.

    Raises
    ------
    ValueError
        If no child of a pixel was observed.
    """
    changed: Array = hp.ud_grade(variance.astype(np.float64), nside, power=2)
    holes = is_unseen(changed)
    if holes.any():
        raise ValueError(
            f"variance map: {np.count_nonzero(holes)} of {len(changed)} pixels at nside {nside} have no "
            f"variance, none of their parts was observed; the first is pixel {np.argmax(holes)} (RING). "
            "Take a lower nside, or fill the map"
        )
    return changed


def _cholesky(covariance: Array) -> Array:
    """Return the root of (1, npix) variances or (6, npix) covariances, in their order.

    Where fields nearly depend on one another, rounding may ask for more of a field's variance than there is;
    its part is then cut, so that the variances are kept.
    """
    root = np.zeros_like(covariance)
    root[0] = _remaining(covariance[0])
    if len(covariance) == 6:
        _, iq, iu, qq, qu, uu = covariance
        root[1] = _part(iq, root[0], of=qq)
        root[2] = _part(iu, root[0], of=uu)
        root[3] = _remaining(qq - root[1] ** 2)
        root[4] = _part(qu - root[1] * root[2], root[3], of=uu - root[2] ** 2)
        root[5] = _remaining(uu - root[2] ** 2 - root[4] ** 2)
    _check_root(root, covariance)
    return root


def _remaining(variance: Array) -> Array:
    """Return the root of what is left of a variance; 0 where rounding made it negative."""
    root: Array = np.sqrt(np.maximum(variance, 0))
    return root


def _part(covariance: Array, root: Array, *, of: Array) -> Array:
    """Return covariance / root, at most the root of the variance it is a part `of`; 0 where root is 0."""
    ratio = np.divide(covariance, root, out=np.zeros_like(root), where=root > 0)
    largest = _remaining(of)
    return np.clip(ratio, -largest, largest)


def _check_root(root: Array, covariance: Array) -> None:
    """Refuse matrices that their root does not give back: they are no covariances."""
    place = {name: number for number, name in enumerate(COVARIANCES[: len(root)])}
    bad = np.zeros(root.shape[1], bool)
    for name, number in place.items():
        one, other = name[0], name[1]
        shared = "IQU"[: "IQU".index(one) + 1]
        rebuilt = sum(root[place[k + one]] * root[place[k + other]] for k in shared)
        largest = np.sqrt(np.abs(covariance[place[2 * one]] * covariance[place[2 * other]]))
        bad |= ~(np.abs(rebuilt - covariance[number]) <= _TOLERANCE * largest)  # also where it is NaN
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"variance map: the matrices of {np.count_nonzero(bad)} pixels are no covariances, the first is "
            f"pixel {first} (RING) with {covariance[:, first]}; check the columns that are read"
        )


def rooted_noise(channel: Channel, nside: int, *, seed: int, root: Array) -> Array:
    """Draw white noise with given covariances.

    Parameters
    ----------
    channel
        Its name and fields.
    nside
        Resolution of the map.
    seed
        Seed of this simulation's noise.
    root
        What `variance_root` returned.

    Returns
    -------
    numpy.ndarray
        Shape (n_stokes, npix), in the unit of the root, float32: L w with w standard normal, independent
        from pixel to pixel and field to field.

    Raises
    ------
    ValueError
        If the root has another resolution, or lacks fields.
    """
    if root.shape[1] != nside_to_npix(nside) or (len(root) == 1 and channel.stokes != "I"):
        raise ValueError(
            f"channel {channel.name}: root of the variance has shape {root.shape}, which does not fit "
            f"{channel.stokes} at nside {nside}; run the node prepare_noise again"
        )
    intensity = white_field(seed, channel.name, "I", nside)
    if channel.stokes == "I":
        return np.asarray(root[:1] * intensity)
    q, u = (white_field(seed, channel.name, stokes, nside) for stokes in "QU")
    return np.stack(
        [
            root[0] * intensity,
            root[1] * intensity + root[3] * q,
            root[2] * intensity + root[4] * q + root[5] * u,
        ]
    )
