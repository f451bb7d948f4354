"""A training of the spherical network: what is built, what is shown, what is kept."""

import numpy as np
import pytest
import torch

from cmbml.learning.checkpoints import build_network
from cmbml.learning.settings import LearningSettings
from cmbml.learning.symmetry import N_SYMMETRIES, SphereSymmetry
from cmbml.learning.transforms import Factor
from cmbml.partitions import Known
from cmbml.pipelines.petroff.cleaner import CorrectingNetwork, PetroffNetwork
from cmbml.pipelines.petroff.deepsphere import DeepSphereNetwork
from cmbml.pipelines.petroff.features import feature_names, nested
from cmbml.pipelines.petroff.training import (
    CleanerSettings,
    _symmetry,
    check_kinds,
    data_facts,
    network_spec,
    pixel_weights,
)
from cmbml.science.skymap import SkyMap
from tests.learning.small_trainings import settings
from tests.pipelines.cmbnncs.small_skies import INSTRUMENT, NSIDE, TARGET
from tests.pipelines.petroff.small_skies import LEARNING, data, network, trained, training

NPIX = 12 * NSIDE**2
KINDS = [
    ("differences", "correcting", CorrectingNetwork),
    ("maps", "published", PetroffNetwork),
    ("maps", "deepsphere", DeepSphereNetwork),
]
every_kind = pytest.mark.parametrize(("inputs", "kind", "made"), KINDS, ids=[kind for _, kind, _ in KINDS])


def spec_of(*, shown=None, built=None, skies: int = 5, loss: str = "gaussian"):
    shown, built = shown or data(), built or network()
    names = feature_names(INSTRUMENT, shown)
    scaling = {"names": names, "features": Factor(4.0).state(), "target": Factor(2.0).state()}
    return network_spec(scaling, CleanerSettings(shown, built, LEARNING, settings(loss=loss)), skies=skies)


@every_kind
@pytest.mark.parametrize(("loss", "outputs"), [("gaussian", 2), ("l2", 1)])
def test_every_kind_of_network_maps_the_features_to_the_fields(inputs, kind, made, loss, outputs):
    shown = data(inputs=inputs)
    built = spec_of(shown=shown, built=network(kind=kind, filters=4), loss=loss).build()
    assert isinstance(built, made)
    maps = torch.randn(2, len(feature_names(INSTRUMENT, shown)), NPIX)
    assert built(maps).shape == (2, outputs, NPIX)
    assert built.regularisation().ndim == 0


def test_gains_come_from_the_scaling_and_strengths_from_the_number_of_skies():
    arguments = spec_of(built=network(depth="auto", length_scale=0.1), skies=5).arguments
    assert arguments["gains"] == [2.0, 0.0]
    assert arguments["depth"] == 3
    assert arguments["weight_strength"] == pytest.approx(0.01 / 5)
    assert arguments["dropout_strength"] == pytest.approx(2 / 5)
    fixed = spec_of(built=network(prior_skies=800), skies=5).arguments
    assert fixed["dropout_strength"] == pytest.approx(2 / 800)


@pytest.mark.parametrize(
    ("inputs", "changes", "message"),
    [
        ("maps", {}, "petroff_network.kind correcting: needs petroff.inputs differences, not maps"),
        (
            "differences",
            {"kind": "published"},
            "petroff_network.kind published: needs petroff.inputs maps, not differences",
        ),
        (
            "differences",
            {"kind": "deepsphere"},
            "petroff_network.kind deepsphere: needs petroff.inputs maps, not differences",
        ),
        (
            "differences",
            {"output": "elu"},
            "petroff_network.output elu: only kind published can have it; take linear",
        ),
        (
            "maps",
            {"kind": "deepsphere", "pooling": "mean"},
            "petroff_network.pooling mean: kind deepsphere takes the largest; take max",
        ),
    ],
)
def test_a_network_that_does_not_go_with_its_inputs_or_options_is_refused(inputs, changes, message):
    with pytest.raises(ValueError, match=message):
        check_kinds(data(inputs=inputs), network(**changes))
    with pytest.raises(ValueError, match=message):
        spec_of(shown=data(inputs=inputs), built=network(**changes))


