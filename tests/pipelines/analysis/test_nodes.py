import io

import numpy as np
import pandas as pd
import pytest
from kedro.io.core import DatasetError

from cmbml.datasets import JsonRecordDataset, ParallelPartitionedDataset
from cmbml.partitions import Known, lift
from cmbml.pipelines.analysis.calibration_figure import NO_ERRORS
from cmbml.pipelines.analysis.nodes import (
    compare_methods,
    draw_calibration,
    draw_skies,
    measure_method,
    prepare_mask,
)
from cmbml.pipelines.analysis.settings import Analysis
from cmbml.pipelines.analysis.tables import CALIBRATION, PREDICTIONS
from cmbml.science.skymap import SkyMap
from tests.pipelines.analysis.error_maps import ANALYSIS, error_map


def sky(seed: int, scale: float = 1.0) -> SkyMap:
    return SkyMap(scale * np.random.default_rng(seed).normal(size=(1, 3072)), "uK_CMB")


def passed_on(observations: int) -> SkyMap:
    return sky(observations, scale=1.1)


def cleaned_from(observations: dict) -> dict:
    return lift(passed_on, version=1, partitioned={"observations": observations})


def known(values: dict) -> dict:
    return {name: Known(value, f"{name} {value}") for name, value in values.items()}


TRUTH = {name: Known(sky(number), name) for number, name in enumerate(("sim0000", "sim0001"))}
OBSERVATIONS = known({"sim0000": 0, "sim0001": 1})
MASK = prepare_mask(SkyMap(np.ones((1, 3072)), ""), ANALYSIS)


def rows(method: str, error: float) -> dict:
    metric = {"method": method, "field": "I", "mae_uK": error, "rmse_uK": error}
    spectrum = {"method": method, "spectrum": "TT", "ell": 4.0}
    return {"sim0000": Known({"metrics": [metric], "spectra": [spectrum]}, method)}


def test_a_method_is_measured_simulation_by_simulation():
    measured = measure_method(TRUTH, cleaned_from(OBSERVATIONS), OBSERVATIONS, MASK, ANALYSIS, errors={})
    record = measured["sim0001"]()
    (metrics,) = record["metrics"]
    # the cleaned map is the truth times 1.1, of unit variance
    assert metrics["rmse_uK"] == pytest.approx(0.1, rel=0.05)
    assert metrics["dl_deviation"] == pytest.approx(0.21, rel=1e-3)
    assert list(measured) == ["sim0000", "sim0001"]


def test_simulations_that_were_not_cleaned_are_left_out():
    cleaned = {"sim0001": cleaned_from(OBSERVATIONS)["sim0001"]}
    assert list(measure_method(TRUTH, cleaned, OBSERVATIONS, MASK, ANALYSIS, errors={})) == ["sim0001"]


def test_a_cleaned_map_without_truth_is_refused():
    with pytest.raises(ValueError, match="cleaned maps sim0001 have no truth"):
        measure_method(
            {"sim0000": TRUTH["sim0000"]}, cleaned_from(OBSERVATIONS), OBSERVATIONS, MASK, ANALYSIS, errors={}
        )


def test_a_cleaned_map_of_other_observations_is_refused():
    others = known({"sim0000": 5, "sim0001": 6})
    with pytest.raises(ValueError, match="cleaned map sim0000: made from another observations"):
        measure_method(TRUTH, cleaned_from(others), OBSERVATIONS, MASK, ANALYSIS, errors={})


def test_a_method_without_products_is_skipped_by_name(caplog):
    channels = {
        "sim0000": Known(
            {
                kind: rows("100", 3.0)["sim0000"]()[kind] + rows("143", 2.0)["sim0000"]()[kind]
                for kind in ("metrics", "spectra")
            },
            "channels",
        )
    }
    comparison, metrics, *_ = compare_methods(channels, pyilc=rows("", 1.0), idle={})
    assert (
        "method idle has no cleaned maps and is skipped; run it with: kedro run --pipeline=idle"
        in caplog.text
    )
    assert comparison["method"].tolist() == ["pyilc", "best single channel (143 GHz)"]
    assert set(metrics["method"]) == {"pyilc", "best single channel (143 GHz)"}


def error_loaders(*names: str, sigma: float = 0.1) -> dict:
    return {name: Known(error_map(sigma), f"errors {name} {sigma}") for name in names}


def test_simulations_with_an_error_map_are_calibrated_and_the_others_compared():
    cleaned = cleaned_from(OBSERVATIONS)
    measured = measure_method(TRUTH, cleaned, OBSERVATIONS, MASK, ANALYSIS, errors=error_loaders("sim0001"))
    assert list(measured) == ["sim0000", "sim0001"]
    records = {name: partition() for name, partition in measured.items()}
    assert [("calibration" in record) for record in records.values()] == [False, True]
    # the cleaned map is off by a tenth of the truth, which is Gaussian of unit variance
    assert records["sim0001"]["metrics"][0]["coverage_1sigma"] == pytest.approx(0.683, abs=0.035)
    assert "coverage_1sigma" not in records["sim0000"]["metrics"][0]


