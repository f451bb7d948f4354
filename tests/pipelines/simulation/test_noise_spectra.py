"""Laws of the features of spectra, their principal components, and their running means."""

import numpy as np
import pytest

from cmbml.pipelines.simulation.noise_spectra import (
    at_lmax,
    from_features,
    principal_components,
    smooth_multipoles,
    spectra_of_alm,
    to_features,
)
from cmbml.science.harmonics import alm_size


def spectra(n: int = 20, lmax: int = 30) -> np.ndarray:
    """Spectra TT, EE, BB, TE of n fields; no monopole, no E and B below 2."""
    rng = np.random.default_rng(2)
    values = np.exp(rng.normal(0, 1, (n, 4, lmax + 1)))
    values[:, 3] = rng.uniform(-0.9, 0.9, (n, lmax + 1)) * np.sqrt(values[:, 0] * values[:, 1])
    values[:, 0, 0] = 0
    values[:, 1:, :2] = 0
    return values


def test_features_and_spectra_are_two_forms_of_one_thing():
    np.testing.assert_allclose(from_features(to_features(spectra())), spectra(), rtol=1e-12, atol=1e-15)


def test_whatever_is_added_to_features_gives_the_spectra_of_some_field():
    shifted = from_features(to_features(spectra()) + np.random.default_rng(0).normal(0, 2, (20, 4, 31)))
    tt, ee, bb, te = np.moveaxis(shifted, 1, 0)
    assert (tt >= 0).all() and (ee >= 0).all() and (bb >= 0).all()
    assert (te**2 <= tt * ee * (1 + 1e-12)).all()


def test_spectra_of_coefficients_are_tt_ee_bb_te():
    rng = np.random.default_rng(1)
    alm = rng.normal(size=(3, alm_size(4))) + 0j
    ell2 = [2, 5 + 1, 9]  # (l, m) = (2, 0), (2, 1), (2, 2) with lmax 4
    weight = np.array([1, 2, 2]) / 5
    tt, ee, bb, te = spectra_of_alm(alm)[:, 2]
    for value, (one, other) in zip((tt, ee, bb, te), ((0, 0), (1, 1), (2, 2), (0, 1)), strict=True):
        assert value == pytest.approx(np.sum(weight * (alm[one] * alm[other]).real[ell2]))
    assert spectra_of_alm(alm[:1]).shape == (1, 5)


def test_principal_components_are_those_of_the_reference(shared_file):
    with np.load(shared_file("reference/cmbml/noise_pca.npz")) as reference:
        found = principal_components(np.log10(reference["spectra"]), None)
        np.testing.assert_allclose(found.mean, reference["mean_log10"], rtol=1e-9)
        np.testing.assert_allclose(found.variance[:-1], reference["explained_variance"][:-1], rtol=1e-9)
        assert found.variance[-1] < 1e-20
        np.testing.assert_allclose(found.components[:-1], reference["components"][:-1], rtol=1e-9, atol=1e-11)


def test_all_components_together_hold_the_whole_covariance():
    features = to_features(spectra())
    found = principal_components(features, None)
    live = np.isfinite(found.mean)
    assert live.sum() == 4 * 31 - 1 - 2 * 2  # no monopole; no E and B below 2 (the correlation is 0 there)
    flat = found.components[:, live]
    np.testing.assert_allclose((flat.T * found.variance) @ flat, np.cov(features[:, live].T), atol=1e-12)
    few = principal_components(features, 3)
    assert few.components.shape == (3, 4, 31) and few.variance.shape == (3,)
    np.testing.assert_array_equal(few.components, found.components[:3])


def test_maps_without_power_among_others_are_refused():
    rows = spectra()
    rows[4, 0, 5:] = 0
    with pytest.raises(ValueError, match="26 multipoles have no power in some of the 20 maps"):
        principal_components(to_features(rows), None)


def test_a_running_mean_weights_multipoles_by_their_modes():
    components = np.random.default_rng(0).normal(size=(2, 1, 12))
    components[..., 0] = 0  # no monopole
    smooth = smooth_multipoles(components, 5)
    weight = 2 * np.arange(12) + 1
    for ell in (1, 2, 6, 11):
        window = np.arange(max(ell - 2, 1), min(ell + 3, 12))
        expected = np.average(components[:, 0, window], axis=1, weights=weight[window])
        np.testing.assert_allclose(smooth[:, 0, ell], expected, rtol=1e-12)
    assert not smooth[..., 0].any()
    np.testing.assert_array_equal(smooth_multipoles(components, 1), components)


def test_what_all_multipoles_share_stays_under_a_running_mean():
    np.testing.assert_allclose(smooth_multipoles(np.ones((1, 3, 40)), 9), 1, rtol=1e-12)


def test_spectra_are_cut_or_carried_on():
    rows = np.arange(20.0)[None]
    np.testing.assert_array_equal(at_lmax(rows, 9), rows[:, :10])
    np.testing.assert_array_equal(at_lmax(rows, 22), [[*range(20), 18.5, 18.5, 18.5]])
