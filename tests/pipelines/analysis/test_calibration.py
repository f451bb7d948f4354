import healpy as hp
import numpy as np
import pytest

from cmbml.partitions import Known, Partition, lift
from cmbml.pipelines.analysis.calibration import (
    N_BINS,
    calibration,
    calibrations,
    error_bins,
    matching_errors,
    predicted_errors,
)
from cmbml.pipelines.analysis.compare import measure
from cmbml.pipelines.analysis.nodes import prepare_mask
from cmbml.science.skymap import SkyMap, beam_header
from tests.pipelines.analysis.error_maps import ANALYSIS, MASK, NPIX, error_map, sky

GAUSSIAN = {1: 0.6826895, 2: 0.9544997, 3: 0.9973002}
"""erf(n / sqrt 2)."""

EVERYWHERE = np.ones(NPIX)


def gaussian(n_pixels, *, scale=1.0, seed=0):
    """Return errors, and predictions that are `scale` times their standard deviations."""
    rng = np.random.default_rng(seed)
    sigma = rng.uniform(2, 30, n_pixels)
    return sigma * rng.standard_normal(n_pixels), scale * sigma


@pytest.mark.parametrize(
    ("scale", "expected"), [(1.0, GAUSSIAN), (2.0, {1: 0.9544997, 2: 0.9999367, 3: 1 - 1.97e-9})]
)
def test_gaussian_errors_are_covered_as_often_as_a_gaussian_says(scale, expected):
    n_pixels = 200_000
    found = calibration(*gaussian(n_pixels, scale=scale))
    for share, wanted in zip(found.coverage, expected.values(), strict=True):
        counting = np.sqrt(wanted * (1 - wanted) / n_pixels)
        assert abs(share - wanted) < 4 * counting + 1 / n_pixels
    # the mean square of n standard Gaussians scatters by sqrt(2 / n)
    assert found.reduced_chi2 * scale**2 == pytest.approx(1, abs=4 * np.sqrt(2 / n_pixels))


def test_the_mean_error_of_a_gaussian_is_four_fifths_of_the_mean_prediction():
    error, sigma = gaussian(200_000)
    ratio = np.mean(np.abs(error)) / calibration(error, sigma).mean_predicted
    assert ratio == pytest.approx(np.sqrt(2 / np.pi), rel=0.01)


def test_numbers_by_hand():
    found = calibration(np.array([1.0, -2.0, 3.0, 8.0]), np.array([2.0, 2.0, 1.0, 2.0]))
    assert found.coverage == (0.5, 0.5, 0.75)  # one predicted error exactly counts as within it
    assert found.mean_predicted == 1.75
    assert found.reduced_chi2 == (0.25 + 1 + 9 + 16) / 4


def test_the_unit_of_maps_and_predictions_cancels():
    error, sigma = gaussian(1000)
    one, other = calibration(error, sigma), calibration(1000 * error, 1000 * sigma)
    assert one.coverage == other.coverage
    assert one.reduced_chi2 == pytest.approx(other.reduced_chi2, rel=1e-12)
    np.testing.assert_allclose(other.bins.rms, 1000 * one.bins.rms, rtol=1e-12)


def test_bins_hold_as_many_pixels_each_and_grow():
    error, sigma = gaussian(2015)
    bins = error_bins(error, sigma)
    assert bins.pixels.sum() == 2015
    assert set(bins.pixels) == {100, 101}
    assert len(bins.pixels) == N_BINS
    assert (np.diff(bins.predicted) > 0).all()


def test_bins_of_right_predictions_lie_on_the_diagonal():
    bins = error_bins(*gaussian(200_000))
    # an rms of n Gaussian errors scatters by 1 / sqrt(2 n)
    np.testing.assert_allclose(bins.rms / bins.predicted, 1, atol=4 / np.sqrt(2 * 200_000 / N_BINS))


def test_bins_keep_the_sums_of_squares():
    error, sigma = gaussian(777)
    bins = error_bins(error, sigma)
    assert bins.pixels @ bins.rms**2 == pytest.approx(np.sum(error**2), rel=1e-12)
    assert bins.pixels @ bins.predicted**2 == pytest.approx(np.sum(sigma**2), rel=1e-12)


def test_the_order_of_pixels_does_not_matter():
    error, sigma = gaussian(500)
    sigma = np.round(sigma)  # many are equal
    order = np.random.default_rng(1).permutation(500)
    one, other = error_bins(error, sigma), error_bins(error[order], sigma[order])
    np.testing.assert_array_equal(one.pixels, other.pixels)
    np.testing.assert_allclose(one.rms, other.rms, rtol=1e-12)


def test_equal_predictions_share_a_bin_and_few_pixels_have_one_each():
    assert error_bins(np.arange(50.0), np.full(50, 3.0)).pixels.tolist() == [50]
    bins = error_bins(np.array([5.0, -7.0]), np.array([2.0, 1.0]))
    assert (bins.predicted.tolist(), bins.rms.tolist()) == ([1, 2], [7, 5])


