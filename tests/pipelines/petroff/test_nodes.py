"""What a product of the spherical network depends on, what it does not, and when anything is read."""

from functools import cache

import numpy as np
import pytest
from kedro.io import DatasetError

from cmbml.datasets import HealpixMapDataset, ParallelPartitionedDataset, TrainingFolderDataset
from cmbml.partitions import Known, Recorded, lift
from cmbml.pipelines.petroff.nodes import (
    clean,
    cut_errors,
    fit_corrections,
    fit_scaling,
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
from cmbml.pipelines.petroff.pipeline import create_pipeline
from tests.learning.small_trainings import settings
from tests.pipelines.cmbnncs.small_skies import INSTRUMENT, NSIDE, mask
from tests.pipelines.cmbnncs.small_skies import sky as made_sky
from tests.pipelines.petroff.small_skies import LEARNING, SCALING, Counted, data, network, sampling, trained

PREDICT = {"train": predict_train, "valid": predict_valid, "test": predict_test}
sky = cache(made_sky)
AS_SAID = sampling(correct_spectrum=False, calibrate_errors=False)
"""What the network says, with no corrections."""
NUMBERS = {"train": (0, 1, 2), "valid": (10, 11), "test": (20, 21)}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("trained"), epochs=6, built=network(prior_skies=800))


class Run:
    """All products of a run, none of them computed, and what was read of its skies."""

    def __init__(
        self, checkpoints, *, made: str = "made", instrument=INSTRUMENT, shown=None, **changes
    ) -> None:
        shown, asked = shown or data(), sampling(**changes)
        self.skies = {
            split: {f"sim{n:04d}": number for n, number in enumerate(NUMBERS[split])} for split in NUMBERS
        }
        self.observations, self.truth = (
            {
                split: Counted(
                    {name: sky(number)[part] for name, number in skies.items()}, f"{made} {part} {split}"
                )
                for split, skies in self.skies.items()
            }
            for part in (0, 1)
        )
        self.predictions = {
            split: predict(self.observations[split].loaders, instrument, checkpoints, shown, asked)
            for split, predict in PREDICT.items()
        }
        self.corrections = fit_corrections(
            self.predictions["train"],
            self.truth["train"].loaders,
            self.predictions["valid"],
            self.truth["valid"].loaders,
            mask(),
            shown,
            asked,
        )
        test = self.predictions["test"], self.observations["test"].loaders, self.corrections
        self.cleaned = clean(*test, shown, asked)
        self.errors = map_errors(*test, network(), settings(loss="gaussian"), asked)
        self.masks = cut_errors(self.errors, asked)

    @property
    def read(self) -> dict[str, list[str]]:
        """Names of the observations and truths that were read, by split; the latter with "truth"."""
        found = {split: counted.called for split, counted in self.observations.items()}
        return found | {f"{split} truth": counted.called for split, counted in self.truth.items()}

    def prints(self) -> dict[str, tuple[str, ...]]:
        products = {f"predictions {split}": made for split, made in self.predictions.items()}
        products |= {
            "corrections": self.corrections,
            "cleaned": self.cleaned,
            "errors": self.errors,
            "masks": self.masks,
        }
        return {name: tuple(part.fingerprint for part in made.values()) for name, made in products.items()}


def stale(checkpoints, **changes) -> set[str]:
    """Return the products that a change makes others."""
    before, after = Run(checkpoints).prints(), Run(checkpoints, **changes).prints()
    return {name for name in before if before[name] != after[name]}


