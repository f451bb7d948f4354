"""What a product of CMBNNCS depends on, and what it does not."""

import numpy as np
import pytest
from kedro.io import DatasetError

from cmbml.datasets import TrainingFolderDataset
from cmbml.learning.settings import PredictionSettings
from cmbml.partitions import Known, lift
from cmbml.pipelines.cmbnncs.nodes import (
    clean,
    fit_scaling,
    prepare_features,
    prepare_targets,
    report_training,
    train_network,
)
from cmbml.pipelines.cmbnncs.pipeline import create_cleaning_pipeline, create_pipeline
from tests.learning.small_trainings import settings
from tests.pipelines.cmbnncs.small_skies import (
    INSTRUMENT,
    LEARNING,
    SCALING,
    data,
    mask,
    network,
    sky,
)


def loaders(numbers: tuple[int, ...], part: int, *, made: str = "made") -> dict[str, Known]:
    """Loaders of observations (0) or truths (1) of skies, with fingerprints of how they were made."""
    return {
        f"sim{place:04d}": Known(sky(number)[part], f"{made} {part} {number}")
        for place, number in enumerate(numbers)
    }


def trained(made: str = "made", *, shown=None, **changes):
    """Return a training as the pipeline makes it, on features and targets that are not yet computed."""
    shown = shown or data()
    products = []
    for numbers in ((0, 1), (10, 11)):
        products.append(prepare_features(loaders(numbers, 0, made=made), INSTRUMENT, shown))
        products.append(prepare_targets(loaders(numbers, 1, made=made), shown))
    scaling, _ = fit_scaling(products[0], products[1], INSTRUMENT, shown, SCALING)
    changed = settings(**{"epochs": 2, "batch_size": 2, **changes})
    return train_network(*products, scaling, INSTRUMENT, mask(), shown, network(), LEARNING, changed)


def prints(partitions) -> list[str]:
    return [partition.fingerprint for partition in partitions.values()]


def test_features_know_nothing_of_the_network_and_its_training():
    read = {
        node.func.__name__: {name for name in node.inputs if name.startswith("params:")}
        for node in create_pipeline().nodes
    }
    assert read["prepare_features"] == read["prepare_targets"] == {"params:cmbnncs"}
    assert read["fit_scaling"] == {"params:cmbnncs", "params:cmbnncs_scaling"}
    assert read["clean"] == {"params:cmbnncs", "params:cmbnncs_prediction"}


def test_the_scaling_is_fitted_to_the_training_split_and_to_no_other():
    (node,) = [node for node in create_pipeline().nodes if node.func.__name__ == "fit_scaling"]
    read = {name for name in node.inputs if not name.startswith("params:")}
    assert read == {"cmbnncs_features_train", "cmbnncs_targets_train", "instrument"}


def test_skies_that_were_learnt_from_are_cleaned_as_those_of_the_test_split_and_train_nothing():
    splits, whole = create_cleaning_pipeline(("train", "valid")), create_pipeline()
    assert splits.all_outputs() == {"cmbnncs_cleaned_train", "cmbnncs_cleaned_valid"}
    assert splits.inputs() >= {"train_observations", "valid_observations", "cmbnncs_checkpoints"}
    (test,) = [node for node in whole.nodes if node.func is clean]
    for node in splits.nodes:
        assert node.func is clean
        assert node.inputs[1:] == test.inputs[1:]


def test_another_training_leaves_its_features_as_they_are():
    one, other = trained(), trained(optimiser={"lr": 0.005})
    assert one.fingerprint != other.fingerprint
    assert one.recipe["inputs"] == other.recipe["inputs"]


@pytest.mark.parametrize(
    "changes", [{"fwhm_arcmin": 800.0}, {"inputs": "maps"}, {"reference": "353"}, {"channels": "100-353"}]
)
def test_what_a_network_sees_makes_its_features_others(changes):
    observations = loaders((0, 1), 0)
    one, other = (
        prints(prepare_features(observations, INSTRUMENT, shown)) for shown in (data(), data(**changes))
    )
    assert not set(one) & set(other)


def test_a_sky_that_was_simulated_anew_makes_features_training_and_cleaned_map_stale(tmp_path):
    old, new = (
        prepare_features(loaders((0, 1), 0, made=made), INSTRUMENT, data()) for made in ("made", "anew")
    )
    assert not set(prints(old)) & set(prints(new))
    dataset = TrainingFolderDataset(path=tmp_path / "cmbnncs")
    dataset.save(trained())
    before = dataset.load()["best"]
    with pytest.raises(DatasetError, match="made under another configuration: .*train_features.sim0000 was"):
        dataset.save(trained("anew"))
    assert dataset.load()["best"].fingerprint == before.fingerprint
    again = TrainingFolderDataset(path=tmp_path / "cmbnncs", on_mismatch="recompute")
    again.save(trained("anew"))
    best = PredictionSettings(checkpoint="best")
    cleaned = [
        prints(clean(loaders((20,), 0), INSTRUMENT, checkpoints, data(), best))
        for checkpoints in ({"best": before}, again.load())
    ]
    assert cleaned[0] != cleaned[1]


def test_growing_a_split_leaves_its_first_features_as_they_are():
    few, more = (
        prints(prepare_features(loaders(numbers, 0), INSTRUMENT, data())) for numbers in ((0,), (0, 1))
    )
    assert more[:1] == few


def test_how_the_work_is_done_is_no_part_of_a_training():
    aside = {"num_workers": 2, "checkpoint_every": 1, "checkpoint_also": (1,), "max_minutes": 1.0}
    assert trained(**aside).fingerprint == trained().fingerprint


@pytest.mark.parametrize("node", [prepare_features, clean])
def test_observations_of_another_instrument_are_refused(node):
    others = lift(
        lambda seeds, instrument: None,
        version=1,
        partitioned={"seeds": {"sim0000": 1}},
        shared={"instrument": INSTRUMENT.with_stokes("I")},
    )
    rest = () if node is prepare_features else ({},)
    last = () if node is prepare_features else (PredictionSettings(checkpoint="best"),)
    message = "observations sim0000: made from another instrument than the one at hand; make both anew"
    with pytest.raises(ValueError, match=message):
        node(others, INSTRUMENT, *rest, data(), *last)


def test_a_network_for_other_inputs_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="cmbnncs_network.kind correcting: needs cmbnncs.inputs differences"):
        train_network(
            {}, {}, {}, {}, {}, INSTRUMENT, mask(), data(inputs="maps"), network(), LEARNING, settings()
        )


def test_the_losses_are_a_table_and_a_figure(tmp_path):
    dataset = TrainingFolderDataset(path=tmp_path)
    dataset.save(trained(epochs=3))
    losses, figure = report_training(dataset.load())
    assert list(losses.columns) == ["epoch", "step", "train_loss", "valid_loss", "lr", "seconds"]
    assert list(losses["epoch"]) == [1, 2, 3]
    top, bottom = figure.axes
    drawn = {line.get_label(): line.get_ydata() for line in top.get_lines()}
    np.testing.assert_array_equal(drawn["training"], losses["train_loss"])
    np.testing.assert_array_equal(drawn["validation"], losses["valid_loss"])
    (best,) = [label for label in drawn if label.startswith("best: ")]
    assert best.endswith(f"at epoch {losses['epoch'][losses['valid_loss'].idxmin()]}")
    np.testing.assert_array_equal(bottom.get_lines()[0].get_ydata(), losses["lr"])
