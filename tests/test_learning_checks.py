"""What contradicts what in methods that learn, named before anything runs."""

from types import SimpleNamespace

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline
from kedro.validation.exceptions import ParameterValidationError

from cmbml.learning_checks import checkpoint_conflicts, method_conflicts, planning_of
from cmbml.pipelines import method_names
from tests.kedro_runs import plan_of
from tests.learning.small_trainings import settings
from tests.pipelines.cmbnncs.small_skies import INSTRUMENT, SCALING, data, network
from tests.run_checks import keep, reading


def problems(tmp_path, *names: str, **params: object) -> list[str]:
    return list(plan_of(*names, data=tmp_path, **params).problems)


def test_every_environment_of_small_size_can_run(tmp_path):
    assert [problems(tmp_path, env=env) for env in ("base", "test")] == [[], []]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"cmbnncs_network.nside": 8, "cmbnncs_network.depth": "auto"},
            "cmbnncs_network.nside 8, petroff_network.nside 16, analysis.nside 16: must be the same",
        ),
        (
            {"cmbnncs_network.kind": "published"},
            "cmbnncs_network.kind published: needs cmbnncs.inputs maps, not differences",
        ),
        (
            {"cmbnncs.inputs": "maps"},
            "cmbnncs_network.kind correcting: needs cmbnncs.inputs differences, not maps",
        ),
        (
            {"cmbnncs.reference": "70"},
            "cmbnncs.reference 70: must be one of cmbnncs.channels that measures I: 100, 143, 217, 353",
        ),
        (
            {"cmbnncs.channels": "143-857", "cmbnncs.stokes": "IQU", "cmbnncs.reference": "545"},
            "cmbnncs.reference 545: must be one of cmbnncs.channels that measures IQU: 143, 217, 353",
        ),
        (
            {"cmbnncs.channels": "545-857", "cmbnncs.stokes": "IQU"},
            "cmbnncs.stokes IQU: none of the channels 545, 857 measures these fields",
        ),
        (
            {"cmbnncs.channels": "143"},
            "cmbnncs.channels 143: inputs differences need another channel to differ from 143",
        ),
        (
            {"channels": "30-70", "petroff.channels": "30-70"},
            "cmbnncs.channels: channels '100-353': no channel fits simulated",
        ),
        (
            {"petroff.channels": "353"},
            "petroff.channels 353: inputs differences need another channel to differ from; choose at least two",
        ),
        (
            {"petroff_prediction.checkpoint": "epoch_0003"},
            "petroff_prediction.checkpoint epoch_0003: will not be kept, there will be best, last",
        ),
        (
            {"stokes": "I", "cmbnncs.stokes": "IQU"},
            "cmbnncs.stokes IQU: the simulations hold only I; set cmbnncs.stokes to I",
        ),
        (
            {"cmbnncs_prediction.checkpoint": "epoch_0003"},
            "cmbnncs_prediction.checkpoint epoch_0003: will not be kept, there will be best, last; choose one",
        ),
        (
            {"cmbnncs_scaling.features": [{"kind": "unit_conversion", "factors": {"44": 2.0}}]},
            "cmbnncs_scaling.features: unit_conversion: no channel 44 among the features 143 I, 100-143 I",
        ),
        (
            {"cmbnncs_scaling.target": [{"kind": "reference_difference", "channel": "143"}]},
            "cmbnncs_scaling.target: reference_difference: the features CMB I lack 143 I",
        ),
        (
            {"cmbnncs_scaling.features": [{"kind": "reference_difference", "channel": "143"}]},
            "cmbnncs_scaling.features: reference_difference would bring the CMB back into differences",
        ),
    ],
)
def test_what_contradicts_is_told_in_one_sentence(tmp_path, params, message):
    (sentence,) = problems(tmp_path, **params)
    assert message in sentence


@pytest.mark.parametrize("split", ["train", "valid"])
def test_a_split_without_skies_is_refused(tmp_path, split):
    with pytest.raises(
        ParameterValidationError, match=f"'simulations': .*\n{split}\n  Input should be greater"
    ):
        plan_of(data=tmp_path, **{split: 0})