ALL = {
    "predictions train",
    "predictions valid",
    "predictions test",
    "corrections",
    "cleaned",
    "errors",
    "masks",
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"samples": 6}, ALL),
        ({"seed": 6}, ALL),
        ({"batch": 2}, set()),  # how it is done
        ({"accelerator": "auto"}, set()),
        ({"checkpoint": "last"}, ALL),
        ({"made": "made anew"}, ALL),
        ({"shown": data(channels="100-353")}, ALL),
        ({"shown": data(reference="353")}, ALL),
        ({"shown": data(reference="143")}, set()),  # which that of auto is
        ({"shown": data(inputs_fwhm_arcmin=950.0)}, set()),  # which differences do not use
        ({"error_cut_uk": 20.0}, {"masks"}),
        (
            {"correct_spectrum": False},
            {"predictions train", "corrections", "cleaned", "errors", "masks"},
        ),
        ({"calibrate_errors": False}, {"predictions valid", "corrections", "errors", "masks"}),
        (
            {"fitted_skies": 1},
            {"predictions train", "predictions valid", "corrections", "cleaned", "errors", "masks"},
        ),
    ],
    ids=lambda value: "-".join(sorted(map(str, value))),  # a set has another order in every process
)
def test_a_change_makes_others_what_depends_on_it_and_nothing_else(checkpoints, changes, expected):
    assert stale(checkpoints, **changes) == expected


def test_predictions_that_stay_are_the_same_ones(checkpoints):
    two, one = Run(checkpoints), Run(checkpoints, fitted_skies=1)
    assert two.prints()["predictions train"][:1] == one.prints()["predictions train"]


def test_another_training_makes_all_stale(checkpoints, tmp_path):
    other = trained(tmp_path, epochs=1)
    before, after = Run(checkpoints).prints(), Run(other).prints()
    assert all(before[name] != after[name] for name in ALL)


def test_nothing_is_read_before_a_partition_is_computed(checkpoints):
    class Untouched:
        fingerprint = "untouched"

        def __call__(self):
            raise AssertionError("the network was loaded")

    run = Run({"best": Untouched()})
    run.prints()
    assert not any(run.read.values())


def test_a_prediction_reads_its_own_sky_and_no_truth(checkpoints):
    run = Run(checkpoints)
    run.predictions["test"]["sim0001"]()
    assert {split: names for split, names in run.read.items() if names} == {"test": ["sim0001"]}


def test_the_spectrum_is_fitted_to_training_skies_and_the_errors_to_validation_skies_as_well(checkpoints):
    run = Run(checkpoints)
    run.corrections["spectrum"]()
    two = ["sim0000", "sim0001"]  # as many as fitted_skies, of three
    assert {split: names for split, names in run.read.items() if names} == {"train": two, "train truth": two}
    run = Run(checkpoints, correct_spectrum=False)
    run.corrections["errors"]()
    assert {split: names for split, names in run.read.items() if names} == {"valid": two, "valid truth": two}


@pytest.mark.parametrize("product", ["cleaned", "errors", "masks"])
def test_no_truth_of_the_test_split_is_read_for_a_product(checkpoints, product):
    run = Run(checkpoints)
    getattr(run, product)["sim0000"]()
    assert run.read["test"] == ["sim0000"]
    assert run.read["test truth"] == []
    assert bool(run.read["valid"]) == (product != "cleaned")


def test_without_corrections_nothing_is_predicted_of_other_splits(checkpoints):
    run = Run(checkpoints, correct_spectrum=False, calibrate_errors=False)
    assert run.predictions["train"] == run.predictions["valid"] == run.corrections == {}
    run.masks["sim0000"]()
    assert {split: names for split, names in run.read.items() if names} == {"test": ["sim0000"]}
    assert report_corrections(run.corrections).empty


def test_all_that_is_predicted_fits_together(checkpoints):
    run = Run(checkpoints, error_cut_uk=5.0)
    cleaned, errors, cut = (made["sim0000"]() for made in (run.cleaned, run.errors, run.masks))
    assert cleaned.values.shape == (1, 12 * NSIDE**2)
    assert cleaned.header == errors.header
    assert np.array_equal(cut.values[0], errors.values[0] <= 5.0)
    factor = run.corrections["errors"]()["factor"]
    raw = run.predictions["test"]["sim0000"]()
    np.testing.assert_allclose(errors.values[1:], factor * raw.values[1:], rtol=1e-6)
    table = report_corrections(run.corrections)
    assert set(table["quantity"]) == {"spectrum", "errors"}
    assert set(table["skies"]) == {2}


