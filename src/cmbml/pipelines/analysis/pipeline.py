"""From truth and cleaned maps to the comparison of all methods."""

from kedro.pipeline import Node, Pipeline

from cmbml.pipelines import method_names
from cmbml.pipelines.analysis.nodes import (
    compare_methods,
    draw_calibration,
    draw_skies,
    draw_spectra,
    measure_method,
    measure_single_channels,
    prepare_mask,
)


def create_pipeline() -> Pipeline:
    """Return the pipeline: every method by its folder's name, none imported."""
    methods = method_names()
    measured = {method: f"{method}_metrics_test" for method in methods}
    cleaned = {method: f"{method}_cleaned_test" for method in methods}
    errors = {method: f"{method}_errors_test" for method in methods}  # of many methods there are none
    drawn = {f"cleaned_{method}": name for method, name in cleaned.items()}
    drawn |= {f"errors_{method}": name for method, name in errors.items()}
    shared = {"mask": "analysis_mask", "analysis": "params:analysis"}
    return Pipeline(
        [
            Node(prepare_mask, ["mask", "params:analysis"], "analysis_mask", name="prepare_mask"),
            Node(
                measure_single_channels,
                {
                    "truth": "test_cmb",
                    "observations": "test_observations",
                    "instrument": "instrument",
                    **shared,
                },
                "single_channels_metrics_test",
                name="measure_single_channels",
            ),
            *(
                Node(
                    measure_method,
                    {
                        "truth": "test_cmb",
                        "cleaned": cleaned[method],
                        "errors": errors[method],
                        "observations": "test_observations",
                        **shared,
                    },
                    measured[method],
                    name=f"measure_{method}",
                )
                for method in methods
            ),
            Node(
                compare_methods,
                {"single_channels": "single_channels_metrics_test", **measured},
                ["report_comparison", "report_metrics", "report_spectra", "report_calibration"],
                name="compare_methods",
            ),
            Node(
                draw_skies,
                {"truth": "test_cmb", **shared, **drawn},
                "report_sky_figures",
                name="draw_skies",
            ),
            Node(draw_spectra, "report_spectra", "report_spectra_figure", name="draw_spectra"),
            Node(
                draw_calibration,
                ["report_metrics", "report_calibration"],
                "report_calibration_figure",
                name="draw_calibration",
            ),
        ]
    )
