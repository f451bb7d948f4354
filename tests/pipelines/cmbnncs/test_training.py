"""A training of CMBNNCS: what is built, what is shown, what is kept."""

import numpy as np
import pytest
import torch

from cmbml.learning.checkpoints import build_network
from cmbml.learning.settings import LearningSettings
from cmbml.learning.transforms import Factor
from cmbml.pipelines.cmbnncs.cleaner import CorrectingNetwork
from cmbml.pipelines.cmbnncs.features import feature_names
from cmbml.pipelines.cmbnncs.network import UNet
from cmbml.pipelines.cmbnncs.planning import conflicts
from cmbml.pipelines.cmbnncs.training import (
    CleanerSettings,
    check_kinds,
    data_facts,
    network_spec,
    pixel_weights,
)
from cmbml.science.planes import plane_to_map
from cmbml.science.skymap import SkyMap
from tests.learning.small_trainings import settings
from tests.pipelines.cmbnncs.small_skies import INSTRUMENT, LEARNING, NSIDE, data, network, trained, training


def spec_of(*, shown, built):
    names = feature_names(INSTRUMENT, shown)
    scaling = {"names": names, "features": Factor(4.0).state(), "target": Factor(2.0).state()}
    return network_spec(scaling, CleanerSettings(shown, built, LEARNING, settings()))


@pytest.mark.parametrize("stokes", ["I", "IQU"])
@pytest.mark.parametrize(
    ("inputs", "kind", "made"),
    [("differences", "correcting", CorrectingNetwork), ("maps", "published", UNet)],
)
def test_both_kinds_of_network_map_the_features_to_the_fields(stokes, inputs, kind, made):
    shown = data(stokes=stokes, inputs=inputs)
    built = spec_of(shown=shown, built=network(kind=kind)).build()
    assert isinstance(built, made)
    planes = torch.randn(2, len(feature_names(INSTRUMENT, shown)), 4 * NSIDE, 3 * NSIDE)
    assert built(planes).shape == (2, len(stokes), 4 * NSIDE, 3 * NSIDE)


def test_fields_of_differences_are_told_by_their_names_and_gains_by_the_scaling():
    arguments = spec_of(shown=data(stokes="IQU"), built=network(depth="auto")).arguments
    assert arguments["fields"] == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert arguments["gains"] == [[2.0, 0.0]] * 3
    assert arguments["depth"] == 3
    assert (arguments["filters"], arguments["max_filters"]) == (4, 8)


@pytest.mark.parametrize(
    ("inputs", "kind", "message"),
    [
        ("maps", "correcting", "cmbnncs_network.kind correcting: needs cmbnncs.inputs differences, not maps"),
        (
            "differences",
            "published",
            "cmbnncs_network.kind published: needs cmbnncs.inputs maps, not differences",
        ),
    ],
)
def test_a_network_for_other_inputs_is_refused(inputs, kind, message):
    with pytest.raises(ValueError, match=message):
        check_kinds(data(inputs=inputs), network(kind=kind))
    with pytest.raises(ValueError, match=message):
        spec_of(shown=data(inputs=inputs), built=network(kind=kind))


def test_pixels_that_the_mask_leaves_out_weigh_less():
    values = np.ones(12 * NSIDE**2)
    values[:4] = 0.0, 0.5, 1.2, -0.1  # an apodised mask overshoots by rounding
    weights = pixel_weights(
        SkyMap(values[None], "", ("I_MASK",)),
        LearningSettings(symmetries=False, masked_weight=0.2),
        stokes="I",
    )
    assert weights.shape == (4 * NSIDE, 3 * NSIDE)
    np.testing.assert_allclose(plane_to_map(weights)[:6], [0.2, 0.6, 1.0, 0.2, 1.0, 1.0], rtol=1e-6)


def test_with_polarisation_a_pixel_counts_where_every_field_is_kept():
    values = np.ones((2, 12 * NSIDE**2))
    values[1, :3] = 0.0
    mask, learning = (
        SkyMap(values, "", ("I_MASK", "P_MASK")),
        LearningSettings(symmetries=False, masked_weight=0.0),
    )
    assert plane_to_map(pixel_weights(mask, learning, stokes="IQU"))[:4].tolist() == [0, 0, 0, 1]
    assert plane_to_map(pixel_weights(mask, learning, stokes="I"))[:4].tolist() == [1, 1, 1, 1]


