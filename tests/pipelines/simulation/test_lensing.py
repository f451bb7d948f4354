"""Laws of lensing."""

import healpy as hp
import numpy as np
import pytest
from lenspyx.remapping.deflection import deflection
from numpy.typing import NDArray
from scipy.special import sph_harm_y

from cmbml.pipelines.simulation import lensing
from cmbml.pipelines.simulation.cmb import draw_unlensed, gaussian_alm, lensed_alm
from cmbml.pipelines.simulation.cosmology import TABLES, cosmology_spectra, mean_cosmology
from cmbml.pipelines.simulation.lensing import derivatives, lens
from cmbml.science.harmonics import alm_size, alm_to_cl, change_lmax, filter_alm, synthesise
from tests.pipelines.simulation.cmb_draws import generators, spectra

Array = NDArray[np.float64]


def sky(lmax: int) -> dict[str, Array]:
    """Return unlensed T, E and a potential that moves by a few arcminutes, up to `lmax`."""
    drawn = gaussian_alm(spectra(lmax), generators(0), lmax=lmax, polarised=True)
    potential = gaussian_alm(spectra(lmax), generators(1), lmax=lmax, polarised=False)[0]
    return {"T": drawn[0], "E": drawn[1], "P": np.complex64(1e-5) * potential}


def test_derivatives_are_those_along_theta_and_phi() -> None:
    lmax, nside = 11, 8
    alm = gaussian_alm(spectra(lmax), generators(0), lmax=lmax, polarised=False)[0].astype(complex)
    alm[0] = 3.0  # a monopole has none
    theta, _ = hp.pix2ang(nside, np.arange(12 * nside**2))
    _, *expected = hp.alm2map_der1(alm, nside)
    for map_, value in zip(synthesise(derivatives(alm), nside), expected, strict=True):
        np.testing.assert_allclose(map_ / np.sin(theta), value, atol=1e-10 * np.std(value))


def test_the_deflection_is_that_of_lenspyx() -> None:
    lmax, grid = 40, lensing._grid(60)
    ell = np.arange(lmax + 1.0)
    alm = filter_alm(sky(lmax)["P"], np.sqrt(ell * (ell + 1)))
    own, theirs = (
        kind(grid, alm, None, numthreads=1)._build_d1() for kind in (lensing._Deflection, deflection)
    )
    assert own.shape == theirs.shape
    # single precision, divided by the sine of the colatitude: 0.04 on the first ring
    np.testing.assert_allclose(own, theirs, atol=1e-5 * np.std(theirs))


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
    fields = sky(60)
    with_e = lens(fields, 20)
    without = lens({field: fields[field] for field in "TP"}, 20)
    np.testing.assert_array_equal(with_e[:1], without)
    assert not with_e[:, [0, 1, 21]].any()  # monopole and dipole
    assert alm_to_cl(with_e[2])[2:].min() > 0


@pytest.mark.parametrize(("field", "changed"), [("T", [0]), ("E", [1, 2]), ("P", [0, 1, 2])])
def test_every_multipole_of_the_unlensed_fields_is_used(field: str, changed: list[int]) -> None:
    lmax = 60
    highest = np.where(np.arange(lmax + 1) == lmax, 2, 1)
    fields = sky(lmax)
    other = fields | {field: filter_alm(fields[field], highest)}
    difference = np.any(lens(other, 8) != lens(fields, 8), axis=1)
    np.testing.assert_array_equal(np.flatnonzero(difference), changed)


def test_lensing_leaves_its_input_alone() -> None:
    drawn = draw_unlensed(spectra(2000), generators(0), lmax=8, polarised=False)
    kept = {field: alm.copy() for field, alm in drawn.items()}
    lensed = lens(drawn, 8)
    for field, alm in drawn.items():
        np.testing.assert_array_equal(alm, kept[field])
    np.testing.assert_array_equal(lensed_alm(spectra(2000), generators(0), lmax=8, polarised=False), lensed)


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
        # 1.5 to 0.4 per cent above l = 30; small scales left out and the grid's noise add up to +0.4 per cent
        bb = weight @ (measured["BB"][part] / expected["BB"][part])
        assert abs(bb - 1) < max(0.02, 4 * scatter)
    # 15 pulls of a unit normal: chi2 is above 35 in 2 of 1000 cases
    assert np.sum(np.square(pulls)) < 35
