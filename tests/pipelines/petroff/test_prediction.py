"""A trained network tells of the skies that it fits a mean and its error, and of others why it does not."""

import copy

import numpy as np
import pytest

from cmbml.learning.inference import network_of
from cmbml.learning.transform import transform_from_state
from cmbml.partitions import Known
from cmbml.pipelines.petroff.corrections import corrected_mean
from cmbml.pipelines.petroff.features import make_features, ring
from cmbml.pipelines.petroff.prediction import (
    PREDICTED,
    clean_simulation,
    cut_simulation,
    error_simulation,
    predict_simulation,
)
from cmbml.pipelines.petroff.sampling import sampled
from cmbml.science.harmonics import alm_to_map, analyse
from cmbml.science.instrument import Channel, Instrument, Observations
from cmbml.science.skymap import SkyMap, beam_header
from tests.pipelines.cmbnncs.small_skies import INSTRUMENT, LMAX, NSIDE, TARGET, alm, observed, sky, true_map
from tests.pipelines.petroff.small_skies import data, network, prediction, sampling, trained

NPIX = 12 * NSIDE**2
BUILT = network(initial_dropout=0.02, prior_skies=800)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    skies = ((0, 1, 2, 3, 4, 5), (10, 11))
    return trained(
        tmp_path_factory.mktemp("trained"),
        built=BUILT,
        numbers=skies,
        epochs=40,
        optimiser={"lr": 0.05},
        schedule={"final_lr": 1e-3},
        checkpoint_also=(0,),
    )


@pytest.fixture(scope="module")
def of_maps(tmp_path_factory):
    """A plain network: no dropout, no variances."""
    built = network(kind="published", initial_dropout=0.0)
    folder = tmp_path_factory.mktemp("plain")
    return trained(folder, shown=data(inputs="maps"), built=built, loss="l2", epochs=1)


def predicted(checkpoint, observations, *, instrument=INSTRUMENT, simulation="test sim0000", **changes):
    return predict_simulation(
        observations, simulation, None, checkpoint, instrument, settings=data(**changes), sampling=sampling()
    )


def test_a_prediction_is_what_the_network_says_in_temperature_at_the_common_beam(checkpoints):
    observations, _ = sky(20)
    result = predicted(checkpoints["best"], observations)
    scaling = checkpoints["best"]()["facts"]["scaling"]
    features = transform_from_state(scaling["features"])(make_features(observations, INSTRUMENT, data()))
    answer = sampled(
        network_of(checkpoints["best"]), features, fields=1, samples=5, batch=3, key=(5, "test sim0000")
    )
    (spread,) = scaling["target"]["transforms"][0]["spread"]
    expected = np.concatenate([answer.mean, np.sqrt(answer.scatter), np.sqrt(answer.noise)]) * spread
    np.testing.assert_allclose(result.values, ring(expected), rtol=1e-5)
    assert result.fields == PREDICTED
    assert (result.unit, result.nside) == ("uK_CMB", NSIDE)
    assert result.header == beam_header(TARGET, LMAX)
    assert result.values.dtype == np.float32
    assert (result.values[1:] > 0).all()


def test_it_is_nearer_to_the_truth_than_the_reference_channel(checkpoints):
    errors = {}
    for name in ("best", "epoch_0000"):  # the untrained network returns the reference
        errors[name] = np.mean(
            [
                np.abs(
                    predicted(checkpoints[name], sky(number)[0]).values[0] - sky(number)[1].values[0]
                ).mean()
                for number in (20, 21, 22)
            ]
        )
    assert errors["best"] < 0.7 * errors["epoch_0000"]


