"""A trained network cleans the skies that it fits, and says of others why it does not."""

import numpy as np
import pytest

from cmbml.datasets import CheckpointDataset
from cmbml.learning.inference import network_of, predict
from cmbml.learning.settings import PredictionSettings
from cmbml.learning.transform import transform_from_state
from cmbml.partitions import Known, lift
from cmbml.pipelines.cmbnncs.cleaning import clean_simulation
from cmbml.pipelines.cmbnncs.features import cleaned_map, make_features
from cmbml.pipelines.cmbnncs.nodes import clean
from cmbml.science.harmonics import alm_to_map, filter_alm
from cmbml.science.instrument import Channel, Instrument, Observations
from cmbml.science.skymap import beam_header
from tests.pipelines.cmbnncs.small_skies import (
    INSTRUMENT,
    LMAX,
    NSIDE,
    TARGET,
    alm,
    data,
    observed,
    sky,
    trained,
    true_map,
)

BEST = PredictionSettings(checkpoint="best")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return trained(folder, numbers=((0, 1, 2, 3, 4, 5), (10, 11)), epochs=8, checkpoint_also=(0,))


@pytest.fixture(scope="module")
def polarised(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("polarised"), shown=data(stokes="IQU"), epochs=2)


def cleaned(checkpoints, observations, *, instrument=INSTRUMENT, **changes):
    return clean_simulation(observations, checkpoints["best"], instrument, data(**changes))


def test_a_cleaned_map_is_the_networks_output_at_the_common_beam(checkpoints):
    observations, _ = sky(20)
    result = cleaned(checkpoints, observations)
    scaling = checkpoints["best"]()["facts"]["scaling"]
    features = transform_from_state(scaling["features"])(make_features(observations, INSTRUMENT, data()))
    output = predict(network_of(checkpoints["best"]), features[None])[0]
    expected = cleaned_map(transform_from_state(scaling["target"]).inverse(output), data())
    assert np.array_equal(result.values, expected.values)
    assert (result.stokes, result.unit, result.nside) == ("I", "uK_CMB", NSIDE)
    assert result.header == beam_header(TARGET, LMAX)


def test_it_is_nearer_to_the_truth_than_the_reference_channel(checkpoints):
    errors = {}
    for name in ("best", "epoch_0000"):  # the untrained network returns the reference
        errors[name] = np.mean(
            [
                np.abs(
                    clean_simulation(sky(number)[0], checkpoints[name], INSTRUMENT, data()).values
                    - sky(number)[1].values[:1]
                ).mean()
                for number in (20, 21, 22)
            ]
        )
    assert errors["best"] < 0.7 * errors["epoch_0000"]


@pytest.mark.parametrize("kind", ["checkpoints", "polarised"])
def test_a_cmb_that_is_added_to_a_sky_is_added_to_its_cleaned_map(request, kind):
    trained_ones, stokes = request.getfixturevalue(kind), "IQU" if kind == "polarised" else "I"
    observations, more = sky(20)[0], 5 * alm(77)
    added = observed(more)
    both = Observations(
        {name: maps + added.maps[name] for name, maps in observations.maps.items()}, observations.units
    )
    one, other = (cleaned(trained_ones, given, stokes=stokes).values for given in (observations, both))
    expected = true_map(more).values[: len(stokes)]
    # what quadrature leaves of so bright a CMB in the differences, 1e-5 of it, is weighted by the network
    np.testing.assert_allclose(other - one, expected, rtol=0, atol=5e-4 * expected.std())


def test_polarisation_is_cleaned_with_the_intensity(polarised):
    observations, truth = sky(20)
    result = cleaned(polarised, observations, stokes="IQU")
    assert result.stokes == "IQU"
    for field in range(3):
        assert np.corrcoef(result.values[field], truth.values[field])[0, 1] > 0.8


def with_channel(observations: Observations, name: str, values: np.ndarray) -> Observations:
    return Observations({**observations.maps, name: values}, observations.units)


def lacking(name: str) -> Observations:
    observations = sky(20)[0]
    kept = {channel: maps for channel, maps in observations.maps.items() if channel != name}
    return Observations(kept, observations.units)


NAN = sky(20)[0].maps["353"].copy()
NAN[0, 7] = np.nan


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (lacking("100"), "channels 100: not observed; these observations hold 143, 353, 545"),
        (with_channel(sky(20)[0], "353", NAN), "channel 353: 1 pixels are not finite or not observed"),
        (
            with_channel(sky(20)[0], "353", np.zeros((3, 12 * 4**2), np.float32)),
            r"channel 353: map has npix 192, the network's has 768 \(cmbnncs.nside 8\)",
        ),
    ],
    ids=["missing", "nan", "nside"],
)
def test_a_sky_that_cannot_be_cleaned_is_named(checkpoints, observations, message):
    with pytest.raises(ValueError, match=message):
        cleaned(checkpoints, observations)


