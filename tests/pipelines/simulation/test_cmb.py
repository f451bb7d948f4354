"""Laws of the CMB's draws and of lensing."""

from collections.abc import Callable

import healpy as hp
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import sph_harm_y

from cmbml.pipelines.simulation.cmb import draw_unlensed, gaussian_alm, lens, lensed_alm, unlensed_lmax
from cmbml.pipelines.simulation.cosmology import TABLES, cosmology_spectra, mean_cosmology
from cmbml.science.harmonics import alm_size, alm_to_cl, change_lmax, synthesise
from cmbml.science.seeds import generator_of
from cmbml.science.spectra import PowerSpectra

Array = NDArray[np.float64]
Generators = Callable[[str], np.random.Generator]


def generators(seed: int) -> Generators:
    return lambda field: generator_of(seed, "cmb", field)


def spectra(top: int, **changes: Array | None) -> PowerSpectra:
    """Smooth spectra with every correlation of a CMB, up to `top`."""
    ell = np.arange(top + 1.0)
    tt = 1000 / (ell + 1) ** 2
    ee = 20 / (ell + 1) ** 2
    pp = 1e-7 / (ell + 1) ** 4
    values = {
        "TT": tt,
        "EE": ee,
        "PP": pp,
        "TE": -0.4 * np.sqrt(tt * ee),
        "PT": 0.3 * np.sqrt(tt * pp),
        "PE": 0.1 * np.sqrt(ee * pp),
    }
    kept = {name: value for name, value in (values | changes).items() if value is not None}
    return PowerSpectra(values=kept, scaling="cl", lensed=False)


def correlation(first: Array, second: Array, start: int) -> float:
    """Correlation of two fields over all multipoles from `start` on."""
    ell = np.arange(len(alm_to_cl(first)))
    weight = np.where(ell >= start, (2 * ell + 1.0) * (ell + 1.0) ** 2, 0)
    pairs = ((first, second), (first, first), (second, second))
    cross, auto, other = (np.sum(weight * alm_to_cl(a, b)) for a, b in pairs)
    return float(cross / np.sqrt(auto * other))


def test_drawn_fields_have_their_spectra_and_correlations() -> None:
    drawn = draw_unlensed(spectra(1800), generators(0), lmax=8, polarised=True)
    scaled = {"P": (drawn["P"] * 1.0).astype(np.complex128), "T": drawn["T"], "E": drawn["E"]}
    ell = np.arange(1801)
    # PP falls as l^-4: flatten it to the slope of the others, which `correlation` expects
    factor = np.concatenate([np.arange(m, 1801) for m in range(1801)]) + 1
    scaled["P"] *= factor
    # 2.2 million modes above l = 1000: a correlation scatters by 7e-4, a mean spectrum by 1e-3
    for pair, expected in (("TE", -0.4), ("PT", 0.3), ("PE", 0.1)):
        assert abs(correlation(scaled[pair[0]], scaled[pair[1]], 1000) - expected) < 3e-3
    weight = (2 * ell + 1)[1000:] / (2 * ell + 1)[1000:].sum()
    for field in "TEP":
        ratio = alm_to_cl(drawn[field].astype(np.complex128)) / spectra(1800).cl(2 * field)
        assert abs(weight @ ratio[1000:] - 1) < 4e-3


def test_temperature_and_potential_do_not_depend_on_polarisation() -> None:
    with_e = draw_unlensed(spectra(1800), generators(0), lmax=8, polarised=True)
    without = draw_unlensed(spectra(1800), generators(0), lmax=8, polarised=False)
    assert set(without) == {"T", "P"}
    for field in "TP":
        np.testing.assert_array_equal(change_lmax(with_e[field], 608), without[field])


