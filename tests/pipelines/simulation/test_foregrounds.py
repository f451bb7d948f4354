import numpy as np
import pytest

from cmbml.pipelines.simulation import foregrounds
from cmbml.pipelines.simulation.compiled import keep_compiled
from cmbml.pipelines.simulation.foregrounds import (
    component_kind,
    draw_parameters,
    fixed_foregrounds,
    foreground_alm,
)
from cmbml.pipelines.simulation.settings import ForegroundSettings, Maps, Variation
from cmbml.science.instrument import Channel, Instrument

NSIDE, LMAX = 16, 24
MAPS = Maps(nside=NSIDE, lmax=LMAX)
CHANNELS = Instrument((Channel("100", 100.89, 0, "IQU"), Channel("545", 555.2, 0, "I")))
VARIATION = Variation(
    brightness=0.1, dust_index=0.04, dust_temperature_kelvin=1.0, synchrotron_index=0.06, free_free_index=0.0
)
STEADY = VARIATION.model_copy(update={"dust_temperature_kelvin": 0.0})


def settings(**changes) -> ForegroundSettings:
    values = {"source": "embedded", "presets": ["d1"], "nside": NSIDE, "vary": True, "variation": VARIATION}
    return ForegroundSettings(**{**values, **changes})


def alm(parameters, shared, chosen=None, instrument=CHANNELS) -> np.ndarray:
    return foreground_alm(parameters, shared, instrument=instrument, settings=chosen or settings(), lmax=LMAX)


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.vdot(one, other).real / np.linalg.norm(one) / np.linalg.norm(other))


def test_every_simulation_has_its_own_parameters_and_the_same_again():
    first, second = (draw_parameters(seed, VARIATION) for seed in (1, 2))
    assert first == draw_parameters(1, VARIATION)
    assert first["morphology"] != second["morphology"]
    assert first["offsets"]["dust"] != second["offsets"]["dust"]


def test_the_offsets_have_the_deviations_that_are_asked_for():
    drawn = [draw_parameters(seed, VARIATION)["offsets"] for seed in range(2000)]
    dust = {
        key: [offsets["dust"][key] for offsets in drawn] for key in ("brightness", "index", "temperature")
    }
    # a standard deviation of 2000 draws is known to 1.6 per cent; four times that
    assert np.std(np.log(dust["brightness"])) == pytest.approx(0.1, rel=0.064)
    assert np.std(dust["index"]) == pytest.approx(0.04, rel=0.064)
    assert np.std(dust["temperature"]) == pytest.approx(1.0, rel=0.064)
    assert {offsets["ame"]["index"] for offsets in drawn} == {0.0}


def test_without_variation_all_simulations_have_one_sky():
    chosen = settings(vary=False)
    shared = fixed_foregrounds(chosen, CHANNELS, MAPS)
    first, second = (alm(draw_parameters(seed, None), shared, chosen) for seed in (1, 2))
    np.testing.assert_array_equal(first, second)


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


def test_a_temperature_offset_of_a_shared_sky_is_computed_anew(monkeypatch):
    monkeypatch.setattr(foregrounds, "varies_in_shape", lambda _: False)
    shared = fixed_foregrounds(settings(), CHANNELS, MAPS)
    still = {"morphology": "0", "offsets": {"dust": {"brightness": 1.0, "index": 0.0, "temperature": 0.0}}}
    warmer = {"morphology": "0", "offsets": {"dust": {"brightness": 1.0, "index": 0.0, "temperature": 2.0}}}
    difference = alm(warmer, shared) - alm(still, shared)
    ratio = np.abs(difference[:, 0]).max(axis=-1) / np.abs(alm(still, shared)[:, 0]).max(axis=-1)
    # h nu / k T is 1.3 at 555 GHz and 21 K: about 3 per cent more there, less at 100 GHz relative to 353
    assert (ratio > 1e-3).all()
    assert (ratio < 0.2).all()


def test_intensity_does_not_depend_on_polarisation():
    parameters = draw_parameters(4, VARIATION)
    polarised = alm(parameters, {})
    intensity = alm(parameters, {}, instrument=CHANNELS.with_stokes("I"))
    assert polarised.shape[1] == 3 and intensity.shape[1] == 1
    np.testing.assert_allclose(intensity[:, 0], polarised[:, 0], rtol=0, atol=1e-6 * np.abs(polarised).max())


def test_inputs_are_not_changed(monkeypatch):
    monkeypatch.setattr(foregrounds, "varies_in_shape", lambda _: False)
    shared = fixed_foregrounds(settings(), CHANNELS, MAPS)
    before = {name: array.copy() for name, array in shared.items()}
    alm(draw_parameters(5, VARIATION), shared)
    assert all(np.array_equal(before[name], shared[name]) for name in before)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("d1", "dust"),
        ("s5", "synchrotron"),
        ("f1", "free_free"),
        ("a2", "ame"),
        ("dust", "dust"),
        ("cib1", ""),
        ("dip1", ""),
    ],
)
def test_presets_belong_to_kinds_by_their_letter(name, kind):
    assert component_kind(name) == kind


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
