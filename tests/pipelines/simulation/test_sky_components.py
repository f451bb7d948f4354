"""Components are PySM's own models, their offsets are exact, and nothing is downloaded."""

from dataclasses import replace

import numpy as np
import pysm3
import pysm3.units as u
import pytest
from astropy.utils import data as astropy_data
from pysm3.utils import data as pysm_data

from cmbml.pipelines.simulation.embedded_sky import embedded_templates
from cmbml.pipelines.simulation.embedded_targets import AME_100_TO_30, FREE_FREE_INDEX
from cmbml.pipelines.simulation.pysm_presets import check_presets
from cmbml.pipelines.simulation.sky_components import (
    AME_PEAK_GHZ,
    SpectralOffsets,
    ame_emissivity,
    component_emission,
    embedded_components,
    offset_factor,
    pysm_components,
    with_temperature_offset,
)
from cmbml.science.instrument import Channel

NSIDE = 8
FREQUENCIES = (28.4, 100.0, 353.0, 545.0, 857.0)


@pytest.fixture(scope="module")
def templates():
    return embedded_templates(NSIDE, 1)


@pytest.fixture(scope="module")
def components(templates):
    return embedded_components(templates)


@pytest.fixture
def local_templates(shared_file, monkeypatch):
    """PySM finds the real templates, at nside 64."""
    monkeypatch.setenv("PYSM_LOCAL_DATA", str(shared_file("pysm_nside64")))


@pytest.fixture
def no_templates(tmp_path, monkeypatch):
    """Nothing is on this computer, and any attempt to download fails the test."""
    monkeypatch.delenv("PYSM_LOCAL_DATA", raising=False)
    monkeypatch.setattr(pysm_data, "PREDEFINED_DATA_FOLDERS", [])
    monkeypatch.chdir(tmp_path)

    def download(*args, **kwargs):
        raise AssertionError(f"download of {args}")

    monkeypatch.setattr(astropy_data, "_try_url_open", download)


def delta(frequency_ghz):
    """A channel with a delta bandpass."""
    return Channel(str(int(frequency_ghz)), frequency_ghz, 0.0, "IQU")


def in_rj(model, frequency_ghz):
    return model.get_emission(frequency_ghz * u.GHz).to_value(u.uK_RJ)


def two_frequencies():
    """A power law and a modified black body whose I and Q, U have different reference frequencies."""
    rng = np.random.default_rng(2)
    maps = {f"map_{field}": rng.uniform(1, 2, 48) * u.uK_RJ for field in "IQU"}
    power_law = pysm3.PowerLaw(
        **maps,
        freq_ref_I="408 MHz",
        freq_ref_P="23 GHz",
        map_pl_index=rng.normal(-3, 0.1, 48) * u.one,
        nside=2,
    )
    dust = pysm3.ModifiedBlackBody(
        **maps,
        freq_ref_I="545 GHz",
        freq_ref_P="353 GHz",
        map_mbb_index=rng.normal(1.5, 0.1, 48),
        map_mbb_temperature=rng.normal(20, 2, 48),
        unit_mbb_temperature="K",
        nside=2,
    )
    return {"power law": (power_law, "pl_index"), "modified black body": (dust, "mbb_index")}


# ---- Embedded components ------------------------------------------------------------


def test_at_their_reference_frequencies_components_are_their_templates(templates, components):
    assert np.allclose(in_rj(components["dust"], 353), templates.dust)
    assert np.allclose(in_rj(components["synchrotron"], 30), templates.synchrotron)
    assert np.allclose(in_rj(components["free_free"], 30)[0], templates.free_free)
    assert np.allclose(in_rj(components["ame"], 30)[0], templates.ame)


def test_emission_is_in_thermodynamic_units_by_pysms_own_conversion(components):
    expected = (
        components["dust"]
        .get_emission(143 * u.GHz)
        .to_value(u.uK_CMB, equivalencies=u.cmb_equivalencies(143 * u.GHz))
    )
    assert np.allclose(component_emission(components["dust"], delta(143), n_stokes=3), expected, rtol=1e-6)