def test_low_multipoles_do_not_depend_on_the_band_limit() -> None:
    low, high = (draw_unlensed(spectra(1800), generators(0), lmax=lmax, polarised=False) for lmax in (8, 20))
    for field in "TP":
        np.testing.assert_array_equal(change_lmax(high[field], 608), low[field])


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
    lensed = PowerSpectra(spectra(1800).values, "cl", lensed=True)
    with pytest.raises(ValueError, match="lensed spectra cannot be lensed again"):
        draw_unlensed(lensed, generators(0), lmax=8, polarised=False)
    with pytest.raises(ValueError, match="end at 1799: skies lensed up to lmax 8 need them up to 1800"):
        draw_unlensed(spectra(1799), generators(0), lmax=8, polarised=True)
    with pytest.raises(ValueError, match=r"deflects by .* rad rms, above 0.003"):
        draw_unlensed(spectra(1800, PP=spectra(1800).dl("PP")), generators(0), lmax=8, polarised=True)
    with pytest.raises(ValueError, match="spectra end at 10: skies up to lmax 11"):
        gaussian_alm(spectra(10), generators(0), lmax=11, polarised=False)


def test_the_unlensed_band_limit_reaches_what_makes_b_modes() -> None:
    assert unlensed_lmax(8) == unlensed_lmax(600) == 2000
    assert unlensed_lmax(1024) == 2424


def test_without_potential_the_sky_stays_as_it_is() -> None:
    alm = gaussian_alm(spectra(40), generators(0), lmax=40, polarised=True)
    fields = {"T": alm[0], "E": alm[1], "P": np.zeros_like(alm[0])}
    lensed = lens(fields, 30)
    assert lensed.shape == (3, alm_size(30))
    assert lensed.dtype == np.complex64
    # the interpolation is asked for 1e-4 of the field's rms
    for row, field in zip(lensed, "TE", strict=False):
        difference = alm_to_cl(row - change_lmax(fields[field], 30))
        assert np.sqrt(difference.sum() / alm_to_cl(row).sum()) < 2e-4
    assert np.sqrt(alm_to_cl(lensed[2]).sum() / alm_to_cl(lensed[1]).sum()) < 2e-4


def test_lensing_evaluates_the_sky_where_the_gradient_points() -> None:
    lmax, top, nside = 8, 40, 4
    fields = gaussian_alm(spectra(lmax), generators(1), lmax=lmax, polarised=True)
    sky, potential = fields[0].astype(complex), 2e-4 * fields[1].astype(complex)
    colatitude, longitude = hp.pix2ang(nside, np.arange(12 * nside**2))
    _, by_theta, by_phi = hp.alm2map_der1(potential, nside)  # the last divided by sin(theta)
    moved = np.array([_move(*point) for point in zip(colatitude, longitude, by_theta, by_phi, strict=True)])
    expected = _evaluate(sky, moved[:, 0], moved[:, 1])
    padded = {"T": change_lmax(sky, top), "P": change_lmax(potential, top)}
    lensed = synthesise(lens(padded, top).astype(complex), nside)[0]
    assert np.hypot(by_theta, by_phi).mean() > 1e-3  # radians, more than the CMB's deflections
    # the lensed monopole and dipole are left out of the result
    difference = hp.remove_dipole(expected - lensed)
    assert difference.std() < 3e-4 * expected.std()
    assert (expected - _evaluate(sky, colatitude, longitude)).std() > 20 * difference.std()


def _move(theta: float, phi: float, by_theta: float, by_phi: float) -> tuple[float, float]:
    """Follow a gradient along its great circle."""
    radial = hp.ang2vec(theta, phi)
    south = np.array([np.cos(theta) * np.cos(phi), np.cos(theta) * np.sin(phi), -np.sin(theta)])
    east = np.array([-np.sin(phi), np.cos(phi), 0])
    step = by_theta * south + by_phi * east
    length = np.linalg.norm(step)
    moved = hp.vec2ang(np.cos(length) * radial + np.sin(length) * step / length)
    return float(moved[0][0]), float(moved[1][0])


