"""What the network sees: the CMB cancels in differences, and nothing is lost on the way to the plane and back."""

import numpy as np
import pytest

from cmbml.pipelines.cmbnncs.features import (
    cleaned_map,
    feature_names,
    make_features,
    make_target,
    ordered_channels,
    reference_channel,
    target_window,
    used_channels,
)
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_to_map, filter_alm, map_to_alm
from cmbml.science.instrument import Channel, Instrument, Observations
from cmbml.science.planes import map_to_plane, plane_index, plane_to_map
from cmbml.science.skymap import SkyMap, beam_header
from tests.pipelines.cmbnncs.small_skies import (
    INSTRUMENT,
    LMAX,
    NSIDE,
    TARGET,
    alm,
    data,
    observed,
    sky,
    true_map,
)

NPIX = 12 * NSIDE**2
ACCURACY = 1e-4
"""What the quadrature of coefficients leaves, in units of a map's spread."""

every_stokes = pytest.mark.parametrize("stokes", ["I", "IQU"])


@every_stokes
def test_the_cmb_cancels_in_differences_and_is_the_truth_in_the_reference(stokes):
    cmb = alm(1)
    settings = data(stokes=stokes)
    features = make_features(observed(cmb), INSTRUMENT, settings)
    truth = make_target(true_map(cmb), settings)
    fields = len(stokes)
    spread = truth.std(axis=(1, 2)).max()
    assert np.abs(features[fields:]).max() < ACCURACY * spread
    np.testing.assert_allclose(features[:fields], truth, rtol=0, atol=ACCURACY * spread)


def test_the_reference_without_a_beam_is_the_cmb_without_one():
    cmb = alm(1, fields=1)
    features = plane_to_map(
        make_features(observed(np.concatenate([cmb] * 3)), INSTRUMENT, data(target="unbeamed"))
    )
    assert_same(features[0], alm_to_map(cmb, NSIDE)[0])
    assert np.abs(features[1:]).max() < ACCURACY * features[0].std()