def predictions_on_disk(folder, run: Run) -> dict:
    dataset = ParallelPartitionedDataset(
        path=str(folder),
        dataset={"type": HealpixMapDataset, "nside": NSIDE},
        filename_suffix=".fits",
        n_jobs=0,
    )
    dataset.save(run.predictions["test"])
    return dataset.load()


def test_predictions_of_other_observations_are_refused(checkpoints, tmp_path):
    run, anew = Run(checkpoints), Run(checkpoints, made="made anew")
    kept = predictions_on_disk(tmp_path, run)
    assert np.array_equal(
        clean(kept, run.observations["test"].loaders, {}, data(), AS_SAID)["sim0000"]().values.shape, (1, 768)
    )
    message = (
        "prediction sim0000: made from another observations than the one at hand; predict again, with --params "
        "on_mismatch=recompute"
    )
    with pytest.raises(ValueError, match=message):
        clean(kept, anew.observations["test"].loaders, {}, data(), AS_SAID)
    with pytest.raises(ValueError, match=message):
        map_errors(kept, anew.observations["test"].loaders, {}, network(), settings(loss="gaussian"), AS_SAID)


def test_predictions_of_skies_that_are_gone_are_named(checkpoints):
    run = Run(checkpoints)
    left = {"sim0000": run.observations["test"].loaders["sim0000"]}
    with pytest.raises(ValueError, match="prediction sim0001: observations not there any more"):
        clean(run.predictions["test"], left, {}, data(), AS_SAID)
    truth = {"sim0000": run.truth["train"].loaders["sim0000"]}
    with pytest.raises(ValueError, match="prediction sim0001: truth not there any more"):
        fit_corrections(run.predictions["train"], truth, {}, {}, mask(), data(), sampling())


def test_what_goes_back_to_observations_records_them_without_reading():
    record = Recorded("made of this")
    assert record() is None
    one, same, other = (
        lift(len, version=1, partitioned={"given": {"sim0000": Recorded(print_)}})["sim0000"]
        for print_ in ("this", "this", "that")
    )
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.recipe["inputs"] == {"given": "this"}


def test_a_checkpoint_that_was_not_kept_is_named_with_those_that_were(checkpoints):
    with pytest.raises(
        ValueError, match="petroff_prediction.checkpoint epoch_0003: not kept; there are best"
    ):
        Run(checkpoints, checkpoint="epoch_0003")


OTHERS = lift(
    len, version=1, partitioned={"seeds": {"sim0000": 1}}, shared={"instrument": INSTRUMENT.with_stokes("I")}
)


@pytest.mark.parametrize("predict", PREDICT.values())
def test_observations_of_another_instrument_are_refused(predict):
    message = "observations sim0000: made from another instrument than the one at hand; make both anew"
    with pytest.raises(ValueError, match=message):
        prepare_features(OTHERS, INSTRUMENT, data())
    with pytest.raises(ValueError, match=message):
        predict(OTHERS, INSTRUMENT, {}, data(), sampling())


# ---- Training ----------------------------------------------------------------


