"""Skies from PySM's presets, over bands and with small scales that are drawn."""

from dataclasses import replace

import numpy as np
import pytest

from cmbml.pipelines.simulation import foregrounds
from cmbml.pipelines.simulation.foreground_parameters import draw_parameters
from cmbml.pipelines.simulation.foregrounds import fixed_foregrounds, foreground_alm, is_scaled
from cmbml.pipelines.simulation.observe import foreground_alm as emission_alm
from cmbml.pipelines.simulation.pysm_presets import pysm_components
from cmbml.pipelines.simulation.settings import Extragalactic, ForegroundSettings, Maps, Normal, Variation
from cmbml.pipelines.simulation.sky_components import SpectralOffsets, component_emission
from cmbml.pipelines.simulation.spectral_offsets import with_offsets
from cmbml.science.bandpasses import Bandpass
from cmbml.science.instrument import Channel, Instrument
from tests.pipelines.simulation.pysm_files import NSIDE, write_templates

# PySM looks for Q and U in maps of I alone, and leaves these files to be closed when they are forgotten.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

LMAX = 8
MAPS = Maps(nside=NSIDE, lmax=LMAX)
DELTAS = Instrument((Channel("100", 100.0, 0, "IQU"), Channel("545", 550.0, 0, "I")))
BANDS = DELTAS.with_bandpasses(
    {
        "100": Bandpass((85.0, 100.0, 115.0), (1.0, 1.0, 0.5)),
        "545": Bandpass((450.0, 550.0, 650.0), (0.2, 1, 1)),
    }
)
STEADY = Variation(
    morphology=True,
    brightness=0.1,
    dust_index=0.04,
    dust_temperature_kelvin=0.0,
    synchrotron_index=0.06,
    free_free_index=0.0,
)
WARMING = STEADY.model_copy(update={"dust_temperature_kelvin": 1.0})
NO_INDEX = STEADY.model_copy(update={"dust_index": 0.0})


def settings(*presets: str, variation=STEADY, vary=True) -> ForegroundSettings:
    return ForegroundSettings(
        source="pysm",
        presets=list(presets),
        nside=NSIDE,
        vary=vary,
        variation=variation,
        extragalactic=Extragalactic(cib=False, radio=False, radio_flux_cut_jy=0.3),
    )


@pytest.fixture
def templates(tmp_path, monkeypatch):
    """Return a function that writes the small files of presets where PySM finds them."""
    monkeypatch.setenv("PYSM_LOCAL_DATA", str(tmp_path))
    foregrounds._kept_presets.cache_clear()  # they are those of another folder
    return lambda *presets: [write_templates(tmp_path, preset) for preset in presets]


def sky(chosen: ForegroundSettings, instrument: Instrument, seed: int) -> np.ndarray:
    shared = fixed_foregrounds(chosen, instrument, MAPS)
    parameters = draw_parameters(seed, chosen.variation if chosen.vary else None)
    return foreground_alm(parameters, shared, instrument=instrument, settings=chosen, lmax=LMAX)


@pytest.mark.parametrize(
    ("preset", "instrument", "variation", "expected"),
    [
        ("d1", DELTAS, STEADY, True),
        ("d1", DELTAS, WARMING, False),  # a temperature is no factor
        ("d1", BANDS, STEADY, False),  # nor is an index in a band
        ("d1", BANDS, NO_INDEX, True),
        ("s1", BANDS, NO_INDEX, False),
        ("f1", BANDS, STEADY, True),
        ("cib1", BANDS, WARMING, True),
        ("d11", DELTAS, NO_INDEX, False),
        ("s6", DELTAS, STEADY, False),
        ("d6", DELTAS, NO_INDEX, False),
    ],
)
def test_simulations_differ_by_factors_where_these_are_exact(preset, instrument, variation, expected):
    over_bands = instrument.has_bandpasses
    assert is_scaled(preset, settings(preset, variation=variation), over_bands=over_bands) is expected
    assert is_scaled(preset, settings(preset, variation=variation, vary=False), over_bands=over_bands)


def test_what_is_computed_anew_is_not_shared(templates):
    templates("d1", "s1", "f1")
    chosen = settings("d1", "s1", "f1")
    assert fixed_foregrounds(chosen, DELTAS, MAPS)["components"].tolist() == ["d1", "s1", "f1"]
    assert fixed_foregrounds(chosen, BANDS, MAPS)["components"].tolist() == ["f1"]


