import numpy as np
import pytest

from cmbml.pipelines.simulation import foregrounds
from cmbml.pipelines.simulation.compiled import keep_compiled
from cmbml.pipelines.simulation.embedded_sky import embedded_templates
from cmbml.pipelines.simulation.foreground_parameters import draw_parameters
from cmbml.pipelines.simulation.foreground_settings import NAMED_VARIATIONS
from cmbml.pipelines.simulation.foregrounds import (
    component_alms,
    fixed_foregrounds,
    fixed_sky,
    foreground_alm,
)
from cmbml.pipelines.simulation.settings import Extragalactic, ForegroundSettings, Maps, Variation
from cmbml.pipelines.simulation.sky_components import embedded_components
from cmbml.science.instrument import Channel, Instrument

NSIDE, LMAX = 16, 24
MAPS = Maps(nside=NSIDE, lmax=LMAX)
CHANNELS = Instrument((Channel("100", 100.89, 0, "IQU"), Channel("545", 555.2, 0, "I")))
VARIATION = Variation(
    morphology=True,
    brightness=0.1,
    dust_index=0.04,
    dust_temperature_kelvin=1.0,
    synchrotron_index=0.06,
    free_free_index=0.0,
)
EXTRAGALACTIC = Extragalactic(cib=True, radio=True, radio_flux_cut_jy=0.35)
STEADY = VARIATION.model_copy(update={"dust_temperature_kelvin": 0.0})


def settings(**changes) -> ForegroundSettings:
    values = {"source": "embedded", "presets": ["d1"], "nside": NSIDE, "vary": True}
    values |= {"variation": VARIATION, "extragalactic": EXTRAGALACTIC}
    return ForegroundSettings(**{**values, **changes})


def alm(parameters, shared, chosen=None, instrument=CHANNELS) -> np.ndarray:
    return foreground_alm(parameters, shared, instrument=instrument, settings=chosen or settings(), lmax=LMAX)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.vdot(one, other).real / np.linalg.norm(one) / np.linalg.norm(other))


def test_without_variation_all_simulations_have_one_sky():
    chosen = settings(vary=False)
    shared = fixed_foregrounds(chosen, CHANNELS, MAPS)
    first, second = (alm(draw_parameters(seed, None), shared, chosen) for seed in (1, 2))
    np.testing.assert_array_equal(first, second)


def test_the_sum_of_a_sky_that_does_not_vary_is_kept_beside_its_parts():
    chosen, record = settings(vary=False), draw_parameters(1, None)
    shared = fixed_foregrounds(chosen, CHANNELS, MAPS)
    parts = component_alms(record, shared, instrument=CHANNELS, settings=chosen, lmax=LMAX)
    np.testing.assert_array_equal(alm(record, shared, chosen), sum(part for _, part in parts))
    before = shared["total"].copy()
    alm(record, shared, chosen)[:] = 0
    np.testing.assert_array_equal(shared["total"], before)


@pytest.mark.parametrize(("lmax", "warned"), [(2 * NSIDE, False), (2 * NSIDE + 1, True)])
def test_emission_that_its_pixels_hardly_resolve_is_warned_of(caplog, lmax, warned):
    fixed_foregrounds(settings(), CHANNELS, Maps(nside=NSIDE, lmax=lmax))
    assert ("is above twice foregrounds.nside 16" in caplog.text) is warned


def test_the_sky_of_planck_is_not_taken_for_another():
    with pytest.raises(ValueError, match=r"foregrounds\.source planck: its sky is not made of components"):
        fixed_sky(settings(source="planck", vary=False), CHANNELS, LMAX)


def test_with_variation_skies_differ_in_shape():
    shared = fixed_foregrounds(settings(), CHANNELS, MAPS)
    first, second = (alm(draw_parameters(seed, VARIATION), shared)[0, 0] for seed in (1, 2))
    kept = slice(LMAX + 1, None)  # m > 0: the Galactic plane itself is common to all skies
    assert correlation(first, first) == pytest.approx(1)
    assert correlation(first[kept], second[kept]) < 0.9


def test_nothing_is_shared_where_every_sky_is_new():
    assert all(array.size == 0 for array in fixed_foregrounds(settings(), CHANNELS, MAPS).values())


def test_scaling_shared_coefficients_is_the_same_as_computing_anew(monkeypatch):
    chosen = settings(vary=True, variation=STEADY)
    parameters = draw_parameters(3, STEADY)
    monkeypatch.setattr(foregrounds, "varies_in_shape", lambda _: False)
    scaled = alm(parameters, fixed_foregrounds(chosen, CHANNELS, MAPS), chosen)
    monkeypatch.setattr(foregrounds, "varies_in_shape", lambda _: True)
    fixed_shape = {**parameters, "morphology": draw_parameters(3, None)["morphology"]}
    anew = alm(fixed_shape, {}, chosen)
    assert np.abs(scaled - anew).max() < 1e-5 * np.abs(anew).max()


@pytest.fixture
def presets(monkeypatch):
    """Settings of one sky from presets, for which the embedded sky stands in."""
    models = embedded_components(embedded_templates(NSIDE, 8))
    monkeypatch.setattr(foregrounds, "_preset_model", lambda name, _: models[name])
    foregrounds._kept_presets.cache_clear()
    return settings(source="pysm", presets=list(models))