TURNED = Instrument(tuple(INSTRUMENT[name] for name in ("353", "143", "100", "545")))
WIDER = Instrument(
    tuple(
        Channel("353", 357.5, 550.0, "IQU", 150.0, 430.0) if channel.name == "353" else channel
        for channel in INSTRUMENT
    )
)


@pytest.mark.parametrize(
    ("instrument", "changes", "message"),
    [
        (
            INSTRUMENT,
            {"channels": "100-353"},
            r"channels: trained with \['143', '100', '353', '545'\], asked for \['143', '100', '353'\] "
            r"\(545 missing\); features: .*use what it was trained on, or train anew",
        ),
        (
            TURNED,
            {},
            r"channels: trained with \['143', '100', '353', '545'\], asked for \['143', '353', '100', '545'\] "
            r"\(in another order\)",
        ),
        (INSTRUMENT, {"reference": "353"}, r"asked for \['353', '100', '143', '545'\] \(in another order\)"),
        (
            WIDER,
            {},
            r"fwhm_arcmin: trained with \[600.0, 900.0, 500.0, 500.0\], asked for \[600.0, 900.0, 550.0",
        ),
        (INSTRUMENT, {"nside": 16}, "nside: trained with 8, asked for 16"),
        (INSTRUMENT, {"lmax": 10}, "lmax: trained with 12, asked for 10"),
        (INSTRUMENT, {"stokes": "IQU"}, "stokes: trained with I, asked for IQU"),
        (INSTRUMENT, {"inputs": "maps"}, "inputs: trained with differences, asked for maps"),
        (INSTRUMENT, {"target": "unbeamed"}, "target: trained with common_beam, asked for unbeamed"),
        (INSTRUMENT, {"fwhm_arcmin": 800.0}, "target_fwhm_arcmin: trained with 700.0, asked for 800.0"),
    ],
    ids=[
        "channel",
        "order",
        "reference",
        "beam",
        "nside",
        "lmax",
        "stokes",
        "inputs",
        "target",
        "target beam",
    ],
)
def test_a_network_that_was_trained_on_something_else_says_on_what(checkpoints, instrument, changes, message):
    with pytest.raises(ValueError, match=f"the checkpoint does not fit: .*{message}"):
        cleaned(checkpoints, sky(20)[0], instrument=instrument, **changes)


def test_a_truncated_checkpoint_is_named(checkpoints, tmp_path):
    path = tmp_path / "best.pt"
    dataset = CheckpointDataset(filepath=path)
    dataset.save(checkpoints["best"]())
    path.write_bytes(path.read_bytes()[:2000])

    class Cut:
        fingerprint = "cut"

        def __call__(self):
            return dataset.load()

    with pytest.raises(Exception, match=r"best\.pt: cut short, or no checkpoint of plain values and tensors"):
        clean_simulation(sky(20)[0], Cut(), INSTRUMENT, data())


def test_a_checkpoint_that_was_not_kept_is_named_with_those_that_were(checkpoints):
    skies = {"sim0000": Known(sky(20)[0], "sky")}
    with pytest.raises(
        ValueError, match="cmbnncs_prediction.checkpoint epoch_0003: not kept; there are best"
    ):
        clean(skies, INSTRUMENT, checkpoints, data(), PredictionSettings(checkpoint="epoch_0003"))


def test_observations_of_another_instrument_are_refused(checkpoints):
    others = lift(
        lambda seeds, instrument: None,
        version=1,
        partitioned={"seeds": {"sim0000": 1}},
        shared={"instrument": WIDER},
    )
    with pytest.raises(
        ValueError, match="observations sim0000: made from another instrument than the one at hand"
    ):
        clean(others, INSTRUMENT, checkpoints, data(), BEST)


def test_every_sky_of_a_split_is_cleaned_alike(checkpoints):
    skies = {f"sim{number:04d}": sky(20 + number)[0] for number in range(2)}
    loaders = {name: Known(one, name) for name, one in skies.items()}
    partitions = clean(loaders, INSTRUMENT, checkpoints, data(), BEST)
    assert list(partitions) == ["sim0000", "sim0001"]
    for name, partition in partitions.items():
        assert np.array_equal(partition().values, cleaned(checkpoints, skies[name]).values)


def test_the_signal_of_a_channel_alone_is_told_from_the_cmb(checkpoints):
    """A source that one channel sees does not come through as the CMB would."""
    observations, source = sky(20)[0], 5 * alm(78, fields=1)
    seen = alm_to_map(filter_alm(source, INSTRUMENT["353"].beam_window(LMAX)), NSIDE)
    more = observations.maps["353"].copy()
    more[:1] += seen
    one = cleaned(checkpoints, observations).values
    other = cleaned(checkpoints, with_channel(observations, "353", more)).values
    assert 0 < np.std(other - one) < 0.5 * np.std(seen)