def assert_same(values: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(values, expected, rtol=0, atol=ACCURACY * expected.std())


def only(name: str, signal: np.ndarray) -> Observations:
    """A sky that one channel alone sees."""
    maps = {channel.name: np.zeros((len(channel.stokes), NPIX), np.float32) for channel in INSTRUMENT}
    beam = INSTRUMENT[name].beam_window(LMAX)
    maps[name][:1] = alm_to_map(filter_alm(signal, beam), NSIDE)
    return Observations(maps, dict.fromkeys(maps, "uK_CMB"))


@pytest.mark.parametrize(
    ("name", "feature", "fwhm"), [("100", 1, 900.0), ("353", 2, TARGET), ("545", 3, TARGET)]
)
def test_a_difference_is_at_the_common_beam_or_at_a_coarser_one_of_the_channel(name, feature, fwhm):
    signal = alm(3, fields=1)
    features = make_features(only(name, signal), INSTRUMENT, data())
    expected = alm_to_map(filter_alm(signal, beam_window(fwhm * ARCMIN, LMAX)), NSIDE)
    assert_same(plane_to_map(features[feature]), expected[0])
    others = [number for number in range(4) if number != feature]
    assert np.abs(features[others]).max() == 0


def test_the_reference_is_subtracted_from_every_other_channel_at_the_same_beam():
    signal = alm(3, fields=1)
    features = plane_to_map(make_features(only("143", signal), INSTRUMENT, data()))
    for feature, fwhm in enumerate((900.0, TARGET, TARGET), start=1):
        expected = -alm_to_map(filter_alm(signal, beam_window(fwhm * ARCMIN, LMAX)), NSIDE)
        assert_same(features[feature], expected[0])
    own = alm_to_map(filter_alm(signal, beam_window(TARGET * ARCMIN, LMAX)), NSIDE)
    assert_same(features[0], own[0])


def test_one_foreground_is_removed_exactly_by_weights_that_are_the_same_everywhere():
    signal, brightness = alm(3, fields=1), {"100": 1.0, "143": 1.5, "353": 6.0, "545": 40.0}
    maps = {}
    for channel in INSTRUMENT:
        emission = brightness[channel.name] * filter_alm(signal, channel.beam_window(LMAX))
        maps[channel.name] = np.repeat(alm_to_map(emission, NSIDE), len(channel.stokes), axis=0)
    features = plane_to_map(
        make_features(Observations(maps, dict.fromkeys(maps, "uK_CMB")), INSTRUMENT, data())
    )
    weight = -brightness["143"] / (brightness["353"] - brightness["143"])
    assert np.abs(features[0] + weight * features[2]).max() < ACCURACY * features[0].std()


def test_the_reference_is_not_one_whose_sharpening_costs_more_than_its_noise_saves():
    # at 20.6' and lmax 1024, 33 uK' at 32.4' become 131.8 uK, 46.8 uK' at 22.3' become 5.4 uK
    instrument = Instrument(
        (Channel("143", 142.876, 32.4, "I", 33.0), Channel("217", 221.156, 22.3, "I", 46.8))
    )
    settings = data(channels="all", nside=512, lmax=1024, fwhm_arcmin=20.6)
    rms = [channel.noise_at_beam(settings.fwhm_arcmin, settings.lmax) for channel in instrument]
    np.testing.assert_allclose(rms, [131.8, 5.4], rtol=0.01)
    assert reference_channel(instrument, settings).name == "217"
    assert Channel("30", 28.4, 900.0, "I", 150.0).noise_at_beam(settings.fwhm_arcmin, settings.lmax) == float(
        "inf"
    )


def test_a_beam_that_float32_maps_cannot_give_back_is_not_taken_off():
    with pytest.raises(
        ValueError, match="target unbeamed: the beam of 82.5 arcmin is .* at lmax 382, and below"
    ):
        data(nside=128, lmax=382, fwhm_arcmin=82.5, target="unbeamed")


def test_features_are_named_by_channel_and_field_in_their_order():
    assert feature_names(INSTRUMENT, data()) == ("143 I", "100-143 I", "353-143 I", "545-143 I")
    assert feature_names(INSTRUMENT, data(stokes="IQU")) == (
        *("143 I", "143 Q", "143 U"),
        *("100-143 I", "100-143 Q", "100-143 U"),
        *("353-143 I", "353-143 Q", "353-143 U"),
        "545-143 I",
    )
    maps = data(inputs="maps", channels=("545", "100"))
    assert feature_names(INSTRUMENT, maps) == ("100 I", "545 I")
    assert feature_names(INSTRUMENT, data(reference="353", channels="100-353"))[0] == "353 I"


@every_stokes
def test_there_is_a_feature_of_every_name(stokes):
    for inputs in ("maps", "differences"):
        settings = data(stokes=stokes, inputs=inputs)
        features = make_features(sky(0)[0], INSTRUMENT, settings)
        assert features.shape == (len(feature_names(INSTRUMENT, settings)), 4 * NSIDE, 3 * NSIDE)
        assert features.dtype == np.float32


def test_maps_are_laid_out_as_they_are_observed():
    observations = sky(0)[0]
    features = make_features(observations, INSTRUMENT, data(inputs="maps", stokes="IQU"))
    rows = [field for maps in observations.maps.values() for field in maps]
    assert len(rows) == len(features) == 10
    for feature, field in zip(features, rows, strict=True):
        assert np.array_equal(feature, field[plane_index(NSIDE)])


def test_maps_are_rearranged_as_published(shared_file):
    with np.load(shared_file("reference/cmbnncs/rearrangement.npz")) as tables:
        table = tables[f"plane_from_ring_index_nside{NSIDE}"]
    observations = sky(0)[0]
    features = make_features(observations, INSTRUMENT, data(inputs="maps"))
    for feature, maps in zip(features, observations.maps.values(), strict=True):
        assert np.array_equal(feature, maps[0][table])


def test_the_order_of_observed_channels_does_not_matter():
    observations = sky(0)[0]
    turned = Observations(dict(reversed(observations.maps.items())), observations.units)
    for inputs in ("maps", "differences"):
        one, other = (
            make_features(given, INSTRUMENT, data(inputs=inputs)) for given in (observations, turned)
        )
        assert np.array_equal(one, other)


def test_channels_that_are_not_used_are_not_touched():
    observations = sky(0)[0]
    broken = Observations({**observations.maps, "545": np.full((1, 3), np.nan)}, observations.units)
    settings = data(channels="100-353")
    one, other = (make_features(given, INSTRUMENT, settings) for given in (observations, broken))
    assert np.array_equal(one, other)


def test_maps_in_another_unit_become_temperature():
    observations = sky(0)[0]
    factor = INSTRUMENT["353"].calibration.factor("uK_CMB", "MJy/sr")
    maps = {**observations.maps, "353": (observations.maps["353"] * factor).astype(np.float32)}
    other = Observations(maps, {**observations.units, "353": "MJy/sr"})
    one, same = (make_features(given, INSTRUMENT, data()) for given in (observations, other))
    np.testing.assert_allclose(same, one, rtol=0, atol=1e-4)


def test_the_reference_is_the_channel_of_the_lowest_noise_that_has_all_fields():
    quiet = Channel("857", 864.0, 500.0, "I", 1.0)
    five = Instrument((*INSTRUMENT, quiet))
    assert reference_channel(used_channels(five, data()), data()).name == "857"
    assert reference_channel(used_channels(five, data(stokes="IQU")), data(stokes="IQU")).name == "143"
    assert [one.name for one in ordered_channels(INSTRUMENT, data(reference="545"))] == [
        "545",
        "100",
        "143",
        "353",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"reference": "217"},
            "cmbnncs.reference 217: must be one of cmbnncs.channels that measures I: 100, 143",
        ),
        (
            {"reference": "545", "stokes": "IQU"},
            "cmbnncs.reference 545: must be one of cmbnncs.channels that measures IQU: 100, 143, 353",
        ),
        (
            {"channels": ("545",), "stokes": "IQU"},
            "cmbnncs.stokes IQU: none of the channels 545 measures these fields; choose others, or stokes I",
        ),
        ({"channels": ("30", "143")}, "30 is not in the instrument table, which has 100, 143, 353, 545"),
    ],
)
def test_a_reference_that_cannot_be_one_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        feature_names(INSTRUMENT, data(**changes))


