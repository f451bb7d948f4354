from itertools import pairwise

import healpy as hp
import numpy as np
import pytest

from cmbml.pipelines.analysis.spectra import (
    SkySpectra,
    band_dl,
    band_edges,
    band_ell,
    fsky_approximation,
    masked_alm,
    mean_relative_deviation,
    relative_deviation,
    sky_spectra,
    transfer_function,
)
from cmbml.science.apodisation import apodise
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.masks import fsky, fsky_power, galactic_mask

NSIDE, LMAX = 16, 32
NPIX = 12 * NSIDE**2
MASK = apodise(galactic_mask(NSIDE, 20), 10)


def noise(n=1, seed=0):
    return np.random.default_rng(seed).normal(size=(n, NPIX))


def flat_spectra(truth, cleaned):
    """Spectra of one sky with D_l of a given shape, from l = 2."""
    ell = np.arange(len(truth))
    to_cl = np.divide(2 * np.pi, ell * (ell + 1.0), out=np.zeros(len(ell)), where=ell > 1)
    cl = [np.atleast_2d(dl * to_cl) for dl in (truth, cleaned)]
    return SkySpectra(("TT",), cl[0], cl[1], np.zeros_like(cl[0]), np.sqrt(cl[0] * cl[1]))


@pytest.mark.parametrize(("key", "weights"), [("mask", "mask"), ("apodised", "apodised_mask")])
def test_spectra_are_those_of_the_reference_but_for_the_normalisation(shared_file, key, weights):
    with np.load(shared_file("reference/cmbml/auto_power_spectrum.npz")) as data:
        reference = {name: data[name] for name in data}
    mask, lmax = reference[weights].astype(float), int(reference["lmax"])
    sky = reference["map_uK"][None]
    cl = sky_spectra(sky, sky, mask, lmax=lmax).truth[0]
    # The reference divides by the mean of the mask instead of that of its square.
    np.testing.assert_allclose(cl * fsky_power(mask) / fsky(mask), reference[f"{key}__conv_cl"], rtol=1e-9)
    dl = cl * np.arange(lmax + 1) * np.arange(1, lmax + 2) / (2 * np.pi) * fsky_power(mask) / fsky(mask)
    np.testing.assert_allclose(dl, reference[f"{key}__conv_dl"], rtol=1e-9)
    window = beam_window(float(reference["beam_fwhm_arcmin"]) * ARCMIN, lmax)
    np.testing.assert_allclose(dl / window**2, reference[f"{key}__deconv_dl"], rtol=1e-9)


