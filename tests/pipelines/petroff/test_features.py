"""What the network sees: beams act in harmonic space, and the CMB cancels in differences."""

import healpy as hp
import numpy as np
import pytest

from cmbml.pipelines.cmbnncs.features import make_features as cmbnncs_features
from cmbml.pipelines.petroff.features import (
    check_beams,
    feature_names,
    inputs_fwhm,
    make_features,
    make_target,
    nested,
    ordered_channels,
    ring,
    used_channels,
)
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_to_map, filter_alm
from cmbml.science.instrument import Channel, Instrument, Observations
from cmbml.science.planes import plane_to_map
from cmbml.science.skymap import SkyMap
from tests.pipelines.cmbnncs.small_skies import INSTRUMENT, LMAX, NSIDE, TARGET, alm, observed, sky, true_map
from tests.pipelines.cmbnncs.small_skies import data as cmbnncs_data
from tests.pipelines.petroff.small_skies import data

NPIX = 12 * NSIDE**2
CANCELS = 1e-5
"""What is left of the CMB in differences, in units of its spread: single precision and quadrature."""

ACCURACY = 1e-4
"""What the quadrature of coefficients leaves of a whole map at this resolution, in units of its spread."""

WIDEST = 900.0
"""Of the instrument's beams, in arcmin."""


def smoothed(signal: np.ndarray, fwhm: float) -> np.ndarray:
    """Return a map of coefficients at a beam, NESTED."""
    maps = alm_to_map(filter_alm(signal, beam_window(fwhm * ARCMIN, LMAX)), NSIDE)
    return hp.reorder(maps[0], r2n=True)


def only(name: str, signal: np.ndarray) -> Observations:
    """A sky that one channel alone sees."""
    maps = {channel.name: np.zeros((len(channel.stokes), NPIX), np.float32) for channel in INSTRUMENT}
    maps[name][:1] = alm_to_map(filter_alm(signal, INSTRUMENT[name].beam_window(LMAX)), NSIDE)
    return Observations(maps, dict.fromkeys(maps, "uK_CMB"))