def test_pixels_that_the_mask_leaves_out_weigh_less_in_nested_order():
    values = np.ones(NPIX)
    values[:4] = 0.0, 0.5, 1.2, -0.1  # an apodised mask overshoots by rounding
    mask = SkyMap(values[None], "", ("I_MASK",))
    weights = pixel_weights(mask, LearningSettings(symmetries=False, masked_weight=0.2))
    expected = np.ones(NPIX)
    expected[:4] = 0.2, 0.6, 1.0, 0.2
    np.testing.assert_allclose(weights, nested(expected[None])[0], rtol=1e-6)
    assert weights.dtype == np.float32


def test_symmetries_move_pixels_that_are_nested_as_those_in_rings():
    run = CleanerSettings(data(), network(), LEARNING, settings())
    own, rings = _symmetry(run), SphereSymmetry(NSIDE, seed=run.training.seed)
    maps = np.random.default_rng(0).standard_normal((2, NPIX))
    for number in range(N_SYMMETRIES):
        np.testing.assert_array_equal(own.apply(nested(maps), number), nested(rings.apply(maps, number)))
    draws = [[symmetry.draw(epoch, "sim0000") for epoch in range(16)] for symmetry in (own, rings)]
    assert draws[0] == draws[1]


FALLING = {"epochs": 10, "optimiser": {"lr": 0.02, "amsgrad": True}, "schedule": {"final_lr": 1e-3}}


@every_kind
def test_a_few_steps_lower_the_loss_of_skies_that_are_not_shown(inputs, kind, made, tmp_path):
    built = network(kind=kind, initial_dropout=0.01, prior_skies=800, filters=4)
    skies = ((0, 1, 2, 3, 4, 5), (10, 11))
    last = trained(tmp_path, shown=data(inputs=inputs), built=built, numbers=skies, **FALLING)["last"]()
    valid = [row["valid_loss"] for row in last["history"]]
    assert valid[-1] < valid[0] - 0.1
    assert isinstance(build_network(last), made)


def test_the_loss_holds_the_regularisers(tmp_path):
    row = trained(tmp_path, built=network(dropout_strength=50.0))["last"]()["history"][0]
    assert row["penalty"] < -1


def test_a_checkpoint_says_what_it_was_trained_on(tmp_path):
    facts = trained(tmp_path)["best"]()["facts"]
    assert facts["channels"] == ["143", "100", "353", "545"]
    assert facts["features"] == ["143 I", "100-143 I", "353-143 I", "545-143 I"]
    assert facts["fwhm_arcmin"] == [600.0, 900.0, 500.0, 500.0]
    assert facts["target_fwhm_arcmin"] == TARGET
    assert (facts["nside"], facts["inputs"]) == (NSIDE, "differences")
    assert set(data_facts(INSTRUMENT, data())) == set(facts) - {"scaling"}
    (standardise,) = facts["scaling"]["features"]["transforms"]
    assert len(standardise["spread"]) == 4


def test_of_native_maps_the_beams_are_facts():
    facts = data_facts(INSTRUMENT, data(inputs="maps", inputs_fwhm_arcmin="native"))
    assert facts["inputs_fwhm_arcmin"] == "none"
    assert facts["fwhm_arcmin"] == [900.0, 600.0, 500.0, 500.0]


def test_of_maps_at_one_beam_it_is_that_beam():
    facts = data_facts(INSTRUMENT, data(inputs="maps"))
    assert facts["inputs_fwhm_arcmin"] == 900.0
    assert "fwhm_arcmin" not in facts


def test_an_untrained_checkpoint_is_the_reference_channel(tmp_path):
    untrained = trained(tmp_path, epochs=1, checkpoint_also=(0,))["epoch_0000"]()
    spreads = {
        key: untrained["facts"]["scaling"][key]["transforms"][0]["spread"] for key in ("features", "target")
    }
    maps = torch.randn(1, 4, NPIX)
    output = build_network(untrained)(maps)
    gain = spreads["features"][0] / spreads["target"][0]
    torch.testing.assert_close(output[:, :1], gain * maps[:, :1], rtol=1e-5, atol=1e-6)


