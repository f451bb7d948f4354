"""What a channel reads of a spectrum, against direct integrals and PySM's own conversion."""

from dataclasses import replace

import astropy.units as au
import numpy as np
import pysm3
import pysm3.units as u
import pytest
from astropy.modeling.models import BlackBody

from cmbml.science.bandpasses import (
    Bandpass,
    band_average,
    band_factor,
    band_quadrature,
    brightness_response,
)
from cmbml.science.instrument import Channel
from cmbml.science.units import unit_factor

RNG = np.random.default_rng(5)


def channel(centre=857.0, width=0.33, n=301, bandpass=True) -> Channel:
    frequencies = np.linspace(centre * (1 - width / 2), centre * (1 + width / 2), n)
    weights = RNG.uniform(0.5, 1.0, n)
    band = Bandpass(tuple(frequencies.tolist()), tuple(weights.tolist())) if bandpass else None
    return Channel(str(int(centre)), centre, 5.0, "I", bandpass=band)


def direct_uk_cmb(sky: Channel, brightness) -> float:
    """Integral of a surface brightness over a band, over that of 1 uK_CMB, by astropy."""
    frequencies = np.array(sky.bandpass.frequencies_ghz) * au.GHz
    weights = np.array(sky.bandpass.weights)
    kelvin = 2.7255 * au.K
    # dB/dT of the black body by a central difference, exact to 1e-8
    above, below = (BlackBody(kelvin * (1 + step))(frequencies) for step in (1e-5, -1e-5))
    per_kelvin = (above - below) / (2e-5 * kelvin)
    signal = np.trapezoid(weights * brightness(frequencies).to(au.MJy / au.sr), frequencies)
    calibration = np.trapezoid(weights * per_kelvin.to(au.MJy / au.sr / au.K), frequencies)
    return (signal / calibration).to_value(au.uK)


@pytest.mark.parametrize("centre", [30.0, 143.0, 353.0, 857.0])
def test_a_power_law_averages_to_its_integral_over_the_band(centre):
    sky = channel(centre)

    def brightness(frequency):
        kelvin_rj = 50e-6 * au.K * (frequency / (30 * au.GHz)).to_value(au.one) ** -3.1
        return kelvin_rj.to(au.MJy / au.sr, equivalencies=au.brightness_temperature(frequency))

    found = band_average(sky, lambda ghz: 50.0 * (ghz / 30) ** -3.1)
    assert found == pytest.approx(direct_uk_cmb(sky, brightness), rel=1e-7)


@pytest.mark.parametrize("centre", [100.0, 353.0, 857.0])
def test_a_modified_black_body_averages_to_its_integral_over_the_band(centre):
    sky = channel(centre)

    def brightness(frequency):
        return 1e-6 * (frequency / (353 * au.GHz)).to_value(au.one) ** 1.54 * BlackBody(20 * au.K)(frequency)

    def sed(ghz):
        frequency = ghz * au.GHz
        return brightness(frequency).to_value(au.uK, equivalencies=au.brightness_temperature(frequency))

    assert band_average(sky, sed) == pytest.approx(direct_uk_cmb(sky, brightness), rel=1e-7)


@pytest.mark.parametrize("centre", [28.4, 143.0, 857.0])
def test_the_cmb_reads_the_same_in_every_band(centre):
    for sky in (channel(centre), channel(centre, bandpass=False)):
        found = band_average(sky, lambda ghz: unit_factor("uK_CMB", "uK_RJ", frequency_ghz=ghz))
        assert found == pytest.approx(1.0, rel=1e-12)


def test_a_narrow_band_is_a_delta():
    """The difference falls with the square of the width."""
    delta = band_average(channel(353.0, bandpass=False), lambda ghz: (ghz / 353) ** 1.5)
    for width, tolerance in ((1e-2, 1e-4), (1e-3, 1e-6)):
        frequencies = 353.0 * (1 + np.linspace(-width / 2, width / 2, 11))
        narrow = replace(channel(353.0), bandpass=Bandpass(tuple(frequencies), (1.0,) * 11))
        found = band_average(narrow, lambda ghz: (ghz / 353) ** 1.5)
        assert found == pytest.approx(delta, rel=tolerance)
        assert found != delta


def test_the_factor_of_a_band_is_pysms():
    for sky in (channel(30.0), channel(143.0), channel(857.0)):
        band = sky.bandpass
        expected = pysm3.bandpass_unit_conversion(
            np.array(band.frequencies_ghz) * u.GHz, np.array(band.weights), u.uK_CMB
        )
        assert band_factor(sky) == pytest.approx(expected.value, rel=1e-6)  # PySM: 2.7255 K as well
    delta = channel(143.0, bandpass=False)
    assert band_factor(delta) == unit_factor("uK_RJ", "uK_CMB", frequency_ghz=143.0)


