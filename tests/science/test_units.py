import numpy as np
import pysm3.units as pysm_units
import pytest
from scipy import constants

from cmbml.science.units import MAP_UNIT, Calibration, MapUnit, parse_unit, unit_factor

T_CMB = 2.7255


def intensity_per_kelvin_cmb(frequency_ghz):
    """dB/dT of a black body at T_CMB in Jy/sr per K: 2 h^2 nu^4 / (c^2 k T^2) e^x / (e^x - 1)^2."""
    nu = frequency_ghz * 1e9
    x = constants.h * nu / (constants.k * T_CMB)
    planck = 2 * constants.h**2 * nu**4 / (constants.c**2 * constants.k * T_CMB**2)
    return planck * np.exp(x) / np.expm1(x) ** 2 * 1e26


def intensity_per_kelvin_rj(frequency_ghz):
    """2 k nu^2 / c^2 in Jy/sr per K."""
    return 2 * constants.k * (frequency_ghz * 1e9) ** 2 / constants.c**2 * 1e26


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("K_CMB", ("K_CMB", "", 1)),
        ("Kcmb", ("K_CMB", "", 1)),
        ("K", ("K_CMB", "", 1)),
        ("uK", ("K_CMB", "u", 1)),
        ("uK_CMB", ("K_CMB", "u", 1)),
        ("µK_CMB", ("K_CMB", "u", 1)),
        ("μK_CMB", ("K_CMB", "u", 1)),
        ("mK", ("K_CMB", "m", 1)),
        (" uK_CMB ", ("K_CMB", "u", 1)),
        ("K_RJ", ("K_RJ", "", 1)),
        ("uK_RJ", ("K_RJ", "u", 1)),
        ("MJy/sr", ("Jy/sr", "M", 1)),
        ("MJY/SR", ("Jy/sr", "M", 1)),
        ("Mjy/sr", ("Jy/sr", "M", 1)),
        ("Jy/sr", ("Jy/sr", "", 1)),
        ("MJy / sr", ("Jy/sr", "M", 1)),
        ("Kcmb^2", ("K_CMB", "", 2)),
        ("(K_CMB)^2", ("K_CMB", "", 2)),
        ("K_CMB2", ("K_CMB", "", 2)),
        ("uK_CMB**2", ("K_CMB", "u", 2)),
        ("uK_CMB^1", ("K_CMB", "u", 1)),
        ("(Mjy/sr)^2", ("Jy/sr", "M", 2)),
        ("MJy2/sr2", ("Jy/sr", "M", 2)),
    ],
)
def test_every_published_spelling_is_read(text, expected):
    assert parse_unit(text) == MapUnit(*expected)


@pytest.mark.parametrize(
    "text", ["", "counts", "Jy/beam", "uK_CMB^3", "K_CMB/sr", "xK_CMB", "1e-6 K_CMB", "K_CMB K"]
)
def test_another_unit_is_refused(text):
    with pytest.raises(ValueError, match=r"not a unit of a sky map; known are K_CMB, K_RJ"):
        parse_unit(text)


@pytest.mark.parametrize("text", ["uK_CMB", "uK_CMB2", "K_RJ", "mK_RJ2", "MJy/sr", "MJy2/sr2", "Jy2/sr2"])
def test_the_spelling_of_a_unit_is_read_back(text):
    assert str(parse_unit(text)) == text
    assert parse_unit(str(parse_unit(text))) == parse_unit(text)


def test_a_map_unit_is_spelt_as_inside_the_code():
    assert str(parse_unit("µK")) == MAP_UNIT


@pytest.mark.parametrize(
    ("unit", "to", "factor"),
    [
        ("K_CMB", "uK_CMB", 1e6),
        ("uK_CMB", "K_CMB", 1e-6),
        ("mK", "uK_CMB", 1e3),
        ("K_CMB^2", "uK_CMB2", 1e12),
        ("MJy/sr", "Jy/sr", 1e6),
        ("(MJy/sr)^2", "Jy2/sr2", 1e12),
        ("uK_CMB", "uK_CMB", 1.0),
    ],
)
def test_prefixes_need_no_frequency(unit, to, factor):
    assert unit_factor(unit, to) == pytest.approx(factor, rel=1e-14)


