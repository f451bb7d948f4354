from itertools import pairwise

import healpy as hp
import numpy as np
import pytest

from cmbml.pipelines.analysis.metrics import pixel_metrics

NPIX = 768


def maps(n=1, seed=0):
    rng = np.random.default_rng(seed)
    truth = 50 * rng.normal(size=(n, NPIX))
    return truth, truth + 4 * rng.normal(size=(n, NPIX)) + 1


EVERYWHERE = np.ones(NPIX)


def test_metrics_by_hand():
    truth = np.zeros((1, 12))
    truth[0, :4] = [3, -1, 1, 1]
    cleaned = np.full((1, 12), 1e9)
    cleaned[0, :4] = [4, -1, 1, -1]
    kept = np.arange(12) < 4
    result = pixel_metrics(truth, cleaned, kept)["I"]
    # Errors 1, 0, 0, -2: their squares sum to 5; the truth's to 12, and to 8 about its mean of 1.
    assert result.mae == pytest.approx(3 / 4)
    assert result.rmse == pytest.approx(np.sqrt(5 / 4))
    assert result.nrmse == pytest.approx(np.sqrt(5 / 12))
    assert result.psnr == pytest.approx(10 * np.log10(16 / 1.25))
    assert result.r2 == pytest.approx(1 - 5 / 8)
    assert result.truth_rms == pytest.approx(np.sqrt(3))


def test_metrics_are_those_of_the_reference_but_for_the_range_of_psnr(shared_file):
    with np.load(shared_file("reference/cmbml/pixel_metrics.npz")) as data:
        reference = {name: data[name] for name in data}
    truth, cleaned = reference["true_map"], reference["predicted_map"]
    result = pixel_metrics(truth[None], cleaned[None], np.ones(truth.size))["I"]
    for name in ("mae", "rmse", "nrmse", "r2"):
        assert getattr(result, name) == pytest.approx(float(reference[name]), rel=1e-12)
    assert result.rmse**2 == pytest.approx(float(reference["mse"]), rel=1e-12)
    span = max(truth.max(), cleaned.max()) - min(
        truth.min(), cleaned.min()
    )  # over both maps, as the reference has it
    difference = float(reference["psnr"]) - result.psnr
    assert difference == pytest.approx(20 * np.log10(span / np.ptp(truth)), abs=1e-12)
    assert difference > 0


def test_a_wild_pixel_never_raises_psnr():
    truth, cleaned = maps()
    scores = []
    for wild in (0, 100, 1000, 10000):
        cleaned[0, 0] = truth[0, 0] + wild
        scores.append(pixel_metrics(truth, cleaned, EVERYWHERE)["I"].psnr)
    assert all(later < earlier for earlier, later in pairwise(scores))


def test_metrics_do_not_see_what_the_mask_leaves_out():
    truth, cleaned = maps()
    kept = np.arange(NPIX) % 3 > 0
    expected = pixel_metrics(truth, cleaned, kept)
    holes = ~kept
    truth[:, holes], cleaned[:, holes] = np.nan, hp.UNSEEN
    assert pixel_metrics(truth, cleaned, kept) == expected
    assert pixel_metrics(truth[:, kept][:, :192], cleaned[:, kept][:, :192], np.ones(192)) != expected


@pytest.mark.parametrize(
    "kept", [np.arange(NPIX) > 99, (np.arange(NPIX) > 99).astype(float), np.arange(NPIX) / 1e4]
)
def test_any_weight_above_zero_keeps_a_pixel_in_full(kept):
    truth, cleaned = maps()
    assert pixel_metrics(truth, cleaned, kept) == pixel_metrics(truth, cleaned, kept > 0)


def test_each_stokes_field_is_measured_by_itself():
    truth, cleaned = maps(3)
    result = pixel_metrics(truth, cleaned, EVERYWHERE)
    assert list(result) == ["I", "Q", "U"]
    for index, field in enumerate("IQU"):
        alone = pixel_metrics(truth[index : index + 1], cleaned[index : index + 1], EVERYWHERE)
        assert result[field] == alone["I"]


def test_the_unit_cancels_where_it_should():
    truth, cleaned = maps()
    small, large = (pixel_metrics(scale * truth, scale * cleaned, EVERYWHERE)["I"] for scale in (1, 1000))
    assert (large.nrmse, large.psnr, large.r2) == pytest.approx(
        (small.nrmse, small.psnr, small.r2), rel=1e-12
    )
    assert (large.mae, large.rmse) == pytest.approx((1000 * small.mae, 1000 * small.rmse), rel=1e-12)


def test_a_perfect_map_has_no_error():
    truth, _ = maps()
    result = pixel_metrics(truth, truth.copy(), EVERYWHERE)["I"]
    assert (result.mae, result.rmse, result.nrmse, result.r2) == (0, 0, 0, 1)
    assert result.psnr == np.inf


def test_the_mean_of_the_truth_has_r2_of_zero():
    truth, _ = maps()
    assert pixel_metrics(truth, np.full_like(truth, truth.mean()), EVERYWHERE)["I"].r2 == pytest.approx(
        0, abs=1e-12
    )


def test_single_precision_maps_are_summed_in_double():
    truth, cleaned = (part.astype(np.float32) for part in maps())
    double = pixel_metrics(truth.astype(float), cleaned.astype(float), EVERYWHERE)
    assert pixel_metrics(truth, cleaned, EVERYWHERE) == double


@pytest.mark.parametrize("bad", [np.nan, hp.UNSEEN])
def test_a_kept_pixel_without_a_value_is_named(bad):
    truth, cleaned = maps()
    cleaned[0, 7] = bad
    with pytest.raises(ValueError, match=r"nilc: 1 pixels that the mask keeps have no value .* pixel 7;"):
        pixel_metrics(truth, cleaned, EVERYWHERE, name="nilc")
    with pytest.raises(ValueError, match=r"truth: 1 pixels that the mask keeps have no value"):
        pixel_metrics(cleaned, truth, EVERYWHERE)


def test_maps_of_different_shape_are_refused():
    truth, cleaned = maps(3)
    with pytest.raises(
        ValueError, match=r"nilc: has shape \(1, 768\), the truth has \(3, 768\); both need the same"
    ):
        pixel_metrics(truth, cleaned[:1], EVERYWHERE, name="nilc")


def test_a_constant_truth_is_refused():
    with pytest.raises(ValueError, match=r"truth: Q is constant over the 768 compared pixels"):
        truth, cleaned = maps(3)
        truth[1] = 5
        pixel_metrics(truth, cleaned, EVERYWHERE)


def test_an_empty_sky_is_refused():
    truth, cleaned = maps()
    with pytest.raises(ValueError, match=r"truth: I is constant over the 0 compared pixels"):
        pixel_metrics(truth, cleaned, np.zeros(NPIX))


def test_every_field_is_compared_under_its_own_mask():
    truth, cleaned = maps(3)
    kept = np.stack([np.arange(NPIX) < count for count in (700, 300, 300)])
    together = pixel_metrics(truth, cleaned, kept)
    alone = {"I": pixel_metrics(truth, cleaned, kept[0])["I"]}
    alone |= {field: pixel_metrics(truth, cleaned, kept[1])[field] for field in "QU"}
    assert together == alone