def test_a_temperature_offset_of_a_shared_sky_is_computed_anew(presets):
    shared = fixed_foregrounds(presets, CHANNELS, MAPS)
    still = {"morphology": "0", "offsets": {"dust": {"brightness": 1.0, "index": 0.0, "temperature": 0.0}}}
    warmer = {"morphology": "0", "offsets": {"dust": {"brightness": 1.0, "index": 0.0, "temperature": 2.0}}}
    difference = alm(warmer, shared, presets) - alm(still, shared, presets)
    ratio = np.abs(difference[:, 0]).max(axis=-1) / np.abs(alm(still, shared, presets)[:, 0]).max(axis=-1)
    # h nu / k T is 1.3 at 555 GHz and 21 K: about 3 per cent more there, less at 100 GHz relative to 353
    assert (ratio > 1e-3).all()
    assert (ratio < 0.2).all()


@pytest.mark.parametrize("vary", [True, False])
def test_the_components_of_an_embedded_sky_sum_to_it(vary):
    chosen = settings(vary=vary)
    parameters, shared = (
        draw_parameters(6, VARIATION if vary else None),
        fixed_foregrounds(chosen, CHANNELS, MAPS),
    )
    parts = dict(component_alms(parameters, shared, instrument=CHANNELS, settings=chosen, lmax=LMAX))
    assert list(parts) == ["dust", "synchrotron", "free_free", "ame", "cib", "radio"]
    total = alm(parameters, shared, chosen)
    assert all(np.abs(part[:, 0]).max() > 0 for part in parts.values())
    # single precision, of which the analysis of the brightest pixels keeps six digits
    assert np.abs(sum(parts.values()) - total).max() < 2e-6 * np.abs(total).max()


def test_extragalactic_components_change_nothing_else():
    bare = settings(extragalactic=Extragalactic(cib=False, radio=False, radio_flux_cut_jy=1.0))
    parameters = draw_parameters(6, VARIATION)
    with_them, without = (
        dict(component_alms(parameters, {}, instrument=CHANNELS, settings=chosen, lmax=LMAX))
        for chosen in (settings(), bare)
    )
    assert list(without) == ["dust", "synchrotron", "free_free", "ame"]
    assert all(np.array_equal(without[name], with_them[name]) for name in without)


@pytest.mark.parametrize("source", ["embedded", "pysm"])
def test_values_that_are_drawn_shape_the_sky(source, presets):
    variation = NAMED_VARIATIONS["cmb_ml_dev"]
    chosen = (presets if source == "pysm" else settings()).model_copy(update={"variation": variation})
    shared = fixed_foregrounds(chosen, CHANNELS, MAPS)
    record = draw_parameters(9, variation)
    flatter = {**record, "values": {**record["values"], "dust": {**record["values"]["dust"], "index": 1.5}}}
    steeper = {**record, "values": {**record["values"], "dust": {**record["values"]["dust"], "index": 1.6}}}
    parts = [
        dict(component_alms(drawn, shared, instrument=CHANNELS, settings=chosen, lmax=LMAX))
        for drawn in (flatter, steeper)
    ]
    ratio = np.linalg.norm(parts[1]["dust"][:, 0], axis=1) / np.linalg.norm(parts[0]["dust"][:, 0], axis=1)
    np.testing.assert_allclose(ratio, (np.array([100.89, 555.2]) / 353) ** 0.1, rtol=1e-5)
    assert all(np.array_equal(parts[0][name], parts[1][name]) for name in parts[0] if name != "dust")


def test_intensity_does_not_depend_on_polarisation():
    parameters = draw_parameters(4, VARIATION)
    polarised = alm(parameters, {})
    intensity = alm(parameters, {}, instrument=CHANNELS.with_stokes("I"))
    assert polarised.shape[1] == 3 and intensity.shape[1] == 1
    np.testing.assert_allclose(intensity[:, 0], polarised[:, 0], rtol=0, atol=1e-6 * np.abs(polarised).max())


def test_inputs_are_not_changed(presets):
    shared = fixed_foregrounds(presets, CHANNELS, MAPS)
    before = {name: array.copy() for name, array in shared.items()}
    alm(draw_parameters(5, VARIATION), shared, presets)
    for name, array in before.items():
        np.testing.assert_array_equal(shared[name], array)


def test_the_published_sky_is_scaled_by_preset(shared_file, monkeypatch):
    monkeypatch.setenv("PYSM_LOCAL_DATA", str(shared_file("pysm_nside64")))
    chosen = settings(source="pysm", presets=["d1", "s1", "f1", "a1"], variation=STEADY)
    shared = fixed_foregrounds(chosen, CHANNELS, MAPS)
    assert shared["components"].tolist() == ["d1", "s1", "f1", "a1"]
    still = alm(draw_parameters(1, None), shared, chosen)
    np.testing.assert_allclose(still, shared["alm"].sum(axis=0), rtol=1e-4, atol=1e-4)
    varied = alm(draw_parameters(1, STEADY), shared, chosen)
    assert 1e-3 < np.linalg.norm(varied - still) / np.linalg.norm(still) < 1


def test_a_missing_template_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSM_LOCAL_DATA", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match=r"foregrounds s7.*PYSM_LOCAL_DATA.*foregrounds\.source=embedded"
    ):
        fixed_foregrounds(settings(source="pysm", presets=["s7"]), CHANNELS, MAPS)


def test_pysm_functions_are_kept_compiled():
    assert {"get_emission_numba", "compute_spdust_emission_numba"} <= set(keep_compiled())