def assert_same(values: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(values, expected, rtol=0, atol=ACCURACY * max(expected.std(), 1e-9))


def test_pixels_are_nested_and_go_back_to_rings():
    numbers = np.arange(2.0 * NPIX).reshape(2, NPIX)
    np.testing.assert_array_equal(ring(nested(numbers)), numbers)
    np.testing.assert_array_equal(nested(ring(numbers)), numbers)
    # the four children of a pixel of nside 1 lie together
    parents = hp.vec2pix(NSIDE // 2, *hp.pix2vec(NSIDE, np.arange(NPIX)), nest=True)
    assert (nested(parents[None].astype(float))[0].reshape(-1, 4).std(axis=1) == 0).all()


def test_the_cmb_cancels_in_differences_and_is_the_truth_in_the_reference():
    cmb = alm(1)
    features = make_features(observed(cmb), INSTRUMENT, data())
    truth = make_target(true_map(cmb), data())
    assert np.abs(features[1:]).max() < CANCELS * truth.std()
    np.testing.assert_allclose(features[:1], truth, rtol=0, atol=ACCURACY * truth.std())


@pytest.mark.parametrize("fwhm", ["auto", 950.0])
def test_maps_are_at_one_beam_and_hold_the_same_cmb(fwhm):
    cmb = alm(1)
    settings = data(inputs="maps", inputs_fwhm_arcmin=fwhm)
    expected = smoothed(cmb[:1], WIDEST if fwhm == "auto" else fwhm)
    features = make_features(observed(cmb), INSTRUMENT, settings)
    assert features.shape == (4, NPIX)
    assert features.dtype == np.float32
    for feature in features:
        assert_same(feature, expected)


@pytest.mark.parametrize(
    ("name", "feature", "fwhm"), [("100", 1, WIDEST), ("353", 2, TARGET), ("545", 3, TARGET)]
)
def test_a_difference_is_at_the_beam_of_the_cleaned_map_or_at_a_coarser_one_of_the_channel(
    name, feature, fwhm
):
    signal = alm(3, fields=1)
    features = make_features(only(name, signal), INSTRUMENT, data())
    assert_same(features[feature], smoothed(signal, fwhm))
    assert np.abs(np.delete(features, feature, axis=0)).max() == 0


def test_the_reference_is_subtracted_from_every_other_channel_at_the_same_beam():
    signal = alm(3, fields=1)
    features = make_features(only("143", signal), INSTRUMENT, data())
    assert_same(features[0], smoothed(signal, TARGET))
    for difference, fwhm in zip(features[1:], (WIDEST, TARGET, TARGET), strict=True):
        assert_same(difference, -smoothed(signal, fwhm))


def test_differences_are_those_that_the_other_method_learns_from():
    observations = sky(0)[0]
    planes = cmbnncs_features(observations, INSTRUMENT, cmbnncs_data())
    expected = nested(plane_to_map(planes))
    assert_same(make_features(observations, INSTRUMENT, data()), expected)


def test_native_maps_are_left_at_their_beams():
    signal = alm(3, fields=1)
    settings = data(inputs="maps", inputs_fwhm_arcmin="native")
    for name, number in (("100", 0), ("545", 3)):
        features = make_features(only(name, signal), INSTRUMENT, settings)
        assert_same(features[number], smoothed(signal, float(INSTRUMENT[name].fwhm_arcmin)))


def test_features_have_nothing_beyond_the_band_limit():
    rng = np.random.default_rng(0)
    maps = {channel.name: rng.standard_normal((1, NPIX)).astype(np.float32) for channel in INSTRUMENT}
    settings = data(inputs="maps", inputs_fwhm_arcmin="native")
    features = make_features(Observations(maps), INSTRUMENT, settings)
    cl = hp.anafast(ring(features)[0], lmax=3 * NSIDE - 1)
    assert cl[LMAX + 4 :].max() < 1e-4 * cl[2 : LMAX + 1].mean()


def test_the_common_beam_of_auto_is_the_widest_but_not_finer_than_that_of_the_cleaned_map():
    def of_maps(**changes):
        return inputs_fwhm(INSTRUMENT, data(inputs="maps", **changes))

    assert of_maps() == WIDEST
    assert of_maps(channels="143-545") == TARGET
    assert of_maps(inputs_fwhm_arcmin=1000.0) == 1000.0
    assert of_maps(fwhm_arcmin=1200.0) == 1200.0
    assert of_maps(inputs_fwhm_arcmin="native") is None
    assert inputs_fwhm(INSTRUMENT, data()) is None  # of differences each has its own


def pair(fwhm: float) -> Instrument:
    return Instrument((Channel("44", 44.0, fwhm, "I", 150.0), Channel("217", 221.0, 5.0, "I", 46.8)))


def test_a_channel_is_not_brought_to_a_beam_that_multiplies_its_noise():
    # exp(l (l + 1) (55'^2 - 20.6'^2) / (16 ln 2)) at l = 1024: 6e8
    settings = {"nside": 512, "lmax": 1024, "fwhm_arcmin": 20.6}
    one = data(inputs="maps", inputs_fwhm_arcmin=20.6, **settings)
    message = (
        r"petroff.inputs_fwhm_arcmin 20.6: brings channel 44, whose beam is 55 arcmin, to a finer one, and "
        r"multiplies its noise at lmax 1024 by (\d\.\de\+\d\d) \(at most 100\); take a wider beam, leave that "
        "channel out, or lower lmax"
    )
    with pytest.raises(ValueError, match=message) as refused:
        check_beams(pair(55.0), one)
    factor = float(str(refused.value).split(" by ")[1].split()[0])
    expected = np.exp(1024 * 1025 * ((55.0**2 - 20.6**2) * ARCMIN**2) / (16 * np.log(2)))
    assert factor == pytest.approx(expected, rel=0.05)
    assert expected > 1e8
    check_beams(pair(55.0), data(inputs="maps", **settings))  # auto: 55 arcmin for both
    check_beams(pair(55.0), data(inputs="maps", inputs_fwhm_arcmin="native", **settings))
    check_beams(pair(25.0), one)


def test_of_differences_the_reference_alone_must_reach_the_beam_of_the_cleaned_map():
    settings = {"nside": 512, "lmax": 1024, "fwhm_arcmin": 20.6}
    with pytest.raises(ValueError, match=r"petroff.fwhm_arcmin 20.6: brings channel 44, whose beam is 55"):
        check_beams(pair(55.0), data(reference="44", **settings))
    check_beams(pair(55.0), data(reference="217", **settings))  # 44 stays at its own


def test_a_beam_that_has_nothing_left_is_brought_nowhere():
    with pytest.raises(ValueError, match="multiplies its noise at lmax 1024 by inf"):
        check_beams(
            pair(900.0), data(inputs="maps", nside=512, lmax=1024, inputs_fwhm_arcmin=20.6, fwhm_arcmin=20.6)
        )


def test_features_of_a_beam_that_cannot_be_reached_are_refused():
    blurred = Instrument((Channel("100", 100.9, 3000.0, "I", 77.0), *INSTRUMENT.channels[1:]))
    message = "petroff.inputs_fwhm_arcmin 700: brings channel 100, whose beam is 3000 arcmin"
    with pytest.raises(ValueError, match=message):
        make_features(sky(0)[0], blurred, data(inputs="maps", inputs_fwhm_arcmin=700.0))


def test_features_are_named_by_channel_the_reference_first():
    assert feature_names(INSTRUMENT, data()) == ("143 I", "100-143 I", "353-143 I", "545-143 I")
    assert feature_names(INSTRUMENT, data(inputs="maps")) == ("100 I", "143 I", "353 I", "545 I")
    assert feature_names(INSTRUMENT, data(reference="353", channels="100-353"))[0] == "353 I"
    assert feature_names(INSTRUMENT, data(inputs="maps", channels=("545", "100"))) == ("100 I", "545 I")
    assert {channel.stokes for channel in used_channels(INSTRUMENT, data())} == {"I"}


def test_the_reference_of_auto_has_the_lowest_noise_at_the_beam_of_the_cleaned_map():
    # at 20.6' and lmax 1024, 33 uK' at 32.4' become 131.8 uK, 46.8 uK' at 22.3' become 5.4 uK
    instrument = Instrument(
        (Channel("143", 142.876, 32.4, "I", 33.0), Channel("217", 221.156, 22.3, "I", 46.8))
    )
    fine = data(nside=512, lmax=1024, fwhm_arcmin=20.6)
    assert ordered_channels(instrument, fine)[0].name == "217"
    coarse = data(nside=512, lmax=1024, fwhm_arcmin=60.0)
    assert ordered_channels(instrument, coarse)[0].name == "143"


def test_the_order_of_observed_channels_and_channels_that_are_not_used_do_not_matter():
    observations = sky(0)[0]
    turned = dict(reversed(observations.maps.items())) | {"545": np.full((1, 3), np.nan)}
    one, other = (
        make_features(given, INSTRUMENT, data(channels="100-353"))
        for given in (observations, Observations(turned, observations.units))
    )
    assert np.array_equal(one, other)


def test_maps_in_another_unit_become_temperature():
    observations = sky(0)[0]
    maps = {**observations.maps, "353": (observations.maps["353"] * 1e-6).astype(np.float32)}
    other = Observations(maps, {**observations.units, "353": "K_CMB"})
    one, same = (make_features(given, INSTRUMENT, data()) for given in (observations, other))
    np.testing.assert_allclose(same, one, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reference": "217"}, "petroff.reference 217: must be one of petroff.channels: 100, 143, 353, 545"),
        (
            {"reference": "545", "channels": "100-353"},
            "petroff.reference 545: must be one of petroff.channels: 100, 143, 353",
        ),
        ({"channels": ("30", "143")}, "30 is not in the instrument table, which has 100, 143, 353, 545"),
    ],
)
def test_channels_that_are_not_there_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        make_features(sky(0)[0], INSTRUMENT, data(**changes))


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
            r"channel 100: map has npix 192, the network's has 768 \(petroff.nside 8\)",
        ),
    ],
    ids=["nan", "infinite", "unseen", "nside"],
)
@pytest.mark.parametrize("inputs", ["maps", "differences"])
def test_maps_that_cannot_be_seen_are_named(observations, message, inputs):
    with pytest.raises(ValueError, match=message):
        make_features(observations, INSTRUMENT, data(inputs=inputs))