def learning(made: str = "made", *, shown=None, built=None, learning=LEARNING, **changes):
    """Return a training as the pipeline makes it, on features and targets that are not yet computed."""
    shown, products = shown or data(), {}
    for split in ("train", "valid"):
        skies = {f"sim{n:04d}": sky(number) for n, number in enumerate(NUMBERS[split])}
        observations, cmb = (
            {name: Known(both[part], f"{made} {part} {split} {name}") for name, both in skies.items()}
            for part in (0, 1)
        )
        products[f"{split}_features"] = prepare_features(observations, INSTRUMENT, shown)
        products[f"{split}_targets"] = prepare_targets(cmb, shown)
    scaling, _ = fit_scaling(
        products["train_features"], products["train_targets"], INSTRUMENT, shown, SCALING
    )
    given = {"epochs": 2, "batch_size": 2, "loss": "gaussian", **changes}
    return train_network(
        **products,
        scaling=scaling,
        instrument=INSTRUMENT,
        mask=mask(),
        start=Known({}, "nothing"),
        petroff=shown,
        petroff_network=built or network(),
        petroff_learning=learning,
        petroff_training=settings(**given),
    )


def test_features_know_nothing_of_the_network_and_its_training():
    read = {
        node.func.__name__: {name for name in node.inputs if name.startswith("params:")}
        for node in create_pipeline().nodes
    }
    assert read["prepare_features"] == read["prepare_targets"] == {"params:petroff"}
    assert read["fit_scaling"] == {"params:petroff", "params:petroff_scaling"}
    assert read["predict_test"] == {"params:petroff", "params:petroff_prediction"}
    assert read["clean"] == {"params:petroff", "params:petroff_prediction"}
    assert "params:petroff" not in read["map_errors"]


def test_what_is_fitted_is_fitted_to_its_own_split_and_to_no_other():
    nodes = {node.name.removeprefix("petroff."): node for node in create_pipeline().nodes}
    assert {name for name in nodes["fit_scaling"].inputs if "_train" in name or "valid" in name} == {
        "petroff_features_train",
        "petroff_targets_train",
    }
    assert not any("test" in name for name in nodes["fit_corrections"].inputs)
    assert not any("cmb" in name for name in nodes["clean_test"].inputs)


def test_another_training_leaves_its_features_as_they_are():
    one, other = learning(), learning(optimiser={"lr": 0.005})
    assert one.fingerprint != other.fingerprint
    assert one.recipe["inputs"] == other.recipe["inputs"]


@pytest.mark.parametrize(
    "changes",
    [
        {"built": network(filters=4)},
        {"built": network(dropout_strength=1.0)},
        {"learning": LEARNING.model_copy(update={"masked_weight": 0.5})},
        {"shown": data(channels="100-353")},
        {"made": "anew"},
    ],
    ids=["filters", "strength", "weight", "channels", "skies"],
)
def test_what_a_network_is_and_sees_makes_it_another(changes):
    assert learning(**changes).fingerprint != learning().fingerprint


def test_how_the_work_is_done_is_no_part_of_a_training():
    aside = {"num_workers": 2, "checkpoint_every": 1, "checkpoint_also": (1,), "max_minutes": 1.0}
    assert learning(**aside).fingerprint == learning().fingerprint
    assert learning(built=network(depth="auto")).fingerprint == learning(built=network(depth=3)).fingerprint


@pytest.mark.parametrize(
    "changes", [{"fwhm_arcmin": 800.0}, {"inputs": "maps"}, {"reference": "353"}, {"channels": "100-353"}]
)
def test_what_a_network_sees_makes_its_features_others(changes):
    observations = Counted({"sim0000": sky(0)[0], "sim0001": sky(1)[0]})
    one, other = (
        {part.fingerprint for part in prepare_features(observations.loaders, INSTRUMENT, shown).values()}
        for shown in (data(), data(**changes))
    )
    assert not one & other
    assert observations.called == []


def test_targets_stay_where_the_network_sees_something_else():
    truth = Counted({"sim0000": sky(0)[1]})
    one, other = (
        prepare_targets(truth.loaders, shown)["sim0000"].fingerprint
        for shown in (data(), data(inputs="maps"))
    )
    assert one == other
    assert prepare_targets(truth.loaders, data(fwhm_arcmin=800.0))["sim0000"].fingerprint != one