def test_an_unbeamed_target_at_the_common_beam_is_the_common_target():
    truth = true_map(alm(1))
    planes = make_target(truth, data(stokes="IQU", target="unbeamed"))
    common = map_to_alm(plane_to_map(planes).astype(float), LMAX)
    smoothed = alm_to_map(filter_alm(common, beam_window(TARGET * ARCMIN, LMAX)), NSIDE)
    np.testing.assert_allclose(smoothed, truth.values, rtol=0, atol=ACCURACY * truth.values.std())
    assert planes.std() > 1.2 * truth.values.std()


@every_stokes
@pytest.mark.parametrize("target", ["common_beam", "unbeamed"])
def test_the_target_made_a_cleaned_map_is_the_truth(stokes, target):
    settings = data(stokes=stokes, target=target)
    truth = true_map(alm(1))
    cleaned = cleaned_map(make_target(truth, settings), settings)
    np.testing.assert_allclose(
        cleaned.values, truth.values[: len(stokes)], rtol=0, atol=ACCURACY * truth.values.std()
    )
    assert (cleaned.stokes, cleaned.unit) == (stokes, "uK_CMB")
    assert cleaned.header == beam_header(TARGET, LMAX)
    assert cleaned.values.dtype == np.float32


def test_a_cleaned_map_has_nothing_beyond_the_band_limit():
    rng = np.random.default_rng(0)
    cleaned = cleaned_map(rng.standard_normal((1, 4 * NSIDE, 3 * NSIDE)), data())
    again = alm_to_map(map_to_alm(cleaned.values.astype(float), LMAX), NSIDE)
    assert_same(cleaned.values, again)


def test_the_window_of_a_target():
    assert (target_window(data(target="unbeamed")) == 1).all()
    assert np.array_equal(target_window(data()), beam_window(TARGET * ARCMIN, LMAX))


def test_nothing_is_changed_in_place():
    observations, truth = sky(0)
    before = {name: values.copy() for name, values in observations.maps.items()}
    for inputs in ("maps", "differences"):
        make_features(observations, INSTRUMENT, data(inputs=inputs, stokes="IQU"))[:] = 0
    values = truth.values.copy()
    make_target(truth, data(stokes="IQU"))[:] = 0
    assert all(np.array_equal(before[name], observations.maps[name]) for name in before)
    assert np.array_equal(truth.values, values)


def spoilt(name: str, values: np.ndarray) -> Observations:
    observations = sky(0)[0]
    return Observations({**observations.maps, name: values}, observations.units)


def with_pixel(value: float) -> np.ndarray:
    values = sky(0)[0].maps["353"].copy()
    values[0, 5] = value
    return values


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        (spoilt("353", with_pixel(np.nan)), "channel 353: 1 pixels are not finite or not observed"),
        (spoilt("353", with_pixel(np.inf)), "channel 353: 1 pixels are not finite or not observed"),
        (spoilt("353", with_pixel(-1.6375e30)), "channel 353: 1 pixels are not finite or not observed"),
        (
            spoilt("100", np.zeros((3, 192), np.float32)),
            r"channel 100: map has npix 192, the network's has 768 \(cmbnncs.nside 8\)",
        ),
    ],
    ids=["nan", "infinite", "unseen", "nside"],
)
@pytest.mark.parametrize("inputs", ["maps", "differences"])
def test_maps_that_cannot_be_seen_are_named(observations, message, inputs):
    with pytest.raises(ValueError, match=message):
        make_features(observations, INSTRUMENT, data(inputs=inputs))


def test_a_missing_channel_and_a_missing_field_are_named():
    observations = sky(0)[0]
    lacking = Observations({name: observations.maps[name] for name in ("143", "545")}, observations.units)
    with pytest.raises(ValueError, match="channels 100, 353: not observed; these observations hold 143, 545"):
        make_features(lacking, INSTRUMENT, data())
    with pytest.raises(ValueError, match="channel 353: measures IQU, but the observations hold only I"):
        make_features(spoilt("353", np.zeros((1, NPIX))), INSTRUMENT, data(stokes="IQU"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, NPIX)), "truth: holds the fields I, the network is to find IQU; simulate stokes IQU"),
        (np.zeros((3, 192)), "truth: map has npix 192, the network's has 768"),
        (np.full((3, NPIX), np.nan), f"truth: {3 * NPIX} pixels are not finite or not observed"),
    ],
)
def test_a_truth_that_cannot_be_learnt_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        make_target(SkyMap(values, "uK_CMB"), data(stokes="IQU"))


def test_the_plane_is_that_of_the_sphere():
    truth = true_map(alm(1))
    assert np.array_equal(make_target(truth, data(stokes="IQU")), map_to_plane(truth.values))
