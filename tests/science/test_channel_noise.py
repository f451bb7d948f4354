import numpy as np
import pytest

from cmbml.science.instrument import Channel
from cmbml.science.units import unit_factor


def test_a_channel_has_no_noise_unless_told():
    assert Channel("143", 142.876, 32.4, "IQU").noise_level("I") == 0.0


def test_noise_levels_differ_in_temperature_and_polarisation():
    channel = Channel("143", 142.876, 32.4, "IQU", 33.0, 70.2)
    assert [channel.noise_level(stokes) for stokes in "IQU"] == [33.0, 70.2, 70.2]


@pytest.mark.parametrize("stokes", ["Q", "IQU", "", "V"])
def test_a_field_that_is_not_measured_has_no_noise(stokes):
    with pytest.raises(ValueError, match=f"channel 545: no noise level of '{stokes}', it measures I"):
        Channel("545", 555.2, 21.5, "I", 1.0, 1.0).noise_level(stokes)


def test_a_level_that_is_not_known_is_not_taken_as_zero():
    with pytest.raises(ValueError, match="channel 30: noise level of Q is not known; add the columns"):
        Channel("30", 28.4, 75.0, "IQU", 150.0, np.nan).noise_level("Q")


@pytest.mark.parametrize("levels", [(-1.0, 0.0), (0.0, -1.0)])
def test_a_level_is_not_negative(levels):
    with pytest.raises(ValueError, match=r"channel 30: noise level -1\.0 uK_CMB arcmin must not be negative"):
        Channel("30", 28.4, 75.0, "IQU", *levels)


def test_a_level_of_surface_brightness_is_a_temperature_at_the_centre_frequency():
    channel = Channel("857", 866.8, 20.6, "I", np.nan, np.nan, noise_brightness_kjy_sr_arcmin=43.2)
    per_kjy = unit_factor("kJy/sr", "uK_CMB", frequency_ghz=866.8)
    assert channel.noise_level("I") == pytest.approx(43.2 * per_kjy, rel=1e-12)
    assert channel.unknown_noise == ""


def test_fields_whose_level_is_not_known_are_named():
    assert Channel("30", 28.4, 75.0, "IQU", 150.0, np.nan).unknown_noise == "QU"
    assert Channel("30", 28.4, 75.0, "I", np.nan, np.nan).unknown_noise == "I"


@pytest.mark.parametrize(("temperature", "brightness"), [(1.0, 2.0), (np.nan, -2.0)])
def test_a_level_is_stated_once(temperature, brightness):
    with pytest.raises(
        ValueError, match=r"channel 857: noise level -?2\.0 kJy/sr arcmin must not be negative"
    ):
        Channel("857", 866.8, 20.6, "I", temperature, noise_brightness_kjy_sr_arcmin=brightness)
