"""Settings of the needlet ILC refuse what cannot be computed."""

import pytest
from pydantic import ValidationError

from cmbml.pipelines.pyilc.settings import NeedletILC

VALID = {
    "peaks": (10, 20, 33),
    "lmax": 32,
    "nside": 16,
    "fwhm_arcmin": 300.0,
    "bias_tolerance": 0.01,
    "beam_criterion": 1e-3,
    "taper_width": 0,
    "channels": "all",
    "transforms": "fast",
    "stokes": "I",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peaks": (20, 10, 33)}, r"peaks \(20, 10, 33\): must be multipoles of 1 or more that increase"),
        ({"peaks": (10, 20, 32)}, r"the last peak must be lmax \+ 1 = 33"),
        ({"lmax": 48, "peaks": (10, 49)}, r"lmax 48: must lie between 2 and 3 nside - 1 = 47"),
        ({"nside": 20}, r"nside 20: must be a power of two"),
        ({"fwhm_arcmin": 0}, "greater than 0"),
        ({"bias_tolerance": 0}, "greater than 0"),
        ({"beam_criterion": 1}, "less than 1"),
        ({"beam_criterion": 0}, "greater than 0"),
        ({"taper_width": -1}, "greater than or equal to 0"),
        ({"taper_width": 33}, r"taper_width 33: must not exceed lmax 32"),
        ({"channels": ("100",)}, "name at least 2 channels, each once"),
        ({"channels": ("100", "100")}, "name at least 2 channels, each once"),
        ({"channels": 100}, "Input should be"),
        ({"transforms": "quick"}, "'fast' or 'reference'"),
        ({"stokes": "QU"}, "'I' or 'IQU'"),
        ({"peak": (33,)}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_cannot_work_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        NeedletILC(**VALID | change)


@pytest.mark.parametrize("name", VALID)
def test_no_setting_has_a_default(name):
    with pytest.raises(ValidationError, match="Field required"):
        NeedletILC(**{key: value for key, value in VALID.items() if key != name})


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        NeedletILC(**VALID).lmax = 20


def test_lists_as_yaml_gives_them_are_taken():
    settings = NeedletILC(**VALID | {"peaks": [10, 20, 33], "channels": ["143", "100"]})
    assert settings.peaks == (10, 20, 33)
    assert settings.channels == ("143", "100")


@pytest.mark.parametrize("given", ["143+100", "143 + 100", [143, 100]])
def test_channels_may_be_joined_or_numbers_as_on_the_command_line(given):
    assert NeedletILC(**VALID | {"channels": given}).channels == ("143", "100")


def test_channels_are_found_in_the_order_of_the_maps():
    settings = NeedletILC(**VALID | {"channels": ("143", "44")})
    assert settings.channel_numbers(("30", "44", "70", "143")) == (1, 3)
    assert NeedletILC(**VALID).channel_numbers(("30", "44")) == (0, 1)


def test_a_channel_that_is_not_there_is_refused_by_name():
    with pytest.raises(ValueError, match=r"channels \['545'\]: not among the channels of the observations"):
        NeedletILC(**VALID | {"channels": ("143", "545")}).channel_numbers(("143", "217"))
