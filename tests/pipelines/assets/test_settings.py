import pytest
from pydantic import ValidationError

from cmbml.pipelines.assets.catalogue import GROUPS, PLANCK_CHANNELS
from cmbml.pipelines.assets.settings import AssetSettings, number_list

GIVEN = {
    "fetch": [],
    "channels": "all",
    "noise_simulations": 3,
    "chains": ["lcdm"],
    "dataset_name": "I_128_1450",
    "dataset_simulations": "all",
    "mirror": "irsa",
    "retries": 1,
    "wait_seconds": 0.0,
    "timeout_seconds": 5.0,
    "verify": "quick",
    "dry_run": False,
}


def settings(**values) -> AssetSettings:
    return AssetSettings(**{**GIVEN, **values})


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        ([], ()),
        ("planck_nilc", ("planck_nilc",)),
        ("wmap_chains+planck_maps", ("planck_maps", "wmap_chains")),
        (["planck_theory", "planck_maps"], ("planck_maps", "planck_theory")),
        ("all", GROUPS),
    ],
)
def test_groups_are_a_list_or_a_text_for_the_command_line(value, groups):
    assert settings(fetch=value).fetch == groups


@pytest.mark.parametrize(
    ("value", "channels"),
    [
        ("all", PLANCK_CHANNELS),
        ("100-353", ("100", "143", "217", "353")),
        ("545+857", ("545", "857")),
        (353, ("353",)),
        (["30", 44], ("30", "44")),
        ("lfi", ("30", "44", "70")),
    ],
)
def test_channels_are_chosen_as_everywhere(value, channels):
    assert settings(channels=value).channels == channels


@pytest.mark.parametrize(
    ("value", "numbers"),
    [(3, (0, 1, 2)), ("7-9", (7, 8, 9)), ("5+1-2", (1, 2, 5)), ([4, 4, "6"], (4, 6)), ("7-7", (7,))],
)
def test_noise_simulations_are_a_number_of_them_or_their_numbers(value, numbers):
    assert settings(noise_simulations=value).noise_simulations == numbers


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fetch": "planck_map"}, "group of assets 'planck_map': not known; known are planck_maps"),
        ({"chains": "wcdm"}, "chain 'wcdm': not known; known are lcdm, mnu, or all"),
        ({"channels": 40}, "channels 40: no channel fits"),
        ({"channels": ""}, "channels"),
        ({"noise_simulations": 301}, "noise_simulations 301: give at least one number, from 0 to 299"),
        ({"noise_simulations": "298-300"}, "noise_simulations '298-300': give at least one number"),
        ({"noise_simulations": 0}, "noise_simulations 0: give at least one number"),
        ({"noise_simulations": "1-"}, "'1-': must be a number or a range such as 10-19"),
        ({"mirror": "nasa"}, "mirror 'nasa': must be esa, irsa, or an address with ://"),
        ({"dataset_name": "../up"}, "dataset_name"),
        ({"dataset_name": ".."}, "dataset_name"),
        ({"retries": -1}, "retries"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"verify": "never"}, "verify"),
        ({"speed": 1}, "speed"),
    ],
)
def test_what_cannot_be_is_named(values, message):
    with pytest.raises(ValidationError, match=message):
        settings(**values)


def test_numbers_are_numbers_or_ranges():
    with pytest.raises(ValueError, match="'x': must be a number or a range such as 10-19"):
        number_list(("x",))