@pytest.mark.parametrize("frequency", [28.4, 100.89, 353.0, 545.0, 857.0])
def test_brightness_is_the_derivative_of_the_black_body(frequency):
    expected = intensity_per_kelvin_cmb(frequency) / 1e6
    assert unit_factor("K_CMB", "MJy/sr", frequency_ghz=frequency) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("frequency", [28.4, 100.89, 353.0, 545.0, 857.0])
def test_rayleigh_jeans_temperature_is_the_long_wave_limit(frequency):
    expected = intensity_per_kelvin_rj(frequency) / 1e6
    assert unit_factor("K_RJ", "MJy/sr", frequency_ghz=frequency) == pytest.approx(expected, rel=1e-8)


def test_factors_by_hand():
    # k T / h = 56.790 GHz. At 545 GHz x = 9.5967:
    # x^2 e^x / (e^x - 1)^2 = 92.097 / 14717 x 1.000136 = 6.259e-3,
    # times 2 k nu^2 / c^2 = 9125.7 MJy/sr per K_RJ.
    assert unit_factor("K_CMB", "K_RJ", frequency_ghz=545) == pytest.approx(6.259e-3, rel=1e-4)
    assert unit_factor("K_CMB", "MJy/sr", frequency_ghz=545) == pytest.approx(57.12, rel=1e-4)
    # At 143 GHz x = 2.5180: 6.3405 x 12.404 / 11.404^2 = 0.6047.
    assert unit_factor("K_CMB", "K_RJ", frequency_ghz=143) == pytest.approx(0.6047, rel=1e-4)


@pytest.mark.parametrize("frequency", [30.0, 143.0, 545.0, 857.0])
@pytest.mark.parametrize(("unit", "to"), [("K_CMB", "K_RJ"), ("uK_RJ", "uK_CMB"), ("MJy/sr", "uK_CMB")])
def test_factors_agree_with_pysm(frequency, unit, to):
    quantity = pysm_units.Quantity(1, pysm_units.Unit(unit))
    expected = quantity.to_value(
        pysm_units.Unit(to), equivalencies=pysm_units.cmb_equivalencies(frequency * pysm_units.GHz)
    )
    assert unit_factor(unit, to, frequency_ghz=frequency) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("unit", "to"), [("K_CMB", "K_RJ"), ("MJy/sr", "uK_CMB"), ("uK_RJ", "Jy/sr")])
def test_there_and_back_is_the_identity(unit, to):
    there, back = unit_factor(unit, to, frequency_ghz=217), unit_factor(to, unit, frequency_ghz=217)
    assert there * back == pytest.approx(1, rel=1e-13)


def test_the_factor_of_a_variance_is_squared():
    once = unit_factor("MJy/sr", "uK_CMB", frequency_ghz=353)
    assert unit_factor("(MJy/sr)^2", "uK_CMB2", frequency_ghz=353) == pytest.approx(once**2, rel=1e-13)


def test_a_variance_cannot_become_a_map():
    with pytest.raises(
        ValueError, match=r"unit K_CMB\^2: cannot become uK_CMB, one is a variance and one is not"
    ):
        unit_factor("K_CMB^2", "uK_CMB")


def test_a_conversion_that_depends_on_frequency_asks_for_it():
    with pytest.raises(ValueError, match=r"unit MJy/sr: becoming uK_CMB needs the frequency of the channel"):
        unit_factor("MJy/sr", "uK_CMB")


def test_the_response_of_the_whole_band_turns_surface_brightness_into_temperature():
    known, unknown = Calibration(862.7, 2.27), Calibration(862.7)
    assert known.factor("MJy/sr", "K_CMB") == pytest.approx(1 / 2.27)
    assert known.factor("K_CMB", "Jy/sr") == pytest.approx(2.27e6)
    assert known.factor("MJy2/sr2", "uK_CMB2") == pytest.approx((1e6 / 2.27) ** 2)
    assert known.factor("K_CMB", "uK_CMB") == pytest.approx(1e6)
    assert known.factor("K_RJ", "K_CMB") == unit_factor("K_RJ", "K_CMB", frequency_ghz=862.7)
    assert unknown.factor("MJy/sr", "K_CMB") == unit_factor("MJy/sr", "K_CMB", frequency_ghz=862.7)
    with pytest.raises(ValueError, match="one is a variance and one is not"):
        known.factor("MJy2/sr2", "K_CMB")
