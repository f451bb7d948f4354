"""Laws of the CMB's draws."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbml.pipelines.simulation.cmb import draw_unlensed, gaussian_alm, unlensed_lmax
from cmbml.science.harmonics import alm_lmax, alm_to_cl, change_lmax
from cmbml.science.spectra import PowerSpectra
from tests.pipelines.simulation.cmb_draws import generators, spectra

Array = NDArray[np.float64]


def correlation(first: Array, second: Array, start: int) -> float:
    """Correlation of two fields over all multipoles from `start` on."""
    ell = np.arange(len(alm_to_cl(first)))
    weight = np.where(ell >= start, (2 * ell + 1.0) * (ell + 1.0) ** 2, 0)
    pairs = ((first, second), (first, first), (second, second))
    cross, auto, other = (np.sum(weight * alm_to_cl(a, b)) for a, b in pairs)
    return float(cross / np.sqrt(auto * other))


def test_drawn_fields_have_their_spectra_and_correlations() -> None:
    drawn = draw_unlensed(spectra(2000), generators(0), lmax=8, polarised=True)
    scaled = {"P": (drawn["P"] * 1.0).astype(np.complex128), "T": drawn["T"], "E": drawn["E"]}
    ell = np.arange(2001)
    # PP falls as l^-4: flatten it to the slope of the others, which `correlation` expects
    factor = np.concatenate([np.arange(m, 2001) for m in range(2001)]) + 1
    scaled["P"] *= factor
    # 3 million modes above l = 1000: a correlation scatters by 6e-4, a mean spectrum by 1e-3
    for pair, expected in (("TE", -0.4), ("PT", 0.3), ("PE", 0.1)):
        assert abs(correlation(scaled[pair[0]], scaled[pair[1]], 1000) - expected) < 3e-3
    weight = (2 * ell + 1)[1000:] / (2 * ell + 1)[1000:].sum()
    for field in "TEP":
        ratio = alm_to_cl(drawn[field].astype(np.complex128)) / spectra(2000).cl(2 * field)
        assert abs(weight @ ratio[1000:] - 1) < 4e-3


def test_temperature_and_potential_do_not_depend_on_polarisation() -> None:
    with_e = draw_unlensed(spectra(2000), generators(0), lmax=8, polarised=True)
    without = draw_unlensed(spectra(2000), generators(0), lmax=8, polarised=False)
    assert set(without) == {"T", "P"}
    for field in "TP":
        np.testing.assert_array_equal(with_e[field], without[field])


def test_low_multipoles_do_not_depend_on_the_band_limit() -> None:
    low, high = (draw_unlensed(spectra(2040), generators(0), lmax=lmax, polarised=True) for lmax in (8, 640))
    for field in "TPE":
        assert (alm_lmax(low[field]), alm_lmax(high[field])) == (2000, 2040)
        np.testing.assert_array_equal(change_lmax(high[field], 2000), low[field])


def test_a_draw_belongs_to_its_seed_and_field() -> None:
    first, again, other = (
        gaussian_alm(spectra(100), generators(seed), lmax=20, polarised=True) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert abs(correlation(first[0], other[0], 2)) < 5 / 21
    assert first.dtype == np.complex64
    assert not first[2].any()  # no BB was given


def test_gaussian_skies_have_the_spectra_as_they_are() -> None:
    ell = np.arange(401.0)
    lensed = PowerSpectra({"TT": 1 / (ell + 1), "EE": 2 / (ell + 1), "BB": 3 / (ell + 1)}, "cl", lensed=True)
    alm = gaussian_alm(lensed, generators(0), lmax=400, polarised=True)
    weight = (2 * ell + 1)[2:] / (2 * ell + 1)[2:].sum()
    for row, name in zip(alm, lensed.values, strict=True):
        # 1.6e5 modes: a scatter of 3.5e-3
        assert abs(weight @ (alm_to_cl(row) / lensed.cl(name))[2:] - 1) < 0.015
        assert not alm_to_cl(row)[:2].any()
    np.testing.assert_array_equal(gaussian_alm(lensed, generators(0), lmax=400, polarised=False), alm[:1])


def test_full_correlation_is_allowed_and_more_is_not() -> None:
    ell = np.arange(51.0)
    tt, ee = 4 / (ell + 1), 1 / (ell + 1)
    full = PowerSpectra({"TT": tt, "EE": ee, "TE": np.sqrt(tt * ee)}, "cl", lensed=True)
    alm = gaussian_alm(full, generators(0), lmax=50, polarised=True)
    np.testing.assert_allclose(alm[1], alm[0] / 2, atol=1e-6)
    more = PowerSpectra({"TT": tt, "EE": ee, "TE": 1.01 * np.sqrt(tt * ee)}, "cl", lensed=True)
    with pytest.raises(ValueError, match="no covariance at l = .*, the cross-spectra of E are larger"):
        gaussian_alm(more, generators(0), lmax=50, polarised=True)
    with pytest.raises(ValueError, match="spectra of T: an auto-spectrum is negative"):
        gaussian_alm(PowerSpectra({"TT": -tt}, "cl", lensed=True), generators(0), lmax=50, polarised=False)


def test_spectra_that_cannot_be_lensed_are_refused() -> None:
    lensed = PowerSpectra(spectra(2000).values, "cl", lensed=True)
    with pytest.raises(ValueError, match="lensed spectra cannot be lensed again"):
        draw_unlensed(lensed, generators(0), lmax=8, polarised=False)
    with pytest.raises(ValueError, match="end at 1999: skies lensed up to lmax 8 need them up to 2000"):
        draw_unlensed(spectra(1999), generators(0), lmax=8, polarised=True)
    with pytest.raises(ValueError, match=r"deflects by .* rad rms, above 0.003"):
        draw_unlensed(spectra(2000, PP=spectra(2000).dl("PP")), generators(0), lmax=8, polarised=True)
    with pytest.raises(ValueError, match="spectra end at 10: skies up to lmax 11"):
        gaussian_alm(spectra(10), generators(0), lmax=11, polarised=False)


def test_the_unlensed_band_limit_reaches_what_makes_b_modes() -> None:
    assert unlensed_lmax(8) == unlensed_lmax(600) == 2000
    assert unlensed_lmax(1024) == 2424