def test_the_errors_told_fall_with_those_that_are_made(checkpoints):
    told, made = {}, {}
    for name in ("epoch_0000", "best"):
        results = [(predicted(checkpoints[name], sky(number)[0]), sky(number)[1]) for number in (20, 21, 22)]
        told[name] = np.mean([np.sqrt((result.values[1:] ** 2).sum(0)).mean() for result, _ in results])
        made[name] = np.mean([(result.values[0] - truth.values[0]).std() for result, truth in results])
    (spread,) = checkpoints["best"]()["facts"]["scaling"]["target"]["transforms"][0]["spread"]
    assert told["epoch_0000"] == pytest.approx(spread, rel=1e-4)  # untrained: as large as the sky itself
    assert made["best"] < 0.1 * made["epoch_0000"]
    assert told["best"] < 0.1 * told["epoch_0000"]


def test_a_cmb_that_is_added_to_the_sky_is_added_to_the_mean_and_changes_no_error(checkpoints):
    observations, added = sky(20)[0], alm(77)
    seen = observed(added)
    both = Observations(
        {name: maps + seen.maps[name] for name, maps in observations.maps.items()}, observations.units
    )
    one, other = (predicted(checkpoints["best"], given).values for given in (observations, both))
    expected = true_map(added).values[0]
    # what quadrature leaves of so bright a CMB in the differences, 1e-5 of it, is weighted by the network
    np.testing.assert_allclose(other[0] - one[0], expected, rtol=0, atol=5e-4 * expected.std())
    np.testing.assert_allclose(other[1:], one[1:], rtol=5e-3, atol=1e-3)


def test_what_is_dropped_follows_from_the_sky_and_nothing_else(checkpoints):
    observations = sky(20)[0]
    first = predicted(checkpoints["best"], observations)
    predicted(checkpoints["best"], sky(21)[0], simulation="test sim0001")
    assert np.array_equal(predicted(checkpoints["best"], observations).values, first.values)
    other = predicted(checkpoints["best"], observations, simulation="valid sim0000")
    assert not np.array_equal(other.values[0], first.values[0])


def test_a_network_without_dropout_and_variances_has_no_errors(of_maps):
    result = predicted(of_maps["best"], sky(20)[0], inputs="maps")
    assert (result.values[1:] == 0).all()
    assert result.values[0].std() > 0


def with_channel(name: str, values: np.ndarray) -> Observations:
    observations = sky(20)[0]
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
        (with_channel("353", NAN), "channel 353: 1 pixels are not finite or not observed"),
        (
            with_channel("353", np.zeros((3, 192), np.float32)),
            r"channel 353: map has npix 192, the network's has 768 \(petroff.nside 8\)",
        ),
    ],
    ids=["missing", "nan", "nside"],
)
def test_a_sky_that_cannot_be_cleaned_is_named(checkpoints, observations, message):
    with pytest.raises(ValueError, match=message):
        predicted(checkpoints["best"], observations)


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
        (TURNED, {}, r"asked for \['143', '353', '100', '545'\] \(in another order\)"),
        (INSTRUMENT, {"reference": "353"}, r"asked for \['353', '100', '143', '545'\] \(in another order\)"),
        (
            WIDER,
            {},
            r"fwhm_arcmin: trained with \[600.0, 900.0, 500.0, 500.0\], asked for \[600.0, 900.0, 550.0",
        ),
        (INSTRUMENT, {"nside": 16}, "nside: trained with 8, asked for 16"),
        (INSTRUMENT, {"lmax": 10}, "lmax: trained with 12, asked for 10"),
        (INSTRUMENT, {"inputs": "maps"}, "inputs: trained with differences, asked for maps"),
        (INSTRUMENT, {"fwhm_arcmin": 800.0}, "target_fwhm_arcmin: trained with 700.0, asked for 800.0"),
    ],
    ids=["channel", "order", "reference", "beam", "nside", "lmax", "inputs", "target beam"],
)
def test_a_network_that_was_trained_on_something_else_says_on_what(checkpoints, instrument, changes, message):
    with pytest.raises(ValueError, match=f"the checkpoint does not fit: .*{message}"):
        predicted(checkpoints["best"], sky(20)[0], instrument=instrument, **changes)