@pytest.mark.parametrize("instrument", [DELTAS, BANDS])
@pytest.mark.parametrize("variation", [STEADY, WARMING])
def test_a_varied_sky_is_the_emission_of_shifted_models(templates, instrument, variation):
    """Whether by factors or computed anew, against every offset applied to PySM's own parameters."""
    presets = ("d1", "s1", "f1", "cib1", "d12", "d4")
    templates(*presets)
    found = sky(settings(*presets, variation=variation), instrument, seed=5)
    offsets = draw_parameters(5, variation)["offsets"]
    expected = np.zeros_like(found, np.complex128)
    for name, model in pysm_components(presets, NSIDE, seed=1).items():
        kind = {"d": "dust", "s": "synchrotron", "f": "free_free"}.get(name[0])
        offset = SpectralOffsets(**offsets.get(kind, {}))
        for place, channel in enumerate(instrument):
            emission = component_emission(with_offsets(model, offset), channel, n_stokes=3)
            expected[place] += offset.brightness * emission_alm(emission, LMAX)
    np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())


def test_bands_change_the_sky_by_more_than_their_centres(templates):
    templates("d1")
    fixed = settings("d1", vary=False)
    delta, band = (np.abs(sky(fixed, instrument, 1)[1, 0]) for instrument in (DELTAS, BANDS))
    assert np.median(band / delta) != pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("preset", ["d6", "d11", "s6"])
def test_small_scales_are_drawn_for_each_simulation_where_these_vary(templates, preset):
    templates(preset)
    still = NO_INDEX.model_copy(update={"brightness": 0.0, "synchrotron_index": 0.0})
    varied = settings(preset, variation=still)
    first, again, other = (sky(varied, DELTAS, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3 * np.abs(first).max()
    fixed = settings(preset, vary=False)
    np.testing.assert_array_equal(sky(fixed, DELTAS, 1), sky(fixed, DELTAS, 2))


def test_a_subset_of_channels_sees_the_same_decorrelated_dust(templates):
    """The loss of correlation is one function of frequency, not a draw per channel."""
    templates("d6")
    chosen = settings("d6", variation=NO_INDEX)
    both, alone = sky(chosen, DELTAS, 3), sky(chosen, DELTAS.select(("545",)), 3)
    np.testing.assert_array_equal(alone[0], both[1, :1])


@pytest.mark.parametrize(
    ("preset", "variation", "message"),
    [
        ("d8", WARMING, r"HensleyDraine2017: index offset 1, but its spectrum is no power law"),
        (
            "d8",
            NO_INDEX.model_copy(update={"dust_temperature_kelvin": 1.0}),
            "has no temperature that could vary",
        ),
    ],
)
def test_a_parameter_that_a_component_lacks_cannot_vary(templates, preset, variation, message):
    templates(preset)
    with pytest.raises(ValueError, match=message):
        fixed_foregrounds(settings(preset, variation=variation), DELTAS, MAPS)


@pytest.mark.parametrize("instrument", [DELTAS, BANDS])
def test_a_value_that_a_preset_cannot_have_is_refused_before_any_sky(templates, instrument):
    templates("d4")
    drawn = Normal(distribution="normal", quantity="value", mean=1.5, sd=0.1)
    chosen = settings("d4", variation=STEADY.model_copy(update={"dust_index": drawn}))
    with pytest.raises(ValueError, match=r"d4: its parts differ in index"):
        fixed_foregrounds(chosen, instrument, MAPS)


def test_only_presets_that_are_computed_anew_are_built_again(templates, monkeypatch):
    """A preset that is scaled needs no templates for a simulation, even if its index is drawn itself."""
    presets = ("d1", "s1", "f1")
    templates(*presets)
    built = []
    build = foregrounds._preset_model
    monkeypatch.setattr(
        foregrounds, "_preset_model", lambda name, nside: (built.append(name), build(name, nside))[1]
    )
    drawn = Normal(distribution="normal", quantity="value", mean=-3.1, sd=0.1)
    chosen = settings(*presets, variation=WARMING.model_copy(update={"synchrotron_index": drawn}))
    shared = fixed_foregrounds(chosen, DELTAS, MAPS)
    assert (shared["components"].tolist(), sorted(built)) == (["s1", "f1"], ["d1", "f1", "s1"])
    built.clear()
    for seed in (1, 2):
        parameters = draw_parameters(seed, chosen.variation)
        foreground_alm(parameters, shared, instrument=DELTAS, settings=chosen, lmax=LMAX)
    assert built == ["d1"]


def test_an_index_that_a_component_lacks_cannot_be_shifted(templates):
    templates("a1")
    model = pysm_components(["a1"], NSIDE, seed=1)["a1"]
    with pytest.raises(ValueError, match=r"SpDust: index offset 0\.1, but its spectrum is no power law"):
        with_offsets(model, SpectralOffsets(index=0.1))


def test_offsets_leave_the_model_as_it_is(templates):
    templates("d1")
    model = pysm_components(["d1"], NSIDE, seed=1)["d1"]
    channel = replace(DELTAS["100"], stokes="I")
    before = component_emission(model, channel, n_stokes=1)
    assert with_offsets(model, SpectralOffsets(brightness=2.0)) is model
    with_offsets(model, SpectralOffsets(index=0.1, temperature=1.0))
    np.testing.assert_array_equal(component_emission(model, channel, n_stokes=1), before)