def test_a_sky_that_was_simulated_anew_makes_a_training_stale(tmp_path):
    dataset = TrainingFolderDataset(path=tmp_path / "petroff")
    dataset.save(learning())
    before = dataset.load()["best"]
    with pytest.raises(DatasetError, match="made under another configuration: .*train_features.sim0000 was"):
        dataset.save(learning("anew"))
    assert dataset.load()["best"].fingerprint == before.fingerprint


def test_a_network_for_other_inputs_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="petroff_network.kind published: needs petroff.inputs maps"):
        learning(built=network(kind="published"))


def test_the_losses_are_a_table_and_a_figure(checkpoints):
    losses, figure = report_training(checkpoints)
    assert list(losses.columns) == ["epoch", "step", "train_loss", "valid_loss", "lr", "seconds"]
    assert list(losses["epoch"]) == list(range(1, 7))
    top, bottom = figure.axes
    drawn = {line.get_label(): line.get_ydata() for line in top.get_lines()}
    np.testing.assert_array_equal(drawn["validation"], losses["valid_loss"])
    np.testing.assert_array_equal(bottom.get_lines()[0].get_ydata(), losses["lr"])


def test_corrections_that_are_wanted_have_to_be_there(checkpoints):
    run = Run(checkpoints)
    given = run.predictions["test"], run.observations["test"].loaders
    with pytest.raises(
        ValueError, match="petroff_corrections: spectrum is not there; fit it .*correct_spectrum to false"
    ):
        clean(*given, {}, data(), sampling())
    with pytest.raises(
        ValueError, match="petroff_corrections: errors is not there; fit it .*calibrate_errors to false"
    ):
        map_errors(*given, {}, network(), settings(loss="gaussian"), sampling())


def test_corrections_that_are_not_wanted_are_not_used(checkpoints):
    run, plain = Run(checkpoints), Run(checkpoints, correct_spectrum=False, calibrate_errors=False)
    given = run.predictions["test"], run.observations["test"].loaders, run.corrections
    made = clean(*given, data(), AS_SAID)["sim0000"]
    assert made.fingerprint == plain.cleaned["sim0000"].fingerprint


@pytest.mark.parametrize("changes", [{"samples": 6}, {"checkpoint": "last"}])
def test_corrections_of_another_network_or_of_other_passes_are_refused(checkpoints, changes):
    run, other = Run(checkpoints), Run(checkpoints, **changes)
    given = run.predictions["test"], run.observations["test"].loaders, other.corrections
    with pytest.raises(
        ValueError, match="prediction sim0000: made by another network, or in another way, than"
    ):
        clean(*given, data(), sampling())
    with pytest.raises(ValueError, match="than errors of petroff_corrections was fitted to"):
        map_errors(*given, network(), settings(loss="gaussian"), sampling())


def test_a_network_that_says_nothing_of_its_errors_has_no_error_maps(checkpoints):
    run = Run(checkpoints)
    given = run.predictions["test"], run.observations["test"].loaders, {}
    silent = network(initial_dropout=0.0), settings(loss="l2")
    assert map_errors(*given, *silent, AS_SAID) == {}
    assert cut_errors({}, AS_SAID) == {}
    for given_by in (
        (network(), settings(loss="l2")),
        (network(initial_dropout=0.0), settings(loss="gaussian")),
    ):
        assert set(map_errors(*given, *given_by, AS_SAID)) == {"sim0000", "sim0001"}


def test_no_corrections_can_be_fitted_to_no_skies(checkpoints):
    with pytest.raises(ValueError, match="no skies to fit corrections to"):
        fit_corrections({}, {}, {}, {}, mask(), data(), sampling())


def test_features_of_other_channels_are_not_scaled():
    made = prepare_features(Counted({"sim0000": sky(0)[0]}, "observations").loaders, INSTRUMENT, data())
    with pytest.raises(ValueError, match="features sim0000: made from another instrument"):
        fit_scaling(made, made, INSTRUMENT, data(channels="100-353"), SCALING)