def test_pixels_that_the_mask_leaves_out_do_not_count():
    truth = np.random.default_rng(0).normal(size=(1, NPIX))
    error, sigma = gaussian(NPIX)
    kept = np.arange(NPIX) % 3 > 0
    whole = calibrations(truth[:, kept], (truth + error)[:, kept], {"I": sigma[kept]}, np.ones(kept.sum()))
    error[~kept], sigma[~kept] = 1e6, -1.0
    masked = calibrations(truth, truth + error, {"I": sigma}, kept)
    assert masked["I"].coverage == whole["I"].coverage
    np.testing.assert_array_equal(masked["I"].bins.rms, whole["I"].bins.rms)


def test_every_field_is_calibrated_under_its_own_mask_where_it_has_a_prediction():
    truth = np.zeros((3, NPIX))
    cleaned = np.stack([np.full(NPIX, size) for size in (1.0, 2.0, 3.0)])
    cleaned[2, :100] = 50
    kept = np.stack([EVERYWHERE, EVERYWHERE, np.arange(NPIX) >= 100])
    found = calibrations(truth, cleaned, {"I": 2 * EVERYWHERE, "U": 3 * EVERYWHERE}, kept)
    assert list(found) == ["I", "U"]
    assert [one.reduced_chi2 for one in found.values()] == [0.25, 1.0]
    assert found["U"].bins.pixels.tolist() == [NPIX - 100]


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf, hp.UNSEEN])
def test_a_prediction_that_is_no_error_is_refused_where_it_counts(bad):
    sigma = EVERYWHERE.copy()
    sigma[[7, 9]] = bad
    maps = np.zeros((1, NPIX))
    message = (
        r"error map: I_ERROR of 2 compared pixels is no finite number above 0, first of pixel 7; a method"
    )
    with pytest.raises(ValueError, match=message):
        calibrations(maps, maps, {"I": sigma}, EVERYWHERE)
    assert "I" in calibrations(maps, maps, {"I": sigma}, np.arange(NPIX) > 9)


def test_predictions_are_found_by_their_names_in_the_unit_of_maps():
    values = np.stack([np.full(NPIX, size) for size in (1e-6, 2e-6, 3e-6)])
    errors = SkyMap(values, "K_CMB", ("STATISTICAL", "I_ERROR", "U_ERROR"))
    found = predicted_errors(errors, analysis=ANALYSIS)
    assert list(found) == ["I", "U"]
    np.testing.assert_allclose(found["I"], 2, rtol=1e-12)
    np.testing.assert_allclose(found["U"], 3, rtol=1e-12)


def test_an_error_map_without_that_of_the_intensity_is_refused():
    errors = SkyMap(np.ones((2, NPIX)), "uK_CMB", ("I", "Q_ERROR"))
    with pytest.raises(ValueError, match=r"error map: holds I, Q_ERROR, but not I_ERROR; name the predicted"):
        predicted_errors(errors, analysis=ANALYSIS)


def test_an_error_map_of_another_resolution_is_refused():
    errors = SkyMap(np.ones((1, 192)), "uK_CMB", ("I_ERROR",))
    with pytest.raises(ValueError, match=r"error map: has npix 192, the analysis expects 3072 \(nside 16\)"):
        predicted_errors(errors, analysis=ANALYSIS)


def test_an_error_map_at_another_beam_is_refused():
    errors = SkyMap(np.ones((1, NPIX)), "uK_CMB", ("I_ERROR",), beam_header(100, ANALYSIS.lmax))
    with pytest.raises(ValueError, match=r"error map: made at beam 100 arcmin, to be compared at 300 arcmin"):
        predicted_errors(errors, analysis=ANALYSIS)


def test_a_sky_with_an_error_map_is_measured_as_without_and_calibrated():
    truth, error, sigma = sky(0, 50.0), sky(1, 4.0), error_map(4.0)
    cleaned = SkyMap(truth.values + error.values, "uK_CMB")
    plain = measure(truth, cleaned, MASK, ANALYSIS)
    found = measure(truth, cleaned, MASK, ANALYSIS, sigma)
    (metrics,) = found["metrics"]
    assert metrics == {
        **plain["metrics"][0],
        **{key: metrics[key] for key in metrics if key not in plain["metrics"][0]},
    }
    assert found["spectra"] == plain["spectra"]
    assert set(plain) == {"metrics", "spectra"}
    assert metrics["mean_predicted_error_uK"] == 4.0
    assert metrics["reduced_chi2"] == pytest.approx((metrics["rmse_uK"] / 4) ** 2)
    assert metrics["coverage_1sigma"] == pytest.approx(GAUSSIAN[1], abs=4 * np.sqrt(0.217 / NPIX))
    (row,) = found["calibration"]
    assert row == {
        "method": "",
        "field": "I",
        "bin": 1,
        "predicted_uK": 4.0,
        "rms_uK": pytest.approx(metrics["rmse_uK"]),
        "pixels": NPIX,
    }