@pytest.mark.parametrize("n_stokes", [1, 3])
def test_every_component_has_the_stokes_fields_asked_for(components, n_stokes):
    for name, model in components.items():
        emission = component_emission(model, delta(100.0), n_stokes=n_stokes)
        assert emission.shape == (n_stokes, 12 * NSIDE**2)
        assert np.isfinite(emission).all()
        if name in ("free_free", "ame"):
            assert not emission[1:].any()


def test_a_model_that_gives_intensity_alone_is_filled_up():
    dipole = pysm_components(["dip1"], 4, seed=1)["dip1"]
    emission = component_emission(dipole, delta(100.0), n_stokes=3)
    assert emission.shape == (3, 192)
    assert np.ptp(emission[0]) == pytest.approx(2 * 3366.6, rel=0.05)  # uK, less half a pixel at either end
    assert not emission[1:].any()


def test_intensity_without_polarisation_is_the_same(templates, components):
    unpolarised = embedded_components(embedded_templates(NSIDE, 1, polarised=False))
    for name, model in unpolarised.items():
        alone = component_emission(model, delta(100.0), n_stokes=1)
        assert np.array_equal(alone, component_emission(components[name], delta(100.0), n_stokes=1))


def test_spectra_are_those_of_the_real_components(templates, components):
    free_free = in_rj(components["free_free"], 100)[0] / templates.free_free
    assert np.allclose(free_free, (100 / 30) ** FREE_FREE_INDEX)
    synchrotron = np.log(in_rj(components["synchrotron"], 100)[0] / templates.synchrotron[0]) / np.log(
        100 / 30
    )
    assert np.allclose(synchrotron, templates.synchrotron_index, atol=1e-5)
    h_over_k = 0.04799243  # K/GHz
    temperature = templates.dust_temperature.astype(float)
    planck = np.expm1(h_over_k * 353 / temperature) / np.expm1(h_over_k * 100 / temperature)
    expected = (100 / 353) ** (templates.dust_index + 1.0) * planck
    assert np.allclose(in_rj(components["dust"], 100)[1] / templates.dust[1], expected, rtol=1e-5)


def test_ame_peaks_near_25_ghz_in_flux_and_falls_to_the_measured_ratio(components):
    ratio = in_rj(components["ame"], 100)[0].std() / in_rj(components["ame"], 30)[0].std()
    assert ratio == pytest.approx(AME_100_TO_30, rel=0.01)
    frequency, flux = ame_emissivity()
    assert frequency[flux.argmax()] == pytest.approx(AME_PEAK_GHZ, rel=0.01)


# ---- Offsets --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["power law", "modified black body"])
@pytest.mark.parametrize("frequency", [30.0, 100.0, 353.0, 857.0])
def test_an_index_offset_is_exactly_a_factor_per_stokes_parameter(kind, frequency):
    model, attribute = two_frequencies()[kind]
    before = in_rj(model, frequency)
    offsets = SpectralOffsets(brightness=1.3, index=0.07)
    factor = offset_factor(model, offsets, frequency)
    setattr(model, attribute, getattr(model, attribute) + offsets.index)
    assert np.allclose(before * factor[:, None], offsets.brightness * in_rj(model, frequency), rtol=1e-12)
    assert factor[0] != pytest.approx(factor[1], rel=1e-3)
    assert factor[1] == factor[2]


@pytest.mark.parametrize("name", ["dust", "synchrotron", "free_free"])
@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_offsets_in_the_templates_and_as_a_factor_agree(templates, components, name, frequency):
    offsets = SpectralOffsets(brightness=0.8, index=-0.05)
    shifted = embedded_components(templates, offsets={name: offsets})
    expected = component_emission(components[name], delta(frequency), n_stokes=3)
    expected = expected * offset_factor(components[name], offsets, frequency)[:, None]
    found = component_emission(shifted[name], delta(frequency), n_stokes=3)
    assert np.allclose(found, expected, rtol=2e-6)  # templates are single precision


