import numpy as np
import pytest

from cmbml.science.bandpasses import Bandpass, brightness_response
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.instrument import Channel, Instrument, Observations, channel_names
from cmbml.science.units import unit_factor

PLANCK = ("30", "44", "70", "100", "143", "217", "353", "545", "857")


def planck():
    return Instrument(
        tuple(
            Channel(name, float(name), 10.0 + k, "I" if int(name) > 400 else "IQU")
            for k, name in enumerate(PLANCK)
        )
    )


def test_a_channel_knows_its_frequency_and_beam():
    channel = Channel("143", 142.876, 32.4, "IQU")
    assert channel.nominal_ghz == 143
    assert channel.fwhm == pytest.approx(32.4 * ARCMIN)
    assert np.array_equal(channel.beam_window(50), beam_window(32.4 * ARCMIN, 50))


@pytest.mark.parametrize("stokes", ["", "Q", "IQ", "QU", "iqu"])
def test_a_channel_measures_i_or_iqu(stokes):
    with pytest.raises(ValueError, match=rf"channel 143: stokes '{stokes}' must be 'I' or 'IQU'"):
        Channel("143", 143.0, 7.0, stokes)


@pytest.mark.parametrize("frequency", [0.0, -1.0, np.nan])
def test_a_channel_has_a_frequency_above_zero(frequency):
    with pytest.raises(ValueError, match=r"channel 143: centre frequency .* GHz must be above 0"):
        Channel("143", frequency, 7.0, "I")


@pytest.mark.parametrize("fwhm", [-1.0, np.nan])
def test_a_channel_has_a_beam_that_is_not_negative(fwhm):
    with pytest.raises(ValueError, match=r"channel 143: fwhm .* arcmin must not be negative"):
        Channel("143", 143.0, fwhm, "I")


def test_an_instrument_is_a_sequence_of_named_channels():
    instrument = planck()
    assert len(instrument) == 9
    assert instrument.names == PLANCK
    assert [channel.name for channel in instrument] == list(PLANCK)
    assert instrument["545"].stokes == "I"


def test_an_unknown_channel_is_named_with_those_there_are():
    with pytest.raises(KeyError, match=r"channel 150: not in the instrument, which has 30, 44"):
        planck()["150"]
    with pytest.raises(KeyError, match=r"channel 150: not in the instrument"):
        planck().select(("100", "150"))


def test_an_instrument_needs_a_channel():
    with pytest.raises(ValueError, match=r"an instrument needs at least one channel"):
        Instrument(())


def test_an_instrument_has_no_channel_twice():
    channel = planck()["100"]
    with pytest.raises(ValueError, match=r"channels 100, 100: a name occurs twice"):
        Instrument((channel, channel))


def test_a_selection_keeps_the_order_of_the_instrument():
    assert planck().select(("353", "30", "100")).names == ("30", "100", "353")


def test_dropping_polarisation_leaves_intensity_everywhere():
    assert {channel.stokes for channel in planck().with_stokes("I")} == {"I"}


def test_asking_for_polarisation_keeps_what_each_channel_measures():
    assert planck().with_stokes("IQU") == planck()


def test_beams_are_scaled_and_then_floored():
    scaled = planck().with_beams(scale=2.0, floor_arcmin=25.0)
    assert [channel.fwhm_arcmin for channel in scaled] == [25, 25, 25, 26, 28, 30, 32, 34, 36]
    assert planck().with_beams(scale=1.0, floor_arcmin=0.0) == planck()


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("all", PLANCK),
        ("lfi", ("30", "44", "70")),
        ("hfi", ("100", "143", "217", "353", "545", "857")),
        ("polarised", PLANCK[:7]),
        ("100-353", ("100", "143", "217", "353")),
        ("143-143", ("143",)),
        ("143", ("143",)),
        (143, ("143",)),
        ([353, "30"], ("30", "353")),
        (("44",), ("44",)),
        ("143+100", ("100", "143")),
        ("44 + 857", ("44", "857")),
    ],
)
def test_a_choice_of_channels_by_hand(choice, expected):
    assert channel_names(choice, PLANCK) == expected


def test_a_choice_keeps_to_what_is_available():
    assert channel_names("all", ("100", "143")) == ("100", "143")


def test_listed_channels_that_are_missing_are_named():
    message = r"channels \[100, 150, 250\]: 150, 250 is not in the instrument table, which has 30, 44"
    with pytest.raises(ValueError, match=message):
        channel_names([100, 150, 250], PLANCK)
    with pytest.raises(ValueError, match=r"channels '100\+150': 150 is not in the instrument table"):
        channel_names("100+150", PLANCK)


