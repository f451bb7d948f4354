import io

import numpy as np
import pandas as pd
import pytest

from cmbml.pipelines.analysis.calibration import calibration
from cmbml.pipelines.analysis.metrics import PixelMetrics
from cmbml.pipelines.analysis.spectra import (
    band_edges,
    mean_relative_deviation,
    relative_deviation,
    sky_spectra,
)
from cmbml.pipelines.analysis.tables import (
    METRICS,
    PREDICTIONS,
    add_calibration,
    best_single_channel,
    calibration_rows,
    comparison_table,
    simulation_rows,
    spectrum_rows,
)


def metrics(scale):
    return PixelMetrics(
        mae=scale, rmse=2 * scale, nrmse=scale / 50, psnr=40 - scale, r2=1 - scale / 100, truth_rms=100.0
    )


def row(method, simulation, scale, *, split="test", deviations=None):
    return simulation_rows(
        {"I": metrics(scale)},
        deviations or {"TT": scale / 10},
        method=method,
        split=split,
        simulation=simulation,
    )


def rows_of_three_methods():
    scales = {"b": (3.0, 5.0), "c": (8.0, 9.0), "a": (1.0, 1.5)}
    return pd.concat(
        [row(method, f"sim000{k}", scale) for method, pair in scales.items() for k, scale in enumerate(pair)],
        ignore_index=True,
    )


def random_spectra(n=1):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(n, 768))
    return sky_spectra(truth, truth + 0.3 * rng.normal(size=(n, 768)), np.ones(768), lmax=16)


def test_a_sky_of_intensity_is_one_row():
    table = row("nilc", "sim0003", 4.0)
    assert list(table.columns) == ["method", "split", "simulation", "field", *METRICS]
    assert table[list(PREDICTIONS)].isna().all(axis=None)
    assert table.drop(columns=list(PREDICTIONS)).to_dict("records") == [
        {
            "method": "nilc",
            "split": "test",
            "simulation": "sim0003",
            "field": "I",
            "mae_uK": 4.0,
            "rmse_uK": 8.0,
            "nrmse": 0.08,
            "psnr_dB": 36.0,
            "r2": 0.96,
            "dl_deviation": 0.4,
            "truth_rms_uK": 100.0,
        }
    ]


def test_polarisation_has_rows_for_its_fields_and_for_its_spectra():
    table = simulation_rows(
        {"I": metrics(1), "Q": metrics(2), "U": metrics(3)},
        {"TT": 0.1, "EE": 0.2, "BB": 0.3},
        method="nilc",
        split="test",
        simulation="sim0000",
    ).set_index("field")
    assert list(table.index) == ["I", "Q", "U", "E", "B"]
    assert table["mae_uK"].tolist()[:3] == [1, 2, 3]
    assert table["mae_uK"].isna().tolist() == [False, False, False, True, True]
    assert table["dl_deviation"].fillna(-1).tolist() == [0.1, -1, -1, 0.2, 0.3]


def test_a_sky_without_spectra_has_no_deviation():
    table = simulation_rows({"I": metrics(1)}, {}, method="100", split="test", simulation="sim0000")
    assert table["dl_deviation"].isna().all()
    assert len(table) == 1


def test_rows_of_spectra_hold_every_band_of_every_spectrum():
    spectra, edges = random_spectra(3), band_edges(16, 4)
    table = spectrum_rows(spectra, edges, method="nilc", split="test", simulation="sim0000")
    assert len(table) == 3 * 4
    assert table["spectrum"].tolist() == ["TT"] * 4 + ["EE"] * 4 + ["BB"] * 4
    one = table[table["spectrum"] == "EE"]
    assert one["ell_first"].tolist() == [2, 6, 10, 14]
    assert one["ell_last"].tolist() == [5, 9, 13, 16]
    np.testing.assert_allclose(one["deviation"], relative_deviation(spectra, edges)[1])
    np.testing.assert_allclose(one["dl_cleaned_uK2"] / one["dl_truth_uK2"] - 1, one["deviation"], rtol=1e-12)
    np.testing.assert_allclose(one["dl_cross_uK2"] / one["dl_truth_uK2"], one["transfer"], rtol=1e-12)
    parts = one["dl_truth_uK2"] + one["dl_cleaned_uK2"] - 2 * one["dl_cross_uK2"]
    np.testing.assert_allclose(one["dl_residual_uK2"], parts, rtol=1e-9)