def test_a_mask_that_leaves_nothing_to_learn_from_is_refused(tmp_path):
    nothing = pixel_weights(
        SkyMap(np.zeros((1, 12 * NSIDE**2)), "", ("I_MASK",)),
        LearningSettings(symmetries=False, masked_weight=0.0),
        stokes="I",
    )
    assert nothing.max() == 0
    run = training(learning=LearningSettings(symmetries=False, masked_weight=0.0))
    inputs = {**run.inputs, "mask": SkyMap(np.zeros((1, 12 * NSIDE**2)), "", ("I_MASK",))}
    with pytest.raises(ValueError, match="weights of pixels must be finite, not negative, and not all 0"):
        type(run)(run.id, run.function, run.version, inputs, run.parameters)(directory=tmp_path)


FALLING = {"epochs": 12, "optimiser": {"lr": 0.02}, "schedule": {"final_lr": 1e-3}}


@pytest.mark.parametrize("stokes", ["I", "IQU"])
def test_a_few_steps_lower_the_loss_of_skies_that_are_not_shown(stokes, tmp_path):
    shown = data(stokes=stokes)
    last = trained(tmp_path, shown=shown, numbers=((0, 1, 2, 3, 4, 5), (10, 11)), **FALLING)["last"]()
    valid = [row["valid_loss"] for row in last["history"]]
    assert valid[-1] < 0.7 * valid[0]


def test_the_published_network_learns_too(tmp_path):
    last = trained(tmp_path, shown=data(inputs="maps"), built=network(kind="published"), **FALLING)["last"]()
    losses = [row["train_loss"] for row in last["history"]]
    assert losses[-1] < 0.7 * losses[0]


def test_a_checkpoint_says_what_it_was_trained_on(tmp_path):
    facts = trained(tmp_path)["best"]()["facts"]
    assert facts["channels"] == ["143", "100", "353", "545"]
    assert facts["features"] == ["143 I", "100-143 I", "353-143 I", "545-143 I"]
    assert facts["fwhm_arcmin"] == [600.0, 900.0, 500.0, 500.0]
    assert (facts["nside"], facts["inputs"], facts["stokes"]) == (NSIDE, "differences", "I")
    assert set(data_facts(INSTRUMENT, data())) == set(facts) - {"scaling"}
    (standardise,) = facts["scaling"]["features"]["transforms"]
    assert len(standardise["spread"]) == 4


def test_an_untrained_checkpoint_is_the_reference_channel(tmp_path):
    loaders = trained(tmp_path, checkpoint_also=(0,))
    untrained = loaders["epoch_0000"]()
    spreads = {
        key: untrained["facts"]["scaling"][key]["transforms"][0]["spread"] for key in ("features", "target")
    }
    planes = torch.randn(1, 4, 4 * NSIDE, 3 * NSIDE)
    output = build_network(untrained)(planes)
    gain = spreads["features"][0] / spreads["target"][0]
    torch.testing.assert_close(output, gain * planes[:, :1], rtol=1e-5, atol=1e-6)


def test_symmetries_show_other_skies_than_there_are(tmp_path):
    plain = LearningSettings(symmetries=False, masked_weight=0.25)
    weights = [
        trained(tmp_path / str(number), learning=learning)["last"]()["weights"]["weights.weight"]
        for number, learning in enumerate((LEARNING, plain))
    ]
    assert not torch.equal(*weights)


def test_a_sky_in_both_splits_is_named_before_anything_is_learnt(tmp_path):
    run = training(numbers=((0, 1, 2), (10, 1)))
    with pytest.raises(
        ValueError, match="1 of 2 skies to validate with are skies to learn from, the first is sim0001"
    ):
        run(directory=tmp_path)
    assert list(tmp_path.glob("*.pt")) == []


def test_a_nan_that_a_feature_has_got_is_named_at_its_first_batch(tmp_path):
    run = training()
    spoilt = run.inputs["valid_features"]["sim0000"].value.copy()
    spoilt[1, 3, 3] = np.nan
    inputs = {**run.inputs, "valid_features": {**run.inputs["valid_features"], "sim0000": lambda: spoilt}}
    with pytest.raises(ValueError, match=r"sim0000: feature 1 has 1 pixels that are NaN"):
        type(run)(run.id, run.function, run.version, inputs, run.parameters)(directory=tmp_path)


def test_a_loss_that_needs_errors_is_refused_before_a_run():
    parameters = {"cmbnncs": data(), "cmbnncs_training": settings().model_copy(update={"loss": "gaussian"})}
    assert conflicts(parameters, INSTRUMENT) == [
        "cmbnncs_training.loss gaussian: cmbnncs predicts no errors; take l1, l2 or huber"
    ]
    assert conflicts({**parameters, "cmbnncs_training": settings()}, INSTRUMENT) == []