def test_symmetries_show_other_skies_than_there_are(tmp_path):
    plain = LearningSettings(symmetries=False, masked_weight=0.25)
    weights = [
        trained(tmp_path / str(number), learning=learning, epochs=2)["last"]()["weights"]["common"]
        for number, learning in enumerate((LEARNING, plain))
    ]
    assert not torch.equal(*weights)


def test_a_mask_that_leaves_nothing_to_learn_from_is_refused(tmp_path):
    run = training(learning=LearningSettings(symmetries=False, masked_weight=0.0))
    inputs = {**run.inputs, "mask": SkyMap(np.zeros((1, NPIX)), "", ("I_MASK",))}
    with pytest.raises(ValueError, match="weights of pixels must be finite, not negative, and not all 0"):
        type(run)(run.id, run.function, run.version, inputs, run.parameters)(directory=tmp_path)


def test_where_all_pixels_weigh_alike_the_mask_is_not_looked_at():
    alike = training(learning=LearningSettings(symmetries=True, masked_weight=1.0))
    assert alike.inputs["mask"] is None
    assert training().inputs["mask"] is not None


def test_a_training_can_begin_with_the_weights_of_another(tmp_path):
    first = trained(tmp_path / "first", epochs=2)["best"]()
    again = trained(
        tmp_path / "again",
        built=network(start="trained"),
        start=Known(first, "a trained network"),
        epochs=1,
        checkpoint_also=(0,),
    )
    for name, value in again["epoch_0000"]()["weights"].items():
        assert torch.equal(value, first["weights"][name])


def test_a_bayesian_deepsphere_begins_as_the_deterministic_one(tmp_path):
    maps = data(inputs="maps")
    plain = trained(
        tmp_path / "plain",
        shown=maps,
        built=network(kind="deepsphere", filters=4, initial_dropout=0.0),
        loss="l2",
        epochs=2,
    )["best"]()
    bayesian = trained(
        tmp_path / "bayesian",
        shown=maps,
        built=network(kind="deepsphere", filters=4, initial_dropout=0.001, start="trained"),
        start=Known(plain, "a deterministic network"),
        epochs=1,
        checkpoint_also=(0,),
    )["epoch_0000"]()
    given = torch.randn(1, 4, NPIX)
    mean = build_network(bayesian)(given)[:, :1]
    torch.testing.assert_close(mean, build_network(plain)(given), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({}, "this is no checkpoint of a training: it lacks format"),
        (
            None,
            "weights to start from do not fit the network: sphere.down.2.0.layer.weight is not in the network",
        ),
    ],
    ids=["no checkpoint", "another depth"],
)
def test_a_training_cannot_begin_with_what_does_not_fit(tmp_path, start, message):
    if start is None:
        start = trained(tmp_path / "other", built=network(depth=2), epochs=1)["best"]()
    run = training(built=network(start="trained"), start=Known(start, "another"))
    with pytest.raises(ValueError, match=message):
        run(directory=tmp_path / "mine")


def test_a_start_counts_only_for_a_training_that_begins_with_it():
    drawn = [training(start=Known({}, print_)).fingerprint for print_ in ("one", "other")]
    assert drawn[0] == drawn[1]
    begun = [
        training(built=network(start="trained"), start=Known({}, print_)).fingerprint
        for print_ in ("one", "other")
    ]
    assert begun[0] != begun[1]


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
    spoilt[1, 3] = np.nan
    inputs = {**run.inputs, "valid_features": {**run.inputs["valid_features"], "sim0000": lambda: spoilt}}
    with pytest.raises(ValueError, match=r"sim0000: feature 1 has 1 pixels that are NaN"):
        type(run)(run.id, run.function, run.version, inputs, run.parameters)(directory=tmp_path)