def test_a_dipole_that_only_the_cleaned_map_has_is_no_error():
    # It is removed from the maps; predicted errors are used as they are.
    truth, error = sky(0, 50.0), sky(1, 4.0)
    x, y, z = hp.pix2vec(ANALYSIS.nside, np.arange(NPIX))
    cleaned = SkyMap(truth.values + error.values + 1000 + 300 * x - 200 * y + 100 * z, "uK_CMB")
    found = measure(truth, cleaned, MASK, ANALYSIS, error_map(4.0))["metrics"][0]
    assert found["reduced_chi2"] == pytest.approx(1, abs=4 * np.sqrt(2 / NPIX))


def test_fields_without_a_prediction_have_no_numbers_of_it():
    truth, cleaned = sky(0, 50.0, n_stokes=3), sky(1, 50.0, n_stokes=3)
    rows = measure(truth, cleaned, MASK, ANALYSIS, error_map(70.0))["metrics"]
    assert [row["field"] for row in rows if "coverage_1sigma" in row] == ["I"]


def cleaned_with(observations, network):
    return network


def errors_with(observations, network):
    return network


def lifted(function, observations, network="trained") -> dict[str, Partition]:
    return lift(function, version=1, partitioned={"observations": observations}, shared={"network": network})


OBSERVATIONS = {name: Known(None, name) for name in ("sim0000", "sim0001")}


def test_error_maps_of_the_same_origin_as_cleaned_maps_are_taken():
    errors = lifted(errors_with, OBSERVATIONS)
    cleaned = {"sim0001": lifted(cleaned_with, OBSERVATIONS)["sim0001"]}
    assert matching_errors(errors, cleaned, OBSERVATIONS, ANALYSIS) == {"sim0001": errors["sim0001"]}
    assert matching_errors({}, cleaned, OBSERVATIONS, ANALYSIS) == {}


def test_error_maps_of_other_observations_are_refused():
    others = {name: Known(None, f"other {name}") for name in OBSERVATIONS}
    with pytest.raises(
        ValueError, match=r"error map sim0000: made from another observations than the one at"
    ):
        matching_errors(
            lifted(errors_with, others), lifted(cleaned_with, OBSERVATIONS), OBSERVATIONS, ANALYSIS
        )


def test_error_maps_of_another_network_than_that_of_the_cleaned_maps_are_refused():
    errors = lifted(errors_with, OBSERVATIONS, network="trained before")
    message = r"error map sim0000: made from another network than the cleaned map; clean again, with --params"
    with pytest.raises(ValueError, match=message):
        matching_errors(errors, lifted(cleaned_with, OBSERVATIONS), OBSERVATIONS, ANALYSIS)


def test_error_maps_that_were_made_from_other_cleaned_maps_are_refused():
    errors = lift(max, version=1, partitioned={"cleaned": lifted(cleaned_with, OBSERVATIONS, network="old")})
    cleaned = lifted(cleaned_with, OBSERVATIONS)
    with pytest.raises(
        ValueError, match=r"error map sim0000: made from another cleaned than the one at hand"
    ):
        matching_errors(errors, cleaned, OBSERVATIONS, ANALYSIS)


def test_at_a_wider_beam_nothing_is_said_of_predicted_errors_but_that(caplog):
    wider = ANALYSIS.model_copy(update={"fwhm_arcmin": 600.0})
    errors, cleaned = lifted(errors_with, OBSERVATIONS), lifted(cleaned_with, OBSERVATIONS)
    with caplog.at_level("INFO"):
        assert matching_errors(errors, cleaned, OBSERVATIONS, wider) == {}
        assert matching_errors({}, cleaned, OBSERVATIONS, wider) == {}
    (record,) = caplog.records
    assert "at the beam of the cleaned maps, 300 arcmin; at the 600 arcmin of this" in record.getMessage()


def test_predictions_of_a_single_precision_map_are_summed_in_double():
    rng = np.random.default_rng(0)
    truth, cleaned = (rng.normal(size=(1, NPIX)).astype(np.float32) for _ in range(2))
    sigma = rng.uniform(1, 2, NPIX).astype(np.float32)
    single = calibrations(truth, cleaned, {"I": sigma}, EVERYWHERE)["I"]
    double = calibrations(truth.astype(float), cleaned.astype(float), {"I": sigma.astype(float)}, EVERYWHERE)[
        "I"
    ]
    assert single.coverage == double.coverage
    assert single.mean_predicted == double.mean_predicted
    np.testing.assert_array_equal(single.bins.rms, double.bins.rms)


def test_a_narrower_mask_calibrates_fewer_pixels():
    cut = SkyMap((np.arange(NPIX) >= NPIX // 2)[None].astype(float), "")
    record = measure(sky(0, 50.0), sky(1, 50.0), prepare_mask(cut, ANALYSIS), ANALYSIS, error_map(70.0))
    assert [row["pixels"] for row in record["calibration"]] == [NPIX // 2]