def test_methods_without_error_maps_are_measured_as_before_there_were_any():
    cleaned = cleaned_from(OBSERVATIONS)
    measured = measure_method(TRUTH, cleaned, OBSERVATIONS, MASK, ANALYSIS, errors={})
    with_errors = measure_method(
        TRUTH, cleaned, OBSERVATIONS, MASK, ANALYSIS, errors=error_loaders("sim0000")
    )
    assert set(measured["sim0000"].recipe["inputs"]) == {"truth", "cleaned", "mask"}
    assert measured["sim0001"].fingerprint == with_errors["sim0001"].fingerprint
    assert measured["sim0000"].fingerprint != with_errors["sim0000"].fingerprint


def test_another_error_map_is_another_measurement():
    fingerprints = {
        measure_method(
            TRUTH,
            cleaned_from(OBSERVATIONS),
            OBSERVATIONS,
            MASK,
            ANALYSIS,
            errors=error_loaders("sim0000", sigma=sigma),
        )["sim0000"].fingerprint
        for sigma in (0.1, 0.2)
    }
    assert len(fingerprints) == 2


def test_a_zero_predicted_error_is_refused_by_method_and_simulation(tmp_path):
    errors = error_loaders("sim0000") | error_loaders("sim0001", sigma=0.0)
    measured = measure_method(TRUTH, cleaned_from(OBSERVATIONS), OBSERVATIONS, MASK, ANALYSIS, errors=errors)
    with pytest.raises(ValueError, match="error map: I_ERROR of 3072 compared pixels is no finite number"):
        measured["sim0001"]()
    dataset = ParallelPartitionedDataset(
        path=str(tmp_path / "metrics/petroff/test"),
        dataset={"type": JsonRecordDataset},
        filename_suffix=".json",
        n_jobs=0,
    )
    message = (
        r"metrics/petroff/test: 1 of 2 partitions failed; .* sim0001: .*error map: I_ERROR of 3072 compared"
    )
    with pytest.raises(DatasetError, match=message):
        dataset.save(measured)


def calibrated(*names: str) -> dict:
    """Return records of two simulations; those that are named have an error map."""
    measured = measure_method(
        TRUTH, cleaned_from(OBSERVATIONS), OBSERVATIONS, MASK, ANALYSIS, errors=error_loaders(*names)
    )
    return {name: Known(partition(), f"record {name}") for name, partition in measured.items()}


def test_a_method_with_some_error_maps_is_told_of_the_others(caplog):
    channels = rows("100", 3.0)
    comparison, metrics, _, bins = compare_methods(
        channels, petroff=calibrated("sim0001"), pyilc=calibrated()
    )
    assert "method petroff has no error map of 1 of its 2 simulations (sim0000)" in caplog.text
    assert "method pyilc" not in caplog.text
    assert set(bins["method"]) == {"petroff"}
    assert set(bins["simulation"]) == {"sim0001"}
    covered = metrics[metrics["field"] == "I"].set_index(["method", "simulation"])["coverage_1sigma"]
    assert covered[covered.notna()].index.tolist() == [("petroff", "sim0001")]
    table = comparison.set_index("method")
    assert table.loc["petroff", "coverage_1sigma_mean"] == covered["petroff", "sim0001"]
    assert np.isnan(table.loc["pyilc", "coverage_1sigma_mean"])


def test_without_error_maps_the_tables_have_their_columns_and_no_numbers(caplog):
    comparison, metrics, _, bins = compare_methods(rows("100", 3.0), pyilc=calibrated())
    assert list(bins.columns) == list(CALIBRATION)
    assert len(bins) == 0
    assert metrics[list(PREDICTIONS)].isna().all(axis=None)
    assert comparison[[f"{name}_mean" for name in PREDICTIONS]].isna().all(axis=None)
    assert "error map" not in caplog.text


@pytest.mark.parametrize(("names", "said"), [((), True), (("sim0000", "sim0001"), False)])
def test_the_figure_of_the_calibration_is_drawn_from_the_tables_as_they_are_read_again(names, said):
    tables = compare_methods(rows("100", 3.0), petroff=calibrated(*names))
    metrics, bins = (pd.read_csv(io.StringIO(tables[place].to_csv(index=False))) for place in (1, 3))
    figure = draw_calibration(metrics, bins)
    assert (NO_ERRORS in [text.get_text() for text in figure.texts]) == said
    assert len(figure.axes) == (0 if said else 2)


def titles(analysis: Analysis, **products: dict) -> list[str]:
    figure = draw_skies(TRUTH, prepare_mask(SkyMap(np.ones((1, 3072)), ""), analysis), analysis, **products)
    return [axes.get_title().split(",")[0] for axes in figure["sim0000"].axes if axes.images]


def test_predicted_errors_are_drawn_beside_their_residual_at_their_beam():
    cleaned, errors = cleaned_from(OBSERVATIONS), error_loaders("sim0000")
    products = {
        "cleaned_petroff": cleaned,
        "errors_petroff": errors,
        "cleaned_pyilc": cleaned,
        "errors_pyilc": {},
    }
    shown = ["truth", "petroff", "residual", "predicted error", "pyilc", "residual"]
    assert titles(ANALYSIS, **products) == shown
    wider = ANALYSIS.model_copy(update={"fwhm_arcmin": 600.0, "apodisation_deg": 0.0})
    assert titles(wider, **products) == [title for title in shown if title != "predicted error"]