def test_brightness_alone_applies_to_every_component(templates, components):
    offsets = SpectralOffsets(brightness=1.5)
    shifted = embedded_components(templates, offsets=dict.fromkeys(components, offsets))
    for name, model in components.items():
        assert np.array_equal(offset_factor(model, offsets, 70.0), [1.5, 1.5, 1.5])
        expected = 1.5 * component_emission(model, delta(70.0), n_stokes=3)
        assert np.allclose(component_emission(shifted[name], delta(70.0), n_stokes=3), expected, rtol=1e-6)


def test_a_temperature_offset_copies_the_model(templates, components):
    dust = components["dust"]
    before = component_emission(dust, delta(857), n_stokes=3)
    warmer = with_temperature_offset(dust, 1.5)
    assert np.array_equal(component_emission(dust, delta(857), n_stokes=3), before)
    by_templates = embedded_components(templates, offsets={"dust": SpectralOffsets(temperature=1.5)})["dust"]
    found = component_emission(warmer, delta(857), n_stokes=3)
    assert np.allclose(found, component_emission(by_templates, delta(857), n_stokes=3), rtol=1e-6)
    assert np.all(found[0] > before[0])


def test_offsets_reach_all_parts_of_a_model():
    dust, _ = two_frequencies()["modified black body"]
    double = pysm3.Sky(component_objects=[dust, dust])
    offsets = SpectralOffsets(index=0.1)
    assert np.array_equal(offset_factor(double, offsets, 100.0), offset_factor(dust, offsets, 100.0))
    warmer = with_temperature_offset(double, 2.0)
    assert [part.mbb_temperature[0] - dust.mbb_temperature[0] for part in warmer.components] == [
        2 * u.K,
        2 * u.K,
    ]


def test_offsets_that_make_no_sense_are_errors(templates, components):
    index, temperature = SpectralOffsets(index=0.1), SpectralOffsets(temperature=1.0)
    with pytest.raises(
        ValueError, match=r"offsets for cmb: the embedded sky has dust, synchrotron, free_free, ame"
    ):
        embedded_components(templates, offsets={"cmb": index})
    with pytest.raises(ValueError, match=r"ame: index offset 0\.1, but its spectrum is no power law"):
        embedded_components(templates, offsets={"ame": index})
    for name in ("synchrotron", "free_free", "ame"):
        with pytest.raises(ValueError, match=f"{name}: temperature offset 1 K, but it has no temperature"):
            embedded_components(templates, offsets={name: temperature})
    with pytest.raises(ValueError, match="dust: temperature falls to -"):
        embedded_components(templates, offsets={"dust": replace(temperature, temperature=-30.0)})
    with pytest.raises(
        ValueError, match=r"InMemorySpDust: index offset 0\.1, but its spectrum is no power law"
    ):
        offset_factor(components["ame"], index, 30.0)
    with pytest.raises(
        ValueError, match="temperature offset 1 K: not a factor; apply it with with_temperature_offset"
    ):
        offset_factor(components["dust"], temperature, 30.0)
    with pytest.raises(ValueError, match=r"index offset 0\.1: acts differently on the parts of the model"):
        two = pysm3.Sky(component_objects=[components["dust"], components["synchrotron"]])
        offset_factor(two, index, 30.0)
    with pytest.raises(ValueError, match="PowerLaw: has no temperature to shift by 1 K"):
        with_temperature_offset(components["synchrotron"], 1.0)
    with pytest.raises(ValueError, match="ModifiedBlackBody: temperature falls to -"):
        with_temperature_offset(components["dust"], -40.0)


# ---- PySM's presets ---------------------------------------------------------------------