@pytest.mark.parametrize("beam", [950.0, "native"])
def test_a_network_of_maps_at_another_beam_says_so(of_maps, beam):
    asked = "none" if beam == "native" else "950.0"
    with pytest.raises(ValueError, match=f"inputs_fwhm_arcmin: trained with 900.0, asked for {asked}"):
        predicted(of_maps["best"], sky(20)[0], inputs="maps", inputs_fwhm_arcmin=beam)


def test_weights_of_another_depth_are_refused_and_named(checkpoints):
    spoilt = copy.deepcopy(dict(checkpoints["best"]()))
    spoilt["network"]["arguments"]["depth"] = 2
    with pytest.raises(
        ValueError, match="weights do not fit the network: sphere.down.2.0.layer.weight is missing"
    ):
        predicted(Known(spoilt, "of another depth"), sky(20)[0])


def test_weights_that_are_not_finite_give_no_map(checkpoints):
    spoilt = copy.deepcopy(dict(checkpoints["best"]()))
    spoilt["weights"]["common"][0] = np.nan
    with pytest.raises(ValueError, match="the network's output is not finite"):
        predicted(Known(spoilt, "with a NaN"), sky(20)[0])


def noisy() -> SkyMap:
    rng = np.random.default_rng(0)
    return prediction(rng.standard_normal(NPIX), 3 * np.ones(NPIX), rng.uniform(1, 4, NPIX))


@pytest.mark.parametrize("spectrum", [None, {"coefficients": [4.0, 0.0, 0.0]}])
def test_a_cleaned_map_is_the_corrected_mean_up_to_lmax_in_every_pixel(spectrum):
    cleaned = clean_simulation(noisy(), None, data(), spectrum)
    expected = corrected_mean(noisy(), spectrum, lmax=LMAX)
    np.testing.assert_allclose(cleaned.values[0], expected, rtol=1e-6)
    plain = corrected_mean(noisy(), None, lmax=LMAX)
    # twice the map where the truth has four times the power; quadrature leaves 1e-4
    np.testing.assert_allclose(expected, (2 if spectrum else 1) * plain, rtol=1e-6)
    again = alm_to_map(analyse(cleaned.values.astype(float), LMAX), NSIDE)
    np.testing.assert_allclose(again, cleaned.values, rtol=0, atol=1e-4 * cleaned.values.std())
    assert (cleaned.fields, cleaned.stokes, cleaned.unit) == (("I",), "I", "uK_CMB")
    assert cleaned.header == beam_header(TARGET, LMAX)
    assert cleaned.values.dtype == np.float32


@pytest.mark.parametrize("factor", [None, 1.5])
def test_an_error_is_the_root_of_the_sum_of_its_parts_squared_and_scaled(factor):
    given = noisy()
    result = error_simulation(given, None, None if factor is None else {"factor": factor})
    scale = factor or 1.0
    expected = scale * np.sqrt(9 + given.values[2].astype(float) ** 2)
    np.testing.assert_allclose(result.values[0], expected, rtol=1e-6)
    np.testing.assert_allclose(result.values[1:], scale * given.values[1:], rtol=1e-6)
    assert result.fields == ("I_ERROR", "I_ERROR_STATISTICAL", "I_ERROR_MODEL")
    assert (result.unit, result.header) == ("uK_CMB", given.header)
    assert result.values.dtype == np.float32


def test_the_mask_keeps_errors_up_to_the_cut_and_changes_nothing():
    errors = error_simulation(noisy(), None)
    errors.values[0, :3] = 49.9, 50.0, 50.1
    before = errors.values.copy()
    mask = cut_simulation(errors, 50.0)
    assert mask.values[0, :3].tolist() == [1, 1, 0]
    assert mask.values[0, 3:].all()  # of 5 uK at most
    assert (mask.values.shape, mask.unit, mask.fields) == ((1, NPIX), "", ("I_MASK",))
    assert np.array_equal(errors.values, before)