@pytest.mark.parametrize("choice", ["150", "sfi", "353-100", "10-20", "-", [], ""])
def test_a_choice_of_nothing_is_refused(choice):
    with pytest.raises(
        ValueError, match=r"no channel fits in the instrument table, .* sets with a name: all, lfi"
    ):
        channel_names(choice, PLANCK)


def test_an_instrument_is_polarised_if_a_channel_is():
    assert planck().is_polarised
    assert not planck().select(("545", "857")).is_polarised
    assert not planck().with_stokes("I").is_polarised


def test_noise_levels_are_those_of_the_field():
    channel = Channel("143", 143.0, 7.0, "IQU", 33.0, 70.0)
    assert [channel.noise_level(field) for field in "IQU"] == [33.0, 70.0, 70.0]


@pytest.mark.parametrize("levels", [(-1.0, 0.0), (0.0, -1.0)])
def test_a_noise_level_is_not_negative(levels):
    with pytest.raises(ValueError, match=r"channel 143: noise level -1.0 uK_CMB arcmin must not be negative"):
        Channel("143", 143.0, 7.0, "IQU", *levels)


@pytest.mark.parametrize("field", ["Q", "U", "", "IQ", "V"])
def test_a_field_that_is_not_measured_has_no_noise_level(field):
    channel = Channel("545", 545.0, 5.0, "I", 1000.0)
    with pytest.raises(ValueError, match=rf"channel 545: no noise level of '{field}', it measures I"):
        channel.noise_level(field)


def test_a_noise_level_that_is_not_known_is_asked_for():
    channel = Channel("143", 143.0, 7.0, "IQU", 33.0, np.nan)
    assert channel.noise_level("I") == 33
    with pytest.raises(ValueError, match=r"channel 143: noise level of Q is not known; add the columns"):
        channel.noise_level("Q")


def test_observations_give_intensities_in_the_order_asked_for():
    maps = {"100": np.full((3, 48), 1.0), "545": np.full((1, 48), 2.0), "143": np.full((3, 48), 3.0)}
    observations = Observations(maps)
    assert observations.nside == 2
    intensity = observations.intensity(planck().select(("100", "545")))
    assert intensity.shape == (2, 48)
    assert intensity[:, 0].tolist() == [1.0, 2.0]


def test_observations_of_a_band_become_uk_cmb_by_its_response():
    band = Bandpass((480.0, 630.0), (1.0, 1.0))
    instrument = Instrument((Channel("545", 555.2, 5.0, "I", bandpass=band),))
    observations = Observations({"545": np.ones((1, 12))}, {"545": "MJy/sr"})
    expected = 1e6 / brightness_response(instrument["545"])
    assert observations.intensity(instrument) == pytest.approx(np.full((1, 12), expected), rel=1e-12)
    at_centre = unit_factor("MJy/sr", "uK_CMB", frequency_ghz=555.2)
    assert abs(expected / at_centre - 1) > 0.01


def test_observations_in_another_unit_become_uk_cmb():
    instrument = planck().select(("100", "545"))
    maps = {"100": np.ones((1, 48), np.float32), "545": np.ones((1, 48), np.float32)}
    observations = Observations(maps, {"100": "K_CMB", "545": "MJy/sr"})
    intensity = observations.intensity(instrument)
    factor = unit_factor("MJy/sr", "uK_CMB", frequency_ghz=instrument["545"].frequency_ghz)
    np.testing.assert_allclose(intensity[:, 0], [1e6, factor], rtol=1e-6)
    assert intensity.dtype == np.float32
    assert maps["545"][0, 0] == 1


def test_a_channel_that_was_not_observed_is_named():
    observations = Observations({"100": np.zeros((1, 48))})
    with pytest.raises(ValueError, match=r"channels 143, 217: not observed; these observations hold 100"):
        observations.intensity(planck().select(("100", "143", "217")))


def test_all_fields_of_the_channels_come_in_microkelvin():
    instrument = Instrument((Channel("100", 100.89, 43.0, "IQU"), Channel("545", 555.2, 21.5, "I")))
    observed = Observations({"100": np.ones((3, 12)), "545": np.ones((1, 12))}, {"100": "mK_CMB"})
    polarised, intensity = observed.stokes(instrument)
    assert (polarised.shape, intensity.shape) == ((3, 12), (1, 12))
    np.testing.assert_allclose(polarised, 1e3)
    np.testing.assert_allclose(intensity, 1)


def test_a_channel_that_was_observed_without_its_polarisation_is_named():
    instrument = Instrument((Channel("100", 100.89, 43.0, "IQU"),))
    observed = Observations({"100": np.ones((1, 12))})
    assert observed.intensity(instrument).shape == (1, 12)
    with pytest.raises(ValueError, match="channel 100: measures IQU, but the observations hold only I"):
        observed.stokes(instrument)