def test_several_conflicts_come_together(tmp_path):
    found = problems(
        tmp_path, **{"cmbnncs.reference": "70", "cmbnncs.inputs": "maps", "cmbnncs_network.nside": 8}
    )
    assert len(found) == 2
    found = problems(
        tmp_path,
        **{
            "cmbnncs.channels": "143",
            "cmbnncs_network.kind": "published",
            "cmbnncs_prediction.checkpoint": "first",
        },
    )
    assert [sentence.split(":")[0] for sentence in found] == [
        "cmbnncs_network.kind published",
        "cmbnncs.channels 143",
        "cmbnncs_prediction.checkpoint first",
    ]


def test_a_method_that_does_not_run_says_nothing(tmp_path):
    params = {"cmbnncs.channels": "143", "cmbnncs_prediction.checkpoint": "epoch_0003"}
    with_groups = problems(tmp_path, "simulation", **params)
    assert len(with_groups) == 2
    assert all("no part of this run reads it" in sentence for sentence in with_groups)


def test_kept_checkpoints_are_called_as_the_training_calls_them():
    parameters = {
        "cmbnncs_prediction": SimpleNamespace(checkpoint="epoch_0004"),
        "cmbnncs_training": settings(epochs=4, checkpoint_every=2, checkpoint_also=(0,)),
    }
    run = reading("cmbnncs_prediction", "cmbnncs_training")
    assert checkpoint_conflicts(parameters, run) == []
    parameters["cmbnncs_prediction"].checkpoint = "epoch_0003"
    (sentence,) = checkpoint_conflicts(parameters, run)
    assert "there will be best, last, epoch_0000, epoch_0002, epoch_0004;" in sentence
    assert checkpoint_conflicts(parameters, reading("cmbnncs_prediction")) == []


def test_a_run_that_only_cleans_is_not_asked_what_the_network_was_made_from():
    parameters = {"cmbnncs": data(inputs="maps"), "cmbnncs_network": network(), "cmbnncs_scaling": SCALING}
    made = DataCatalog({"instrument": MemoryDataset(INSTRUMENT)})

    def told(*groups: str) -> list[str]:
        inputs = ["instrument", *(f"params:{group}" for group in groups)]
        return method_conflicts(parameters, Pipeline([Node(keep, inputs, "out", name="keep")]), made)

    assert told("cmbnncs", "cmbnncs_prediction") == []
    (sentence,) = told("cmbnncs", "cmbnncs_network", "cmbnncs_scaling")
    assert "cmbnncs_network.kind correcting: needs cmbnncs.inputs differences, not maps" in sentence


def test_a_method_tells_nothing_where_nothing_was_simulated():
    parameters = {f"{method}": SimpleNamespace(channels="all") for method in method_names()}
    run = Pipeline([Node(keep, ["instrument", "params:cmbnncs"], "out", name="keep")])
    assert method_conflicts(parameters, run, DataCatalog({})) == []


def test_methods_may_have_nothing_to_tell():
    assert planning_of("pyilc") is None
    assert planning_of("cmbnncs").__name__ == "cmbml.pipelines.cmbnncs.planning"


def test_published_weights_that_are_not_there_are_asked_for_before_a_run(tmp_path):
    plan = plan_of("petroff_published", env="petroff_published", data=tmp_path, assets_folder=tmp_path)
    files = {"weights": "published_weights_dm7.npz", "description": "published_weights_dm7.json"}
    expected = [
        f"petroff_published_{part}: {tmp_path}/petroff/{file}: not there. Put the "
        for part, file in files.items()
    ]
    assert len(plan.problems) == 2
    for sentence, start in zip(plan.problems, expected, strict=True):
        assert sentence.startswith(start)
        assert sentence.endswith("see the docs: Petroff, Published weights.")
    states = {given.name: given.state for given in plan.inputs}
    assert {states[f"petroff_published_{part}"] for part in files} == {"missing"}


def test_a_run_without_published_weights_is_not_asked_for_them(tmp_path):
    assert problems(tmp_path, "petroff", env="test") == []
