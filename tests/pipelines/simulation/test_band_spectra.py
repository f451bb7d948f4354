"""The polynomial over index and temperature against PySM's own sum over the band in every pixel."""

from dataclasses import replace

import numpy as np
import pysm3
import pysm3.units as u
import pytest

from cmbml.pipelines.simulation import band_spectra
from cmbml.pipelines.simulation.band_emission import band_emission
from cmbml.pipelines.simulation.band_spectra import smooth_band_emission
from cmbml.pipelines.simulation.compiled import keep_compiled
from cmbml.pipelines.simulation.embedded_sky import embedded_templates
from cmbml.pipelines.simulation.sky_components import embedded_components
from cmbml.science.bandpasses import Bandpass, band_factor
from cmbml.science.instrument import Channel

NPIX = 48
RNG = np.random.default_rng(4)
keep_compiled()
MAPS = {f"map_{field}": RNG.uniform(1, 2, NPIX).astype(np.float32) * u.uK_RJ for field in "IQU"}
REFERENCES = {"freq_ref_I": "545 GHz", "freq_ref_P": "353 GHz"}


def channel(centre: float) -> Channel:
    frequencies = centre * (1 + np.linspace(-0.165, 0.165, 17))
    weights = np.linspace(0.5, 1.0, 17) ** 2
    band = Bandpass(tuple(frequencies.tolist()), tuple(weights.tolist()))
    return Channel(str(int(centre)), centre, 0.0, "IQU", bandpass=band)


def dust(index, temperature, **options):
    return pysm3.ModifiedBlackBody(
        **(MAPS | options),
        **REFERENCES,
        map_mbb_index=index,
        map_mbb_temperature=temperature,
        unit_mbb_temperature="K",
        nside=2,
    )


def power_law(index, **options):
    return pysm3.PowerLaw(**(MAPS | options), **REFERENCES, map_pl_index=index, nside=2)


def by_pysm(model, sky: Channel) -> np.ndarray:
    band = sky.bandpass
    emission = model.get_emission(np.array(band.frequencies_ghz) * u.GHz, weights=np.array(band.weights))
    return band_factor(sky) * emission.to_value(u.uK_RJ)


def uniform(low: float, high: float) -> np.ndarray:
    values = RNG.uniform(low, high, NPIX)
    values[:2] = low, high
    return values.astype(np.float32)


def everywhere(value) -> np.ndarray:
    """A parameter as a map; PySM is compiled for maps anyway."""
    return np.broadcast_to(np.asarray(value, np.float32), NPIX).copy()


@pytest.mark.parametrize("centre", [28.4, 143.0, 353.0, 866.8])
@pytest.mark.parametrize("index", [1.5, uniform(0.8, 2.5)])
@pytest.mark.parametrize("temperature", [20.0, uniform(8, 60)])
def test_black_bodies_average_as_pysm_integrates_them(centre, index, temperature):
    sky = channel(centre)
    expected = by_pysm(dust(everywhere(index), everywhere(temperature)), sky)
    np.testing.assert_allclose(smooth_band_emission(dust(index, temperature), sky), expected, rtol=2e-7)


@pytest.mark.parametrize("centre", [28.4, 143.0, 866.8])
@pytest.mark.parametrize("index", [-3.0, uniform(-4.5, -1.5) * u.one])
def test_power_laws_average_as_pysm_integrates_them(centre, index):
    sky = channel(centre)
    expected = by_pysm(power_law(everywhere(index) * u.one), sky)
    np.testing.assert_allclose(smooth_band_emission(power_law(index), sky), expected, rtol=2e-7)


def test_intensity_alone_gives_intensity_alone():
    model = power_law(-2.14, map_Q=None, map_U=None, has_polarization=False)
    found = smooth_band_emission(model, channel(143.0))
    assert found.shape == (1, NPIX)
    np.testing.assert_allclose(found, by_pysm(model, channel(143.0))[:1], rtol=1e-7)


@pytest.mark.parametrize("name", ["dust", "synchrotron", "free_free"])
def test_the_embedded_sky_takes_this_way(name):
    model = embedded_components(embedded_templates(8, 3))[name]
    for centre in (28.4, 866.8):
        found, expected = smooth_band_emission(model, channel(centre)), by_pysm(model, channel(centre))
        np.testing.assert_allclose(found, expected[: len(found)], rtol=2e-7)


def test_pixels_may_come_in_parts(monkeypatch):
    model, sky = dust(uniform(1.3, 1.7), 20.0), channel(353.0)
    whole = smooth_band_emission(model, sky)
    monkeypatch.setattr(band_spectra, "_CHUNK", 7)
    np.testing.assert_array_equal(smooth_band_emission(model, sky), whole)


@pytest.mark.parametrize(
    "model",
    [
        dust(uniform(1.3, 1.7), uniform(0.2, 1000)),  # steeper than any polynomial in between
        dust(uniform(1.3, 1.7), uniform(-1, 20)),
        dust(np.append(uniform(1.3, 1.7)[1:], np.nan), 20.0),
        pysm3.CurvedPowerLaw(
            **MAPS, **REFERENCES, map_pl_index=-3.1, nside=2, spectral_curvature=-0.05, freq_curve="23 GHz"
        ),
        pysm3.models.DecorrelatedModifiedBlackBody(
            **MAPS,
            **REFERENCES,
            map_mbb_index=1.5,
            map_mbb_temperature=20,
            unit_mbb_temperature="K",
            nside=2,
            correlation_length=5.0,
        ),
    ],
    ids=["wide", "negative", "nan", "curved", "decorrelated"],
)
def test_what_is_no_such_polynomial_is_left_to_pysm(model):
    assert smooth_band_emission(model, channel(866.8)) is None


def test_what_is_left_to_pysm_is_still_computed():
    model, sky = dust(uniform(1.3, 1.7), uniform(0.2, 1000)), channel(866.8)
    np.testing.assert_allclose(band_emission(model, sky), by_pysm(model, sky), rtol=1e-12)


def test_a_delta_does_not_come_here():
    """The same model in a delta bandpass is PySM's own emission to the last bit."""
    model, sky = dust(everywhere(1.5), everywhere(20.0)), replace(channel(353.0), bandpass=None)
    expected = model.get_emission(353 * u.GHz).to_value(u.uK_RJ) * band_factor(sky)
    np.testing.assert_array_equal(band_emission(model, sky), expected)