def test_presets_are_pysms_own_models_on_local_templates(local_templates):
    models = pysm_components(["d1", "s1", "f1", "a1"], 16, seed=1)
    assert list(models) == ["d1", "s1", "f1", "a1"]
    whole = pysm3.Sky(nside=16, preset_strings=["d1", "s1", "f1", "a1"], output_unit=u.uK_CMB)
    expected = whole.get_emission(100 * u.GHz).value
    found = sum(component_emission(model, delta(100.0), n_stokes=3) for model in models.values())
    assert np.allclose(found, expected, rtol=1e-5)


def test_offsets_of_presets_use_their_reference_frequencies(local_templates):
    models = pysm_components(["d1", "s1", "a1"], 8, seed=1)
    offsets = SpectralOffsets(brightness=2.0, index=0.1)
    dust, synchrotron = (offset_factor(models[name], offsets, 100.0) for name in ("d1", "s1"))
    assert dust == pytest.approx(2 * (100 / np.array([545, 353, 353])) ** 0.1)
    assert synchrotron == pytest.approx(2 * (100 / np.array([0.408, 23, 23])) ** 0.1)
    with pytest.raises(ValueError, match=r"SpDust: index offset 0\.1, but its spectrum is no power law"):
        offset_factor(models["a1"], offsets, 100.0)


def test_a_missing_template_names_the_file_and_the_remedy(no_templates):
    with pytest.raises(
        FileNotFoundError, match=r"d1, s4: templates not on this computer: pysm_2/dust_t_new\.fits, "
    ) as error:
        pysm_components(["d1", "s4"], 64, seed=1)
    for part in (
        "synch/synch_template_nside2048_2023.02.25.fits",
        "PYSM_LOCAL_DATA",
        "https://",
        "source=embedded",
    ):
        assert part in str(error.value)


def test_templates_of_layered_models_are_all_asked_for(no_templates):
    with pytest.raises(FileNotFoundError, match=r"thermaldust_ampl1\.fits.*thermaldust_ampl6\.fits"):
        pysm_components(["d12"], 64, seed=1)


def test_templates_needed_at_emission_only_are_not_downloaded_either(no_templates):
    infrared = pysm_components(["cib1"], 8, seed=1)["cib1"]
    with pytest.raises(
        FileNotFoundError, match=r"WebSkyCIB: templates not on this computer: websky/0\.4/cib/cib_0100"
    ):
        component_emission(infrared, delta(100.0), n_stokes=1)


def test_a_template_in_astropys_cache_counts_as_here(no_templates, monkeypatch):
    asked = []
    monkeypatch.setattr(
        astropy_data, "is_url_in_cache", lambda url: asked.append(url) or url.endswith("t_new.fits")
    )
    with pytest.raises(
        FileNotFoundError, match=r"not on this computer: pysm_2/dust_q_new\.fits, pysm_2/dust_u_new"
    ):
        pysm_components(["d0"], 8, seed=1)
    assert asked[0] == pysm_data.DATAURL + "pysm_2/dust_t_new.fits"


def test_unknown_presets_are_errors_that_list_close_ones():
    with pytest.raises(ValueError, match=r"preset 'd99': PySM 3\.\S+ has none; close to it are .*d9"):
        pysm_components(["d99"], 8, seed=1)


@pytest.mark.parametrize("preset", ["c1", "c2", "c3", "c4"])
def test_maps_of_the_cmb_cannot_take_part(preset):
    with pytest.raises(
        ValueError, match=f"preset {preset}: it is a CMB map, and every simulation has its own; leave it out"
    ):
        pysm_components([preset], 8, seed=1)


def test_emission_in_lines_needs_bands_that_are_tabulated(no_templates):
    with pytest.raises(
        ValueError,
        match="preset co1: it emits in lines, .*; set instrument.bandpass to tabulated; leave it out",
    ):
        check_presets(["co1"], 8, delta=True)
    with pytest.raises(FileNotFoundError, match=r"co1: templates not on this computer: co/HFI_CompMap_CO"):
        check_presets(["co1"], 8, delta=False)
