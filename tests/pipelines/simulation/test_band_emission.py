"""Every preset of PySM in delta and tabulated bandpasses, on small files in PySM's formats."""

from dataclasses import replace

import healpy as hp
import numpy as np
import pysm3
import pysm3.units as u
import pytest
from pysm3.sky import PRESET_MODELS

from cmbml.pipelines.simulation.band_emission import band_emission
from cmbml.pipelines.simulation.compiled import keep_compiled
from cmbml.pipelines.simulation.embedded_sky import embedded_templates
from cmbml.pipelines.simulation.pysm_presets import (
    draws,
    pysm_components,
    redrawn_component,
    refusal,
)
from cmbml.pipelines.simulation.sky_components import component_emission, embedded_components
from cmbml.science.bandpasses import Bandpass, band_average, band_quadrature
from cmbml.science.instrument import Channel
from cmbml.science.units import unit_factor
from tests.pipelines.simulation.pysm_files import NSIDE, write_templates

# PySM looks for Q and U in maps of I alone, and leaves these files to be closed when they are forgotten.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

keep_compiled()

USABLE = tuple(preset for preset in PRESET_MODELS if not refusal(preset, delta=False))
CONTINUOUS = tuple(preset for preset in USABLE if not refusal(preset, delta=True))
DRAWN = ("d6", "d11", "s6")


def delta(frequency_ghz: float, stokes: str = "IQU") -> Channel:
    return Channel(str(int(frequency_ghz)), frequency_ghz, 0.0, stokes)


def tabulated(low: float, high: float, n: int = 5) -> Channel:
    frequencies = tuple(np.linspace(low, high, n).tolist())
    weights = tuple(np.random.default_rng(n).uniform(0.5, 1, n).tolist())
    return replace(delta((low + high) / 2), bandpass=Bandpass(frequencies, weights))


BAND = tabulated(215.0, 247.0)  # with the line of CO at 230.5 GHz


def agree(found: np.ndarray, expected: np.ndarray, **tolerance: float) -> None:
    """Compare maps of which either may leave out Q and U that are zero."""
    fields = min(len(found), len(expected))
    np.testing.assert_allclose(found[:fields], expected[:fields], **tolerance)
    assert not found[fields:].any() and not expected[fields:].any()