def test_cross_spectra_are_those_of_the_reference(shared_file):
    with np.load(shared_file("reference/cmbml/auto_power_spectrum.npz")) as data:
        reference = {name: data[name] for name in data}
    mask, lmax = reference["mask"].astype(float), int(reference["lmax"])
    spectra = sky_spectra(reference["map_uK"][None], reference["second_map_uK"][None], mask, lmax=lmax)
    window = beam_window(float(reference["beam_fwhm_arcmin"]) * ARCMIN, lmax)
    dl = spectra.cross[0] * np.arange(lmax + 1) * np.arange(1, lmax + 2) / (2 * np.pi) / window**2
    expected = reference["cross_mask__deconv_dl"] * fsky(mask) / fsky_power(mask)
    np.testing.assert_allclose(dl, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


def test_without_a_mask_spectra_are_those_of_healpy():
    maps = noise(3)
    maps[0] -= maps[0].mean()
    spectra = sky_spectra(maps, maps, np.ones(NPIX), lmax=LMAX)
    assert spectra.names == ("TT", "EE", "BB")
    np.testing.assert_allclose(spectra.truth[:, 2:], hp.anafast(maps, lmax=LMAX)[:3, 2:], rtol=1e-10)


def test_the_fsky_approximation_recovers_white_noise_on_average():
    level = 4 * np.pi / NPIX  # C_l of unit white noise
    cl = [sky_spectra(sky, sky, MASK, lmax=LMAX).truth[0] for sky in (noise(seed=seed) for seed in range(40))]
    mean = np.mean(cl, axis=0)[2:] @ (2 * np.arange(2, LMAX + 1) + 1) / (LMAX**2 + 2 * LMAX - 3)
    # 40 skies of a thousand modes, fsky of them: a scatter of sqrt(2 / 24000) = 0.9 per cent; three of these.
    assert mean == pytest.approx(level, rel=0.03)


def test_the_residual_spectrum_is_that_of_the_residual_map():
    truth, cleaned = noise(3, 1), noise(3, 2)
    spectra = sky_spectra(truth, cleaned, MASK, lmax=LMAX)
    difference = cleaned - truth
    expected = sky_spectra(difference, difference, MASK, lmax=LMAX)
    np.testing.assert_allclose(spectra.residual, expected.truth, rtol=1e-9)
    np.testing.assert_allclose(
        spectra.residual, spectra.truth + spectra.cleaned - 2 * spectra.cross, rtol=1e-9
    )


def test_the_weighted_mean_of_intensity_does_not_matter():
    maps = noise(3)
    shifted = maps + np.array([[1000.0], [0], [0]])
    expected = sky_spectra(maps, maps, MASK, lmax=LMAX).truth
    # 1000 is subtracted again to 1e-13.
    np.testing.assert_allclose(
        sky_spectra(shifted, shifted, MASK, lmax=LMAX).truth, expected, rtol=1e-8, atol=1e-18
    )


@pytest.mark.parametrize("lost", [np.nan, hp.UNSEEN, 1e7])
def test_what_the_mask_leaves_out_does_not_matter(lost):
    maps = noise(3)
    holes = np.where(MASK > 0, maps, lost)
    assert np.array_equal(masked_alm(holes, MASK, lmax=LMAX), masked_alm(maps, MASK, lmax=LMAX))


def test_single_precision_maps_are_transformed_in_double():
    assert masked_alm(noise().astype(np.float32), MASK, lmax=LMAX).dtype == np.complex128


def test_spectra_leave_their_input_alone():
    truth, cleaned, mask = noise(3, 1), noise(3, 2), MASK.copy()
    copies = truth.copy(), cleaned.copy()
    sky_spectra(truth, cleaned, mask, lmax=LMAX)
    assert np.array_equal(truth, copies[0])
    assert np.array_equal(cleaned, copies[1])
    assert np.array_equal(mask, MASK)


def test_the_estimator_can_be_exchanged():
    calls = []

    def double(pseudo, mask):
        calls.append(pseudo.shape)
        return 2 * fsky_approximation(pseudo, mask)

    truth, cleaned = noise(3, 1), noise(3, 2)
    usual = sky_spectra(truth, cleaned, MASK, lmax=LMAX)
    doubled = sky_spectra(truth, cleaned, MASK, lmax=LMAX, decouple=double)
    assert calls == [(3, LMAX + 1)] * 4
    for name in ("truth", "cleaned", "residual", "cross"):
        np.testing.assert_allclose(getattr(doubled, name), 2 * getattr(usual, name), rtol=1e-14)


def test_bands_by_hand():
    assert band_edges(10, 4).tolist() == [2, 6, 10, 11]
    assert band_edges(9, 4).tolist() == [2, 6, 10]
    assert band_edges(2, 30).tolist() == [2, 3]
    # l = 2, 3 with weights 5, 7; l = 4 alone
    np.testing.assert_allclose(band_ell(band_edges(4, 2)), [(10 + 21) / 12, 4])


def test_bands_hold_every_multipole_from_two_to_lmax_once():
    edges = band_edges(LMAX, 7)
    members = [ell for low, high in pairwise(edges) for ell in range(low, high)]
    assert members == list(range(2, LMAX + 1))


def test_binning_by_hand():
    # D_2 = 6 C_2 / 2pi and D_3 = 12 C_3 / 2pi with weights 5 and 7
    cl = np.array([9.0, 9.0, 2 * np.pi / 6, 2 * np.pi / 12 * 4])
    np.testing.assert_allclose(band_dl(cl, band_edges(3, 2)), [(5 * 1 + 7 * 4) / 12])


def test_a_flat_dl_stays_flat_whatever_the_bands():
    spectra = flat_spectra(np.full(LMAX + 1, 7.0), np.full(LMAX + 1, 7.0))
    for width in (1, 4, 30, 100):
        np.testing.assert_allclose(band_dl(spectra.truth, band_edges(LMAX, width)), 7, rtol=1e-13)


def test_monopole_and_dipole_are_in_no_band():
    cl = np.zeros(LMAX + 1)
    cl[:2] = 1e9
    assert np.all(band_dl(cl, band_edges(LMAX, 5)) == 0)


@pytest.mark.parametrize(("lmax", "width"), [(1, 5), (20, 0)])
def test_bands_that_hold_nothing_are_refused(lmax, width):
    with pytest.raises(
        ValueError, match=rf"bands of {width} multipoles up to lmax {lmax}: need a width of at least 1"
    ):
        band_edges(lmax, width)


def test_bands_that_end_elsewhere_are_refused():
    with pytest.raises(
        ValueError, match=r"bands end at multipole 20, the spectra at lmax 32; make both end alike"
    ):
        band_dl(np.ones(LMAX + 1), band_edges(20, 5))


def test_a_perfect_map_deviates_nowhere():
    truth = noise(3)
    spectra, edges = sky_spectra(truth, truth, MASK, lmax=LMAX), band_edges(LMAX, 5)
    assert np.all(relative_deviation(spectra, edges) == 0)
    np.testing.assert_allclose(transfer_function(spectra, edges), 1, rtol=1e-12)
    assert mean_relative_deviation(spectra, edges) == {"TT": 0, "EE": 0, "BB": 0}


def test_a_weakened_map_deviates_by_its_power_and_transfers_its_amplitude():
    truth = noise()
    spectra, edges = sky_spectra(truth, 0.9 * truth, MASK, lmax=LMAX), band_edges(LMAX, 5)
    np.testing.assert_allclose(relative_deviation(spectra, edges), 0.81 - 1, rtol=1e-11)
    np.testing.assert_allclose(transfer_function(spectra, edges), 0.9, rtol=1e-12)
    assert mean_relative_deviation(spectra, edges)["TT"] == pytest.approx(0.19, rel=1e-11)


def test_excess_and_lack_of_power_do_not_cancel_in_the_mean():
    truth = np.full(LMAX + 1, 5.0)
    spectra = flat_spectra(truth, np.where(np.arange(LMAX + 1) < 17, 1.1, 0.9) * truth)
    edges = np.array([2, 17, LMAX + 1])
    np.testing.assert_allclose(relative_deviation(spectra, edges), [[0.1, -0.1]], rtol=1e-12)
    assert mean_relative_deviation(spectra, edges)["TT"] == pytest.approx(0.1, rel=1e-12)


def test_noise_raises_the_deviation_but_not_the_transfer():
    edges, deviations, transfers = band_edges(LMAX, 31), [], []
    for seed in range(20):
        truth = noise(seed=seed)
        spectra = sky_spectra(truth, truth + noise(seed=100 + seed), MASK, lmax=LMAX)
        deviations.append(relative_deviation(spectra, edges)[0, 0])
        transfers.append(transfer_function(spectra, edges)[0, 0])
    # N = 600 modes are kept: one sky scatters by sqrt(8 / N) = 0.12 and N^-1/2 = 0.04, the mean of 20 by 0.03
    # and 0.009; no more than four of these.
    assert np.mean(deviations) == pytest.approx(1, abs=0.1)
    assert np.mean(transfers) == pytest.approx(1, abs=0.036)


def test_a_truth_without_power_gives_no_number():
    spectra = flat_spectra(np.zeros(LMAX + 1), np.ones(LMAX + 1))
    edges = band_edges(LMAX, 10)
    assert np.all(np.isnan(relative_deviation(spectra, edges)))
    assert np.all(np.isnan(transfer_function(spectra, edges)))


def test_every_spectrum_is_that_under_the_mask_of_its_field():
    other = apodise(galactic_mask(NSIDE, 40), 10)
    truth, cleaned = noise(3, 1), noise(3, 2)
    both = sky_spectra(truth, cleaned, np.stack([MASK, other, other]), lmax=LMAX)
    for kind in ("truth", "cleaned", "residual", "cross"):
        first, second = (
            getattr(sky_spectra(truth, cleaned, mask, lmax=LMAX), kind) for mask in (MASK, other)
        )
        np.testing.assert_allclose(getattr(both, kind)[0], first[0], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(getattr(both, kind)[1:], second[1:], rtol=1e-12, atol=1e-15)
