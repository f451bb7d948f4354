import numpy as np
import pytest

from cmbml.partitions import Known, lift
from cmbml.pipelines.analysis.nodes import compare_methods, measure_method, prepare_mask
from cmbml.pipelines.analysis.settings import Analysis
from cmbml.science.skymap import SkyMap

ANALYSIS = Analysis(
    nside=16,
    lmax=24,
    map_fwhm_arcmin=300,
    fwhm_arcmin=300,
    apodisation_deg=10,
    taper="C1",
    bin_width=4,
    figure_simulations=1,
    map_range_uk=300,
    residual_range_uk=30,
)


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
    measured = measure_method(TRUTH, cleaned_from(OBSERVATIONS), OBSERVATIONS, MASK, ANALYSIS)
    record = measured["sim0001"]()
    (metrics,) = record["metrics"]
    # the cleaned map is the truth times 1.1, of unit variance
    assert metrics["rmse_uK"] == pytest.approx(0.1, rel=0.05)
    assert metrics["dl_deviation"] == pytest.approx(0.21, rel=1e-3)
    assert list(measured) == ["sim0000", "sim0001"]


def test_simulations_that_were_not_cleaned_are_left_out():
    cleaned = {"sim0001": cleaned_from(OBSERVATIONS)["sim0001"]}
    assert list(measure_method(TRUTH, cleaned, OBSERVATIONS, MASK, ANALYSIS)) == ["sim0001"]


def test_a_cleaned_map_without_truth_is_refused():
    with pytest.raises(ValueError, match="cleaned maps sim0001 have no truth"):
        measure_method(
            {"sim0000": TRUTH["sim0000"]}, cleaned_from(OBSERVATIONS), OBSERVATIONS, MASK, ANALYSIS
        )


def test_a_cleaned_map_of_other_observations_is_refused():
    others = known({"sim0000": 5, "sim0001": 6})
    with pytest.raises(ValueError, match="cleaned map sim0000: made from another observations"):
        measure_method(TRUTH, cleaned_from(others), OBSERVATIONS, MASK, ANALYSIS)


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
    comparison, metrics, _ = compare_methods(channels, pyilc=rows("", 1.0), idle={})
    assert (
        "method idle has no cleaned maps and is skipped; run it with: kedro run --pipeline=idle"
        in caplog.text
    )
    assert comparison["method"].tolist() == ["pyilc", "best single channel (143 GHz)"]
    assert set(metrics["method"]) == {"pyilc", "best single channel (143 GHz)"}
