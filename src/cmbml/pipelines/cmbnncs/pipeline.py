"""CMBNNCS, from observations and truth of the skies to learn from to cleaned maps."""

from kedro.pipeline import Node, Pipeline

from cmbml.pipelines.cmbnncs.nodes import (
    clean,
    fit_scaling,
    prepare_features,
    prepare_targets,
    report_training,
    train_network,
)

INPUTS = ("train_observations", "valid_observations", "test_observations", "train_cmb", "valid_cmb")
GROUPS = (
    "cmbnncs",
    "cmbnncs_scaling",
    "cmbnncs_network",
    "cmbnncs_learning",
    "cmbnncs_training",
    "cmbnncs_prediction",
)


def create_pipeline() -> Pipeline:
    """Return the pipeline: it learns from the train split, watches the valid split, cleans the test split."""
    return Pipeline(
        [
            *(
                Node(
                    prepare_features,
                    [f"{split}_observations", "instrument", "params:cmbnncs"],
                    f"cmbnncs_features_{split}",
                    name=f"prepare_features_{split}",
                )
                for split in ("train", "valid")
            ),
            *(
                Node(
                    prepare_targets,
                    [f"{split}_cmb", "params:cmbnncs"],
                    f"cmbnncs_targets_{split}",
                    name=f"prepare_targets_{split}",
                )
                for split in ("train", "valid")
            ),
            Node(
                fit_scaling,
                [
                    "cmbnncs_features_train",
                    "cmbnncs_targets_train",
                    "instrument",
                    "params:cmbnncs",
                    "params:cmbnncs_scaling",
                ],
                ["cmbnncs_scaling", "report_cmbnncs_scaling"],
                name="fit_scaling",
            ),
            Node(
                train_network,
                {
                    "train_features": "cmbnncs_features_train",
                    "train_targets": "cmbnncs_targets_train",
                    "valid_features": "cmbnncs_features_valid",
                    "valid_targets": "cmbnncs_targets_valid",
                    "scaling": "cmbnncs_scaling",
                    "instrument": "instrument",
                    "mask": "mask",
                    **{group: f"params:{group}" for group in GROUPS[:1] + GROUPS[2:5]},
                },
                "cmbnncs_checkpoints",
                name="train_network",
            ),
            Node(
                report_training,
                "cmbnncs_checkpoints",
                ["report_cmbnncs_losses", "report_cmbnncs_losses_figure"],
                name="report_training",
            ),
            _cleaning("test"),
        ],
        namespace="cmbnncs",
        inputs={*INPUTS, "instrument", "mask"},
        outputs={
            "cmbnncs_features_train",
            "cmbnncs_features_valid",
            "cmbnncs_targets_train",
            "cmbnncs_targets_valid",
            "cmbnncs_scaling",
            "report_cmbnncs_scaling",
            "cmbnncs_checkpoints",
            "report_cmbnncs_losses",
            "report_cmbnncs_losses_figure",
            "cmbnncs_cleaned_test",
        },
        parameters={f"params:{group}" for group in GROUPS},
    )


def create_cleaning_pipeline(splits: tuple[str, ...]) -> Pipeline:
    """Return a pipeline that cleans splits with a network that has been trained."""
    return Pipeline(
        [_cleaning(split) for split in splits],
        namespace="cmbnncs",
        inputs={*(f"{split}_observations" for split in splits), "instrument", "cmbnncs_checkpoints"},
        outputs={f"cmbnncs_cleaned_{split}" for split in splits},
        parameters={"params:cmbnncs", "params:cmbnncs_prediction"},
    )


def _cleaning(split: str) -> Node:
    return Node(
        clean,
        [
            f"{split}_observations",
            "instrument",
            "cmbnncs_checkpoints",
            "params:cmbnncs",
            "params:cmbnncs_prediction",
        ],
        f"cmbnncs_cleaned_{split}",
        name=f"clean_{split}",
    )