@pytest.mark.parametrize(
    ("centre", "width", "error"), [(143.0, 0.33, -0.017), (857.0, 0.25, 0.328), (857.0, 0.33, 0.602)]
)
def test_the_factor_at_the_centre_is_wrong_by_a_third_and_more_at_857_ghz(centre, width, error):
    """Why band averages are not converted at the centre frequency; top-hats of a quarter and a third."""
    frequencies = tuple((centre * (1 + np.linspace(-width / 2, width / 2, 201))).tolist())
    wide = Channel(str(int(centre)), centre, 5.0, "I", bandpass=Bandpass(frequencies, (1.0,) * 201))
    assert band_factor(replace(wide, bandpass=None)) / band_factor(wide) - 1 == pytest.approx(
        error, abs=0.001
    )


@pytest.mark.parametrize(("centre", "per_k"), [(555.2, 57.8), (866.8, 2.056)])
def test_the_brightness_of_the_cmb_is_quoted_for_a_spectrum_of_constant_nu_i_nu(centre, per_k):
    frequencies = np.linspace(centre * 0.835, centre * 1.165, 501)
    band = Bandpass(tuple(frequencies.tolist()), (1.0,) * 501)
    sky = Channel("857", centre, 5.0, "I", bandpass=band)
    constant = direct_uk_cmb(sky, lambda frequency: (centre * au.GHz / frequency) * au.MJy / au.sr)
    assert brightness_response(sky) == pytest.approx(1e6 / constant, rel=1e-7)
    assert brightness_response(sky) == pytest.approx(per_k, rel=2e-3)
    delta = replace(sky, bandpass=None)
    assert brightness_response(delta) == unit_factor("K_CMB", "MJy/sr", frequency_ghz=centre)


def test_only_the_ratios_of_weights_count():
    sky = channel(143.0)
    double = replace(
        sky, bandpass=replace(sky.bandpass, weights=tuple(2 * weight for weight in sky.bandpass.weights))
    )
    np.testing.assert_allclose(band_quadrature(double)[1], band_quadrature(sky)[1], rtol=1e-13)


def test_a_spectrum_may_have_a_value_per_source():
    sky, slopes = channel(143.0), np.array([-0.7, 0.0, 1.5])
    together = band_average(sky, lambda ghz: (ghz / 143) ** slopes)
    alone = [band_average(sky, lambda ghz, slope=slope: (ghz / 143) ** slope) for slope in slopes]
    np.testing.assert_allclose(together, alone, rtol=1e-14)


def test_weights_of_zero_ask_for_no_emission():
    frequencies, weights = (100.0, 143.0, 150.0, 200.0), (0.0, 1.0, 1.0, 0.0)
    sky = Channel("143", 143.0, 5.0, "I", bandpass=Bandpass(frequencies, weights))
    asked = []
    band_average(sky, lambda ghz: asked.append(ghz) or 1.0)
    assert asked == [143.0, 150.0]


@pytest.mark.parametrize(
    ("frequencies", "weights", "message"),
    [
        ((), (), "bandpass of 0 frequencies and 0 weights: needs at least two"),
        ((143.0,), (1.0,), "bandpass of 1 frequencies and 1 weights: needs at least two"),
        ((100.0, 143.0), (1.0,), "bandpass of 2 frequencies and 1 weights: needs at least two"),
        (
            (143.0, 100.0),
            (1.0, 1.0),
            "bandpass from 143 to 100 GHz: frequencies must be above 0 and ascending",
        ),
        (
            (100.0, 100.0),
            (1.0, 1.0),
            "bandpass from 100 to 100 GHz: frequencies must be above 0 and ascending",
        ),
        ((0.0, 100.0), (1.0, 1.0), "bandpass from 0 to 100 GHz: frequencies must be above 0 and ascending"),
        ((1.0, np.inf), (1.0, 1.0), "bandpass from 1 to inf GHz: frequencies must be above 0 and ascending"),
        (
            (100.0, 143.0),
            (1.0, -0.1),
            "bandpass from 100 to 143 GHz: weights must be finite and not negative",
        ),
        (
            (100.0, 143.0),
            (1.0, np.nan),
            "bandpass from 100 to 143 GHz: weights must be finite and not negative",
        ),
        (
            (100.0, 143.0),
            (0.0, 0.0),
            "bandpass from 100 to 143 GHz: weights must be finite .* one must be above 0",
        ),
    ],
)
def test_an_impossible_bandpass_is_an_error(frequencies, weights, message):
    with pytest.raises(ValueError, match=message):
        Bandpass(frequencies, weights)


def test_a_bandpass_of_another_channel_is_an_error():
    band = channel(857.0).bandpass
    with pytest.raises(
        ValueError, match=r"channel 143: bandpass from .* does not hold the centre frequency 143"
    ):
        Channel("143", 143.0, 7.0, "I", bandpass=band)
