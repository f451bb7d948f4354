"""The truth of a released dataset, at the common target beam."""

import numpy as np

from cmbml.pipelines.simulation.settings import Target
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_to_map, filter_alm, map_to_alm
from cmbml.science.masks import check_values
from cmbml.science.skymap import SkyMap, beam_header
from cmbml.science.units import MAP_UNIT


def common_truth(released: SkyMap, *, fwhm_arcmin: float, target: Target, polarised: bool) -> SkyMap:
    """Return the true CMB of one simulation at the common target beam.

    Its coefficients up to the target's lmax, by a quadrature refined three times,
    are multiplied by b_l(target) / b_l(released). Published truths were sampled
    from coefficients up to l = 3072 at nside 512, so that what lies above 3 nside
    - 1 is folded back, and cannot be told apart: 0.85 uK of 94 uK (rms) at lmax
    1024 and 20.6 arcmin, whatever the quadrature; without it, 0.004 uK are left.

    Parameters
    ----------
    released
        The true CMB as it was released: I, or I, Q, U.
    fwhm_arcmin
        Beam that it has.
    target
        The beam, resolution and band limit to bring it to.
    polarised
        Whether Q and U are wanted.

    Returns
    -------
    SkyMap
        I, or I, Q, U, uK_CMB, float32.

    Raises
    ------
    ValueError
        If the map lacks polarisation that is wanted, a pixel has no value, its
        resolution cannot carry the target's lmax, or its beam is the wider one.
    """
    if polarised and len(released.values) == 1:
        raise ValueError(
            "the true CMB holds only I, but the instrument measures I, Q and U; set the global stokes to I"
        )
    if fwhm_arcmin > target.fwhm_arcmin:
        raise ValueError(
            f"the true CMB has a beam of {fwhm_arcmin:g} arcmin, wider than the target's "
            f"{target.fwhm_arcmin:g} arcmin, and maps are not sharpened; raise target_fwhm_arcmin"
        )
    if target.lmax > 3 * released.nside - 1:
        raise ValueError(
            f"the true CMB has nside {released.nside}, too coarse for lmax {target.lmax}; lower lmax"
        )
    sky = released.in_unit(MAP_UNIT).values[: 3 if polarised else 1].astype(np.float64)
    check_values(sky, np.ones(released.npix), name="true CMB")
    rest = np.sqrt(target.fwhm_arcmin**2 - fwhm_arcmin**2) * ARCMIN
    alm = filter_alm(map_to_alm(sky, target.lmax), beam_window(rest, target.lmax))
    return SkyMap(
        alm_to_map(alm, target.nside).astype(np.float32),
        MAP_UNIT,
        header=beam_header(target.fwhm_arcmin, target.lmax),
    )