def _marked(preset: str):
    """Mark presets whose classes numba compiles for seconds where it has not kept them."""
    compiled_alone = ("a2", "cib1", "d12", "rg2", "s7")
    return pytest.param(preset, marks=pytest.mark.slow) if preset in compiled_alone else preset


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Return a function that builds a preset from small files."""

    def from_files(preset: str, seed: int = 1):
        write_templates(tmp_path, preset)
        monkeypatch.setenv("PYSM_LOCAL_DATA", str(tmp_path))
        return pysm_components([preset], NSIDE, seed=seed)[preset]

    return from_files


# ---- Presets -------------------------------------------------------------------------------


def test_all_presets_but_maps_of_the_cmb_can_take_part():
    assert set(PRESET_MODELS) - set(USABLE) == {"c1", "c2", "c3", "c4"}
    assert set(USABLE) - set(CONTINUOUS) == {"co1", "co2", "co3"}
    assert tuple(preset for preset in PRESET_MODELS if draws(preset)) == DRAWN


@pytest.mark.parametrize("preset", [_marked(preset) for preset in USABLE])
def test_every_preset_emits_in_a_band_what_it_emits_at_its_frequencies(build, preset):
    """Its band average is the sum over the frequencies; emission in lines has none between them."""
    model = build(preset)
    found = band_emission(model, BAND)
    assert found.shape in ((1, 12 * NSIDE**2), (3, 12 * NSIDE**2))
    assert np.isfinite(found).all() and found[0].any()
    if preset in CONTINUOUS:
        # single-frequency emission in uK_RJ from that in uK_CMB
        single = [
            band_emission(model, delta(ghz)) * unit_factor("uK_CMB", "uK_RJ", frequency_ghz=ghz)
            for ghz in BAND.bandpass.frequencies_ghz
        ]
        expected = sum(factor * sky for factor, sky in zip(band_quadrature(BAND)[1], single, strict=True))
        agree(found, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("preset", ["d1", "d8", "s1", "s7", "a2", "f1", "cib1", "tsz1", "rg2", "dip2"])
def test_a_narrow_band_emits_as_its_centre(build, preset):
    model = build(preset)
    narrow = tabulated(225.0 * (1 - 1e-4), 225.0 * (1 + 1e-4))
    narrow = replace(narrow, bandpass=replace(narrow.bandpass, weights=(1.0,) * 5))
    agree(band_emission(model, narrow), band_emission(model, delta(225.0)), rtol=1e-5)


@pytest.mark.parametrize("preset", ["co1", "co2"])
def test_lines_emit_by_the_weight_of_the_band_at_their_frequency(build, preset):
    model = build(preset)
    inside, outside = band_emission(model, BAND), band_emission(model, tabulated(150.0, 180.0))
    assert not outside.any()
    steps, band = BAND.bandpass.steps_ghz, BAND.bandpass
    response = np.array(band.weights) * np.array(band.frequencies_ghz) ** 2
    at_line = np.interp(230.538, band.frequencies_ghz, response / np.sum(steps * response))
    kelvin = (model.planck_templatemap["21"].value * 1e6) * unit_factor(
        "uK_CMB", "uK_RJ", frequency_ghz=230.538
    )
    np.testing.assert_allclose(inside[0], kelvin * at_line * band_average(BAND, lambda _: 1.0), rtol=1e-5)
    with pytest.raises(
        ValueError, match="channel 230: COLines emits in lines, which a delta bandpass never meets"
    ):
        band_emission(model, delta(230.538))


@pytest.mark.parametrize(
    ("preset", "channel", "message"),
    [
        (
            "cib1",
            delta(10.0),
            "channel 10: reaches from 10 to 10 GHz, but the maps of WebSkyCIB from 17 to 1080",
        ),
        (
            "rg1",
            tabulated(900.0, 1100.0),
            "channel 1000: reaches from 900 to 1100 GHz, .*WebSkyRadioGalaxies",
        ),
        (
            "rg3",
            tabulated(900.0, 1100.0),
            "channel 1000: .* the maps of InterpolatingComponent from 1 to 1000 GHz",
        ),
    ],
)
def test_a_channel_beyond_a_table_is_an_error_and_not_empty(build, preset, channel, message):
    with pytest.raises(ValueError, match=message):
        band_emission(build(preset), channel)


def test_maps_of_a_table_are_not_kept(build):
    model = build("cib1")
    band_emission(model, BAND)
    assert len(model.cached_maps) == 0


def test_the_beam_that_maps_come_with_is_undone(build):
    model = build("rg3")
    model.pre_applied_beam = {"2048": 600.0}  # wide enough to see at this nside
    there = model.get_emission(100 * u.GHz, fwhm=600 * u.arcmin).to_value(u.uK_RJ)
    lmax = 2 * NSIDE
    sharp = hp.map2alm(band_emission(model, delta(100.0)), lmax=lmax)
    blurred = hp.map2alm(there * unit_factor("uK_RJ", "uK_CMB", frequency_ghz=100.0), lmax=lmax)
    expected = hp.almxfl(sharp[0], hp.gauss_beam(np.radians(10), lmax))
    np.testing.assert_allclose(expected, blurred[0], atol=1e-3 * np.abs(blurred[0]).max())


def test_polarisation_is_right_at_the_reference_frequency_of_intensity(build):
    model = build("d1")  # 545 GHz for I, 353 GHz for Q and U
    at, beside = (band_emission(model, delta(ghz)) for ghz in (545.0, 545.0 * (1 + 1e-9)))
    np.testing.assert_allclose(at, beside, rtol=1e-7)


@pytest.mark.parametrize("name", ["dust", "synchrotron", "free_free", "ame"])
def test_the_embedded_sky_is_integrated_over_bands(name):
    model = embedded_components(embedded_templates(NSIDE, 1))[name]
    found = component_emission(model, BAND, n_stokes=3)
    expected = sum(
        factor * np.atleast_2d(model.get_emission(ghz * u.GHz).to_value(u.uK_RJ))
        for ghz, factor in zip(*band_quadrature(BAND), strict=True)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max())
    assert not np.allclose(found[0], component_emission(model, delta(231.0), n_stokes=1)[0], rtol=1e-3)


def test_several_models_add_up(build):
    dust, free_free = build("d1"), build("f1")
    found = band_emission(pysm3.Sky(component_objects=[free_free, dust]), BAND)
    expected = band_emission(dust, BAND)
    expected[0] += band_emission(free_free, BAND)[0]
    np.testing.assert_array_equal(found, expected)


# ---- Presets that draw ------------------------------------------------------------------------


@pytest.mark.parametrize("preset", DRAWN)
def test_draws_are_the_same_again_and_others_for_another_seed(build, preset):
    first, again, other = (band_emission(build(preset, seed), delta(100.0)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first[0], other[0], rtol=1e-3)
    assert not np.allclose(first[1:], other[1:], rtol=1e-3)


@pytest.mark.parametrize("preset", DRAWN)
def test_drawing_again_is_building_from_that_seed(build, preset):
    model = build(preset, 1)
    before = band_emission(model, BAND)
    again = band_emission(redrawn_component(preset, model, seed=2), BAND)
    np.testing.assert_array_equal(again, band_emission(build(preset, 2), BAND))
    np.testing.assert_array_equal(before, band_emission(model, BAND))


@pytest.mark.parametrize("preset", ["d5", "d6", "d11", "s6", "rg2"])
def test_numpys_global_random_state_is_left_alone_and_not_used(build, preset):
    np.random.seed(11)  # noqa: NPY002
    expected = np.random.get_state()[1].copy()  # noqa: NPY002
    model = build(preset)
    first = band_emission(model, delta(100.0))
    np.testing.assert_array_equal(np.random.get_state()[1], expected)  # noqa: NPY002
    np.random.seed(12)  # noqa: NPY002
    np.testing.assert_array_equal(band_emission(build(preset), delta(100.0)), first)


def test_small_scales_of_two_seeds_are_independent(build):
    """Their large scales are those of the templates, up to multipole 8; what is drawn lies above."""
    skies = [np.log(build("s6", seed).I_ref.value) for seed in (1, 2)]
    mean = np.mean(skies, axis=0)
    one, other = (sky - mean for sky in skies)
    assert np.std(one) > 0.01
    np.testing.assert_allclose(one, -other)


def test_decorrelated_dust_is_dust_times_a_function_of_frequency(build):
    model = build("d6")
    plain = pysm3.ModifiedBlackBody.get_emission(model, 217 * u.GHz).to_value(u.uK_RJ)
    found = model.get_emission(217 * u.GHz).to_value(u.uK_RJ)
    np.testing.assert_allclose(found, model.factors(217.0) * plain)
    np.testing.assert_allclose(model.factors(545.0)[0], 1.0, rtol=1e-12)
    np.testing.assert_allclose(model.factors(353.0)[1:], 1.0, rtol=1e-12)
    with pytest.raises(ValueError, match="DrawnDecorrelation: emission at one frequency at a time"):
        model.get_emission([217, 218] * u.GHz)


def test_decorrelation_has_pysms_mean_and_covariance(build):
    """Over 4000 draws: means to 4 sd / sqrt(4000), covariances to 4 sd^2 sqrt(2 / 4000)."""
    model = build("d6")
    frequencies = (30.0, 100.0, 217.0)
    draws = []
    for seed in range(4000):
        model.draw(seed)
        draws.append([model.factors(ghz)[0, 0] for ghz in frequencies])
    root, mean = pysm3.models.dust.get_decorrelation_matrix(
        model.freq_ref_I, np.array(frequencies) * u.GHz, model.correlation_length
    )
    expected = root @ root.T
    sd = np.sqrt(np.diag(expected))
    assert np.all(np.abs(np.mean(draws, axis=0) - mean[:, 0]) < 4 * sd / np.sqrt(4000))
    found = np.cov(np.transpose(draws))
    assert np.all(np.abs(found - expected) < 4 * np.outer(sd, sd) * np.sqrt(2 / 4000))
