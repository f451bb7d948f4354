"""What can be told of a run of the spherical network before it: contradictions, and sizes."""

import pytest

from cmbml.datasets import ArrayDataset, HealpixMapDataset
from cmbml.learning.transform_settings import ScalingSettings
from cmbml.pipelines.petroff.features import make_features
from cmbml.pipelines.petroff.planning import conflicts, sizes
from cmbml.pipelines.petroff.prediction import error_simulation, predict_simulation
from cmbml.science.instrument import Channel, Instrument
from cmbml.volumes import fits_map
from tests.learning.small_trainings import settings
from tests.pipelines.cmbnncs.small_skies import INSTRUMENT, NSIDE, STANDARDISE, sky
from tests.pipelines.petroff.small_skies import LEARNING, SCALING, data, network, sampling, trained


def groups(*, training=None, **changes) -> dict:
    return {
        "petroff": data(),
        "petroff_scaling": SCALING,
        "petroff_network": network(),
        "petroff_learning": LEARNING,
        "petroff_training": settings(loss="gaussian", **(training or {})),
        "petroff_prediction": sampling(),
        **changes,
    }


def test_what_fits_together_is_not_mentioned():
    assert conflicts(groups(), INSTRUMENT) == []
    published = {"petroff": data(inputs="maps"), "petroff_network": network(kind="published")}
    assert conflicts(groups(**published), INSTRUMENT) == []


NONE = {"initial_dropout": 0.0}
DIFFERENCE = {"kind": "reference_difference", "channel": "143"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"petroff": data(inputs="maps")},
            "petroff_network.kind correcting: needs petroff.inputs differences, not maps",
        ),
        (
            {"petroff_network": network(kind="published")},
            "petroff_network.kind published: needs petroff.inputs maps, not differences",
        ),
        (
            {"petroff_network": network(output="elu")},
            "petroff_network.output elu: only kind published can have it; take linear",
        ),
        (
            {"petroff": data(inputs="maps"), "petroff_network": network(kind="deepsphere", pooling="mean")},
            "petroff_network.pooling mean: kind deepsphere takes the largest; take max",
        ),
        (
            {"petroff_network": network(**NONE), "petroff_training": settings(loss="l2")},
            "petroff_prediction.calibrate_errors: petroff_training.loss l2 and petroff_network.initial_dropout "
            "0 give no errors to calibrate; set it to false",
        ),
        (
            {"petroff": data(channels="143")},
            "petroff.channels 143: inputs differences need another channel to differ from; choose at least two",
        ),
        (
            {"petroff": data(reference="217")},
            "petroff.reference 217: must be one of petroff.channels: 100, 143, 353, 545",
        ),
        (
            {"petroff_scaling": ScalingSettings(features=(DIFFERENCE,), target=(STANDARDISE,))},
            "petroff_scaling.features: reference_difference would bring the CMB back into differences; leave "
            "it out, or set petroff.inputs to maps",
        ),
        (
            {"petroff_scaling": ScalingSettings(features=(STANDARDISE,), target=(DIFFERENCE,))},
            "petroff_scaling.target: reference_difference: the features CMB I lack 143 I",
        ),
    ],
)
def test_what_contradicts_is_told_in_one_sentence(changes, message):
    (sentence,) = conflicts(groups(**changes), INSTRUMENT)
    assert sentence.startswith(message)


def test_a_beam_that_a_channel_cannot_be_brought_to_is_told():
    blurred = Instrument((Channel("100", 100.9, 3000.0, "I", 77.0), *INSTRUMENT.channels[1:]))
    shown = data(inputs="maps", inputs_fwhm_arcmin=700.0)
    given = groups(petroff=shown, petroff_network=network(kind="published"))
    (sentence,) = conflicts(given, blurred)
    assert sentence.startswith(
        "petroff.inputs_fwhm_arcmin 700: brings channel 100, whose beam is 3000 arcmin"
    )
    assert conflicts(groups(), blurred) == []  # of differences it stays at its own


