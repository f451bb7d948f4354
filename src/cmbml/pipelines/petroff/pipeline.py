"""The spherical network, from skies to learn from to cleaned maps and their errors."""

from kedro.pipeline import Node, Pipeline

from cmbml.pipelines.petroff.nodes import (
    clean,
    cut_errors,
    fit_corrections,
    fit_scaling,
    import_published,
    map_errors,
    predict_test,
    predict_train,
    predict_valid,
    prepare_features,
    prepare_targets,
    report_corrections,
    report_training,
    train_network,
)

INPUTS = ("train_observations", "valid_observations", "test_observations", "train_cmb", "valid_cmb")
GROUPS = (
    "petroff",
    "petroff_scaling",
    "petroff_network",
    "petroff_learning",
    "petroff_training",
    "petroff_prediction",
)


def create_pipeline() -> Pipeline:
    """Return the pipeline: it learns from the train split, watches the valid split, cleans the test split."""
    return Pipeline(
        [
            *(
                Node(
                    prepare_features,
                    [f"{split}_observations", "instrument", "params:petroff"],
                    f"petroff_features_{split}",
                    name=f"prepare_features_{split}",
                )
                for split in ("train", "valid")
            ),
            *(
                Node(
                    prepare_targets,
                    [f"{split}_cmb", "params:petroff"],
                    f"petroff_targets_{split}",
                    name=f"prepare_targets_{split}",
                )
                for split in ("train", "valid")
            ),
            Node(
                fit_scaling,
                [
                    "petroff_features_train",
                    "petroff_targets_train",
                    "instrument",
                    "params:petroff",
                    "params:petroff_scaling",
                ],
                ["petroff_scaling", "report_petroff_scaling"],
                name="fit_scaling",
            ),
            Node(
                train_network,
                {
                    "train_features": "petroff_features_train",
                    "train_targets": "petroff_targets_train",
                    "valid_features": "petroff_features_valid",
                    "valid_targets": "petroff_targets_valid",
                    "scaling": "petroff_scaling",
                    "instrument": "instrument",
                    "mask": "mask",
                    "start": "petroff_start",
                    **{group: f"params:{group}" for group in GROUPS[:1] + GROUPS[2:5]},
                },
                "petroff_checkpoints",
                name="train_network",
            ),
            Node(
                report_training,
                "petroff_checkpoints",
                ["report_petroff_losses", "report_petroff_losses_figure"],
                name="report_training",
            ),
            *(
                Node(
                    function,
                    [
                        f"{split}_observations",
                        "instrument",
                        "petroff_checkpoints",
                        "params:petroff",
                        "params:petroff_prediction",
                    ],
                    f"petroff_predictions_{split}",
                    name=f"predict_{split}",
                )
                for split, function in (
                    ("train", predict_train),
                    ("valid", predict_valid),
                    ("test", predict_test),
                )
            ),
            Node(
                fit_corrections,
                [
                    "petroff_predictions_train",
                    "train_cmb",
                    "petroff_predictions_valid",
                    "valid_cmb",
                    "mask",
                    "params:petroff",
                    "params:petroff_prediction",
                ],
                "petroff_corrections",
                name="fit_corrections",
            ),
            Node(
                report_corrections,
                "petroff_corrections",
                "report_petroff_corrections",
                name="report_corrections",
            ),
            Node(
                clean,
                [
                    "petroff_predictions_test",
                    "test_observations",
                    "petroff_corrections",
                    "params:petroff",
                    "params:petroff_prediction",
                ],
                "petroff_cleaned_test",
                name="clean_test",
            ),
            Node(
                map_errors,
                [
                    "petroff_predictions_test",
                    "test_observations",
                    "petroff_corrections",
                    "params:petroff_network",
                    "params:petroff_training",
                    "params:petroff_prediction",
                ],
                "petroff_errors_test",
                name="map_errors_test",
            ),
            Node(
                cut_errors,
                ["petroff_errors_test", "params:petroff_prediction"],
                "petroff_error_masks_test",
                name="cut_errors_test",
            ),
        ],
        namespace="petroff",
        inputs={*INPUTS, "instrument", "mask", "petroff_start"},
        outputs={
            *(f"petroff_{kind}_{split}" for kind in ("features", "targets") for split in ("train", "valid")),
            *(f"petroff_predictions_{split}" for split in ("train", "valid", "test")),
            "petroff_scaling",
            "report_petroff_scaling",
            "petroff_checkpoints",
            "report_petroff_losses",
            "report_petroff_losses_figure",
            "petroff_corrections",
            "report_petroff_corrections",
            "petroff_cleaned_test",
            "petroff_errors_test",
            "petroff_error_masks_test",
        },
        parameters={f"params:{group}" for group in GROUPS},
    )


def create_published_pipeline() -> Pipeline:
    """Return the pipeline that makes a checkpoint of published weights, in the place of a training."""
    return Pipeline(
        [
            Node(
                import_published,
                [
                    "petroff_published_weights",
                    "petroff_published_description",
                    "instrument",
                    "params:petroff",
                ],
                "petroff_checkpoints",
                name="import_published",
            )
        ],
        namespace="petroff",
        inputs={"petroff_published_weights", "petroff_published_description", "instrument"},
        outputs={"petroff_checkpoints"},
        parameters={"params:petroff"},
    )