def _evaluate(alm: Array, theta: Array, phi: Array) -> Array:
    """Sum spherical harmonics at points, without any transform."""
    lmax = hp.Alm.getlmax(alm.size)
    total = np.zeros(len(theta))
    for index, value in enumerate(alm):
        ell, m = hp.Alm.getlm(lmax, index)
        total += (1 if m == 0 else 2) * (value * sph_harm_y(ell, m, theta, phi)).real
    return total


def test_lensed_temperature_does_not_depend_on_polarisation() -> None:
    drawn = draw_unlensed(spectra(1800), generators(0), lmax=8, polarised=True)
    fields = {field: change_lmax(alm, 60) for field, alm in drawn.items()}
    with_e = lens(fields, 20)
    without = lens({field: fields[field] for field in "TP"}, 20)
    np.testing.assert_array_equal(with_e[:1], without)
    assert not with_e[:, [0, 1, 21]].any()  # monopole and dipole
    assert alm_to_cl(with_e[2])[2:].min() > 0


def test_lensing_leaves_its_input_alone() -> None:
    drawn = draw_unlensed(spectra(1800), generators(0), lmax=8, polarised=False)
    kept = {field: alm.copy() for field, alm in drawn.items()}
    lensed = lens(drawn, 8)
    for field, alm in drawn.items():
        np.testing.assert_array_equal(alm, kept[field])
    np.testing.assert_array_equal(lensed_alm(spectra(1800), generators(0), lmax=8, polarised=False), lensed)


def test_lensing_needs_its_fields() -> None:
    alm = np.zeros(alm_size(10), np.complex64)
    with pytest.raises(ValueError, match="lensing needs T and the potential P; P missing"):
        lens({"T": alm}, 8)
    with pytest.raises(ValueError, match="end at 10, below lmax 11 of the lensed sky"):
        lens({"T": alm, "P": alm}, 11)


@pytest.mark.slow
def test_lensed_skies_have_camb_lensed_spectra() -> None:
    lmax, n = 382, 8
    theory = cosmology_spectra(mean_cosmology(TABLES["wmap9"]), lmax=lmax, accuracy=2)
    names = {"TT": (0, 0), "EE": (1, 1), "BB": (2, 2), "TE": (0, 1)}
    measured = {name: np.zeros(lmax + 1) for name in names}
    for seed in range(n):
        alm = lensed_alm(theory.unlensed, generators(seed), lmax=lmax, polarised=True)
        for name, (first, second) in names.items():
            measured[name] += alm_to_cl(alm[first], alm[second]) / n
    expected = {name: theory.lensed.cl(name)[: lmax + 1] for name in names}
    power = np.sqrt(expected["TT"] * expected["EE"])
    coherence = np.mean(((expected["TE"] / np.maximum(power, 1e-30)) ** 2)[2:])
    bands = ((2, 30), (30, 100), (100, 200), (200, 300), (300, lmax + 1))
    pulls = []
    for low, high in bands:
        weight = (2 * np.arange(low, high) + 1.0) / (high**2 - low**2)
        scatter = (2 / (n * (high**2 - low**2))) ** 0.5  # of a mean spectrum, Gaussian, relative
        part = slice(low, high)
        for name in ("TT", "EE"):
            pulls.append((weight @ (measured[name][part] / expected[name][part]) - 1) / scatter)
        te = weight @ ((measured["TE"] - expected["TE"])[part] / power[part])
        pulls.append(te / (scatter * np.sqrt((1 + coherence) / 2)))
        # B of all multipoles comes from the same potential, so that bands scatter by up to twice the Gaussian
        # 1.5 to 0.4 per cent above l = 30; small scales left out and the grid's noise add up to -0.4 per cent
        bb = weight @ (measured["BB"][part] / expected["BB"][part])
        assert abs(bb - 1) < max(0.02, 4 * scatter)
    # 15 pulls of a unit normal: chi2 is above 35 in 2 of 1000 cases
    assert np.sum(np.square(pulls)) < 35