def test_errors_that_something_gives_may_be_calibrated():
    without, plain = network(**NONE), settings(loss="l2")
    assert conflicts(groups(petroff_network=without), INSTRUMENT) == []
    assert conflicts(groups(petroff_training=plain), INSTRUMENT) == []
    neither = groups(
        petroff_network=without, petroff_training=plain, petroff_prediction=sampling(calibrate_errors=False)
    )
    assert conflicts(neither, INSTRUMENT) == []


def test_several_conflicts_come_together():
    given = groups(
        petroff=data(inputs="maps", channels="100-353"),
        petroff_network=network(**NONE),
        petroff_training=settings(loss="l2"),
        petroff_scaling=ScalingSettings(features=(STANDARDISE,), target=(DIFFERENCE,)),
    )
    assert [sentence.split(":")[0] for sentence in conflicts(given, INSTRUMENT)] == [
        "petroff_network.kind correcting",
        "petroff_prediction.calibrate_errors",
        "petroff_scaling.target",
    ]


def test_a_run_that_only_cleans_is_not_asked_what_the_network_was_made_from():
    assert conflicts({"petroff": data(inputs="maps"), "petroff_prediction": sampling()}, INSTRUMENT) == []


def test_channels_that_are_not_simulated_are_told_elsewhere():
    assert conflicts(groups(petroff=data(channels=("30", "143"))), INSTRUMENT) == []


@pytest.mark.parametrize(
    ("inputs", "kind"), [("differences", "correcting"), ("maps", "published"), ("maps", "deepsphere")]
)
def test_sizes_are_those_of_the_files_of_a_training(inputs, kind, tmp_path):
    shown, built = data(inputs=inputs), network(kind=kind, filters=12, order=5)
    training = {"epochs": 2, "optimiser": {"amsgrad": True}}
    checkpoints = trained(tmp_path / "trained", shown=shown, built=built, loss="gaussian", **training)
    found = sizes(groups(petroff=shown, petroff_network=built, training=training), INSTRUMENT)
    assert found.checkpoint_size == pytest.approx((tmp_path / "trained/last.pt").stat().st_size, rel=0.05)
    assert found.checkpoints == len(list((tmp_path / "trained").glob("epoch_*.pt")))
    assert (found.fields, found.epochs) == (1, 2)
    observations = sky(20)[0]
    ArrayDataset(filepath=tmp_path / "a.npy").save(make_features(observations, INSTRUMENT, shown))
    assert (tmp_path / "a.npy").stat().st_size == 128 + 4 * found.features * 12 * NSIDE**2
    prediction = predict_simulation(
        observations,
        "test sim0000",
        None,
        checkpoints["best"],
        INSTRUMENT,
        settings=shown,
        sampling=sampling(),
    )
    told = {
        "prediction": (prediction, found.prediction_fields),
        "errors": (error_simulation(prediction, None), found.error_fields),
    }
    for name, (maps, fields) in told.items():
        HealpixMapDataset(filepath=tmp_path / f"{name}.fits").save(maps)
        assert (tmp_path / f"{name}.fits").stat().st_size == fits_map(NSIDE, fields).size


@pytest.mark.parametrize(
    ("changes", "skies", "corrections"),
    [
        ({}, {"train": 2, "valid": 2}, {"spectrum", "errors"}),
        ({"correct_spectrum": False}, {"train": 0, "valid": 2}, {"errors"}),
        ({"calibrate_errors": False, "fitted_skies": 5}, {"train": 5, "valid": 0}, {"spectrum"}),
    ],
)
def test_what_is_fitted_is_counted(changes, skies, corrections):
    found = sizes(groups(petroff_prediction=sampling(**changes)), INSTRUMENT)
    assert found.fitted_skies == skies
    assert set(found.corrections) == corrections


def test_what_contradicts_has_no_sizes():
    with pytest.raises(ValueError, match="petroff_network.kind published: needs petroff.inputs maps"):
        sizes(groups(petroff_network=network(kind="published")), INSTRUMENT)