def test_the_mean_deviation_can_be_read_off_the_rows():
    spectra, edges = random_spectra(3), band_edges(16, 4)
    table = spectrum_rows(spectra, edges, method="nilc", split="test", simulation="sim0000")
    means = table["deviation"].abs().groupby(table["spectrum"]).mean().to_dict()
    assert means == pytest.approx(mean_relative_deviation(spectra, edges))


def test_comparison_by_hand():
    table = comparison_table(rows_of_three_methods()).set_index("method")
    assert table.loc["b", "n_simulations"] == 2
    assert table.loc["b", "mae_uK_mean"] == pytest.approx(4.0)
    assert table.loc["b", "mae_uK_std"] == pytest.approx(np.sqrt(2))  # ddof = 1: (1 + 1) / 1
    assert table.loc["b", "rmse_uK_mean"] == pytest.approx(8.0)
    assert table.loc["b", "psnr_dB_mean"] == pytest.approx(36.0)
    assert table.loc["b", "dl_deviation_mean"] == pytest.approx(0.4)
    assert table.loc["b", "truth_rms_uK_std"] == 0


def test_methods_are_sorted_by_their_error():
    assert comparison_table(rows_of_three_methods())["method"].tolist() == ["a", "b", "c"]


def test_the_order_of_skies_does_not_matter():
    rows = rows_of_three_methods()
    shuffled = rows.sample(frac=1, random_state=np.random.default_rng(0))
    pd.testing.assert_frame_equal(comparison_table(shuffled), comparison_table(rows), rtol=1e-13)


def test_splits_and_fields_are_compared_apart():
    fields = {"I": metrics(1), "Q": metrics(2), "U": metrics(3)}
    table = comparison_table(
        pd.concat(
            [
                simulation_rows(
                    fields, {"TT": 0.1, "EE": 0.2, "BB": 0.3}, method=m, split=s, simulation="sim0000"
                )
                for s in ("valid", "test")
                for m in ("b", "a")
            ]
        )
    )
    assert table["split"].tolist() == ["test"] * 10 + ["valid"] * 10
    assert table["field"].tolist()[:10] == ["I", "I", "Q", "Q", "U", "U", "E", "E", "B", "B"]
    assert table["method"].tolist()[:2] == ["a", "b"]


def test_one_sky_has_no_standard_deviation():
    table = comparison_table(row("nilc", "sim0000", 1.0))
    assert table["mae_uK_std"].isna().all()
    assert table["mae_uK_mean"].tolist() == [1.0]


def test_the_comparison_survives_csv():
    table = comparison_table(rows_of_three_methods())
    text = table.to_csv(index=False)
    assert text.splitlines()[0].startswith(
        "split,field,method,n_simulations,mae_uK_mean,mae_uK_std,rmse_uK_mean"
    )
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(text)), table)


def test_a_sky_that_occurs_twice_is_refused():
    rows = pd.concat([row("nilc", "sim0000", 1.0), row("nilc", "sim0000", 2.0)])
    with pytest.raises(ValueError, match=r"comparison: nilc has sim0000 of split test twice \(field I\)"):
        comparison_table(rows)


def test_a_metric_that_no_sky_has_stays_empty():
    table = comparison_table(rows_of_three_methods().drop(columns="dl_deviation"))
    assert table["dl_deviation_mean"].isna().all()
    assert table["method"].tolist() == ["a", "b", "c"]


