from functools import partial

import numpy as np
import pytest

from cmbml.pipelines.simulation.embedded_sky import SkyTemplates, embedded_templates
from cmbml.pipelines.simulation.foreground_parameters import (
    component_kind,
    component_offset,
    draw_parameters,
)
from cmbml.pipelines.simulation.foreground_settings import NAMED_VARIATIONS
from cmbml.pipelines.simulation.settings import Normal, Uniform, Variation
from cmbml.pipelines.simulation.sky_components import embedded_components
from cmbml.pipelines.simulation.spectral_offsets import mean_parameter


def component_offsets(record, models) -> dict:
    return {
        name: component_offset(name, record, partial(mean_parameter, name, model))
        for name, model in models.items()
    }


VARIATION = Variation(
    morphology=True,
    brightness=0.1,
    dust_index=0.04,
    dust_temperature_kelvin=1.0,
    synchrotron_index=0.06,
    free_free_index=0.0,
)
DEVELOPMENT = NAMED_VARIATIONS["cmb_ml_dev"]


@pytest.fixture(scope="module")
def templates() -> SkyTemplates:
    return embedded_templates(8, 4)


@pytest.fixture(scope="module")
def models(templates) -> dict:
    return embedded_components(templates)


def with_dust(**changes) -> Variation:
    return VARIATION.model_copy(update=changes)


def test_every_simulation_has_its_own_parameters_and_the_same_again():
    first, second = (draw_parameters(seed, VARIATION) for seed in (1, 2))
    assert first == draw_parameters(1, VARIATION)
    assert first["morphology"] != second["morphology"]
    assert first["offsets"]["dust"] != second["offsets"]["dust"]


def test_without_morphology_shapes_are_those_of_the_one_sky_and_spectra_differ():
    alike = VARIATION.model_copy(update={"morphology": False})
    first, second = (draw_parameters(seed, alike) for seed in (1, 2))
    assert first["morphology"] == second["morphology"] == draw_parameters(0, None)["morphology"]
    assert first["offsets"] == draw_parameters(1, VARIATION)["offsets"]
    assert first["offsets"] != second["offsets"]


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


def test_a_number_is_a_normal_offset_around_nothing():
    spelt_out = with_dust(dust_index=Normal(distribution="normal", quantity="offset", mean=0.0, sd=0.04))
    assert draw_parameters(7, spelt_out) == draw_parameters(7, VARIATION)


def test_a_distribution_of_one_parameter_moves_no_other():
    uniform = Uniform(distribution="uniform", quantity="offset", low=-0.2, high=0.1)
    plain, changed = (draw_parameters(7, v)["offsets"] for v in (VARIATION, with_dust(dust_index=uniform)))
    assert changed["dust"].pop("index") != plain["dust"].pop("index")
    assert changed == plain


def test_uniform_draws_fill_their_range_evenly():
    uniform = Uniform(distribution="uniform", quantity="offset", low=-0.2, high=0.1)
    variation = with_dust(dust_index=uniform)
    drawn = np.sort([draw_parameters(s, variation)["offsets"]["dust"]["index"] for s in range(2000)])
    assert -0.2 <= drawn[0] and drawn[-1] <= 0.1
    # Kolmogorov-Smirnov: 1.95 / sqrt(n) is passed by one in a thousand
    assert np.abs((drawn + 0.2) / 0.3 - np.arange(2000) / 2000).max() < 1.95 / 2000**0.5


def test_the_named_ranges_draw_the_parameters_themselves():
    drawn = [draw_parameters(seed, DEVELOPMENT) for seed in range(2000)]
    index = np.array([record["values"]["dust"]["index"] for record in drawn])
    temperature = np.array([record["values"]["dust"]["temperature"] for record in drawn])
    synchrotron = np.array([record["values"]["synchrotron"]["index"] for record in drawn])
    assert 1.332 <= index.min() and index.max() <= 1.628
    assert 17.64 <= temperature.min() and temperature.max() <= 21.56
    # the mean of 2000 draws scatters by sd / 45; four times that
    assert index.mean() == pytest.approx(1.48, abs=4 * 0.296 / 12**0.5 / 45)
    assert temperature.mean() == pytest.approx(19.6, abs=4 * 3.92 / 12**0.5 / 45)
    assert synchrotron.mean() == pytest.approx(-3.1, abs=4 * 0.31 / 45)
    assert synchrotron.std() == pytest.approx(0.31, rel=0.064)
    assert {record["offsets"]["dust"]["brightness"] for record in drawn} == {1.0}
    assert {record["offsets"]["dust"]["index"] for record in drawn} == {0.0}


def test_a_value_becomes_the_mean_over_the_sky(models, templates):
    record = draw_parameters(3, DEVELOPMENT)
    offsets = component_offsets(record, models)
    values = record["values"]
    for kind, quantity, parameter in (
        ("dust", "index", templates.dust_index),
        ("dust", "temperature", templates.dust_temperature),
        ("synchrotron", "index", templates.synchrotron_index),
    ):
        shifted = parameter.mean(dtype=float) + getattr(offsets[kind], quantity)
        assert shifted == pytest.approx(values[kind][quantity], rel=1e-6)
    assert offsets["free_free"].index == pytest.approx(values["free_free"]["index"] + 2.14, rel=1e-6)
    assert offsets["ame"].index == 0


def test_offsets_are_taken_as_they_are(models):
    record = draw_parameters(3, VARIATION)
    offsets = component_offsets(record, models)
    assert {name: vars(offsets[name]) for name in models} == record["offsets"]


def test_without_variation_nothing_is_offset(models):
    offsets = component_offsets(draw_parameters(3, None), {**models, "cib": None})
    assert {(o.brightness, o.index, o.temperature) for o in offsets.values()} == {(1.0, 0.0, 0.0)}


def test_a_value_of_a_parameter_that_a_component_lacks_is_refused(models):
    record = {"morphology": "0", "offsets": {}, "values": {"ame": {"index": -3.0}}}
    with pytest.raises(ValueError, match=r"ame: has no index whose value could be drawn.*an offset"):
        component_offsets(record, models)


def test_one_value_for_parts_that_differ_is_refused(models):
    class Two:
        components = (models["dust"], models["synchrotron"])

    record = {"morphology": "0", "offsets": {}, "values": {"dust": {"index": 1.5}}}
    with pytest.raises(ValueError, match=r"dust: its parts differ in index.*an offset"):
        component_offsets(record, {"dust": Two()})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("d1", "dust"),
        ("s5", "synchrotron"),
        ("f1", "free_free"),
        ("a2", "ame"),
        ("dust", "dust"),
        ("cib", ""),
        ("radio", ""),
        ("cib1", ""),
        ("dip1", ""),
    ],
)
def test_presets_belong_to_kinds_by_their_letter(name, kind):
    assert component_kind(name) == kind