def test_missing_channels_are_named():
    observations = sky(0)[0]
    lacking = Observations({name: observations.maps[name] for name in ("143", "545")}, observations.units)
    with pytest.raises(ValueError, match="channels 100, 353: not observed; these observations hold 143, 545"):
        make_features(lacking, INSTRUMENT, data())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((3, 192)), "truth: map has npix 192, the network's has 768"),
        (np.full((1, NPIX), np.nan), f"truth: {NPIX} pixels are not finite or not observed"),
    ],
)
def test_a_truth_that_cannot_be_learnt_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        make_target(SkyMap(values, "uK_CMB"), data())


def test_the_target_is_the_intensity_of_the_truth():
    truth = true_map(alm(1))
    target = make_target(truth, data())
    assert (target.shape, target.dtype) == ((1, NPIX), np.float32)
    assert np.array_equal(ring(target)[0], truth.values[0])


def test_nothing_is_changed_in_place():
    observations, truth = sky(0)
    before = {name: values.copy() for name, values in observations.maps.items()}
    for inputs in ("maps", "differences"):
        make_features(observations, INSTRUMENT, data(inputs=inputs))[:] = 0
    values = truth.values.copy()
    make_target(truth, data())[:] = 0
    assert all(np.array_equal(before[name], observations.maps[name]) for name in before)
    assert np.array_equal(truth.values, values)