def test_the_same_sky_of_two_splits_is_two_skies():
    rows = pd.concat([row("nilc", "sim0000", 1.0), row("nilc", "sim0000", 2.0, split="valid")])
    assert len(comparison_table(rows)) == 2


def test_the_best_channel_has_the_lowest_mean_error():
    assert best_single_channel(rows_of_three_methods()) == "a"
    # one lucky sky does not make a channel the best
    rows = pd.concat([rows_of_three_methods(), row("d", "sim0000", 0.1), row("d", "sim0001", 20.0)])
    assert best_single_channel(rows) == "a"


def test_no_channel_to_choose_from_is_refused():
    rows = rows_of_three_methods().assign(field="Q")
    with pytest.raises(
        ValueError, match=r"best single channel: the table has no row with field I to choose by"
    ):
        best_single_channel(rows)


def predicted(n_pixels=40, scale=2.0):
    sigma = scale * np.arange(1, n_pixels + 1)
    return calibration(np.where(np.arange(n_pixels) % 2, 1, -3) * sigma, sigma)


def test_numbers_of_an_error_map_stand_with_those_of_its_field():
    table = simulation_rows(
        {"I": metrics(1), "Q": metrics(2), "U": metrics(3)},
        {"TT": 0.1, "EE": 0.2, "BB": 0.3},
        method="petroff",
        split="test",
        simulation="sim0000",
    )
    found = add_calibration(table, {"I": predicted(), "U": predicted(scale=4.0)}).set_index("field")
    # half of the pixels at one predicted error, half at three: pulls of mean square (1 + 9) / 2
    assert found.loc["I", list(PREDICTIONS)].tolist() == [0.5, 0.5, 1.0, 41.0, 5.0]
    assert found.loc["U", list(PREDICTIONS)].tolist() == [0.5, 0.5, 1.0, 82.0, 5.0]
    assert found.loc[["Q", "E", "B"], list(PREDICTIONS)].isna().all(axis=None)
    assert found["mae_uK"].tolist()[:3] == [1, 2, 3]
    assert table[list(PREDICTIONS)].isna().all(axis=None)


def test_numbers_of_error_maps_are_averaged_over_the_skies_that_have_one():
    with_errors = [
        add_calibration(row("petroff", f"sim000{k}", 1.0), {"I": predicted(scale=scale)})
        for k, scale in enumerate((1.0, 3.0))
    ]
    table = comparison_table(
        pd.concat([*with_errors, row("petroff", "sim0002", 1.0), row("nilc", "sim0000", 2.0)])
    )
    table = table.set_index("method")
    assert table.loc["petroff", "mean_predicted_error_uK_mean"] == pytest.approx(41)
    assert table.loc["petroff", "coverage_1sigma_mean"] == 0.5
    assert table.loc["petroff", "n_simulations"] == 3
    assert np.isnan(table.loc["nilc", "coverage_1sigma_mean"])


def test_bins_of_an_error_map_are_rows_that_count_from_one():
    table = calibration_rows(
        {"I": predicted(), "Q": predicted(3)}, method="petroff", split="test", simulation="sim0001"
    )
    assert list(table.columns) == [
        *("method", "split", "simulation", "field", "bin", "predicted_uK", "rms_uK", "pixels")
    ]
    assert table["field"].tolist() == ["I"] * 20 + ["Q"] * 3
    assert table["bin"].tolist() == [*range(1, 21), 1, 2, 3]
    assert table["pixels"].tolist() == [2] * 20 + [1] * 3
    assert table["predicted_uK"].tolist()[20:] == [2, 4, 6]
    assert table["rms_uK"].tolist()[20:] == [6, 4, 18]
    assert set(table["simulation"]) == {"sim0001"}


def test_no_error_map_is_a_table_without_rows():
    table = calibration_rows({}, method="", split="", simulation="")
    assert len(table) == 0
    assert list(table.columns)[-1] == "pixels"
