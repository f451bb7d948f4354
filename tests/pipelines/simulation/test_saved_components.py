import numpy as np
import pytest

from cmbml.partitions import known
from cmbml.pipelines.simulation import one_sky
from cmbml.pipelines.simulation.foregrounds import fixed_foregrounds
from cmbml.pipelines.simulation.nodes import observe
from cmbml.pipelines.simulation.saved_components import observed_components
from cmbml.pipelines.simulation.sky_nodes import observe_components
from cmbml.science.harmonics import alm_to_cl, map_to_alm
from tests.pipelines.simulation.noise_inputs import noise_settings
from tests.pipelines.simulation.test_one_sky import FOREGROUNDS, MAPS, TABLE, VARIATION, cmb_alm, seeds

NOISE = noise_settings(scale=1.0, anisotropy=0.5)
EVERY = ["cmb", "dust", "synchrotron", "free_free", "ame", "cib", "radio", "noise"]


@pytest.fixture(scope="module", params=[True, False], ids=["varied", "fixed"])
def sky(request):
    """One simulation: its observations, and its components."""
    own = seeds()
    settings = FOREGROUNDS.model_copy(update={"vary": request.param})
    given = {
        "shared": fixed_foregrounds(settings, TABLE, MAPS),
        "noise_sources": {},
        "instrument": TABLE,
        "settings": settings,
        "maps": MAPS,
        "noise": NOISE,
    }
    parameters = one_sky.foregrounds(own, variation=VARIATION if request.param else None)
    observations = one_sky.observations(cmb_alm(), parameters, own, **given)
    return observations, dict(observed_components(cmb_alm(), parameters, own, **given))


@pytest.mark.parametrize("node", [observe, observe_components])
def test_settings_without_effect_do_not_make_results_stale(node):
    def fingerprint(**changes) -> str:
        made = node(
            *({"sim0000": known(value)} for value in (1, 2, 3)),
            foreground_alm={},
            noise_sources={},
            instrument=TABLE,
            foregrounds=FOREGROUNDS.model_copy(update=changes),
            maps=MAPS,
            noise=NOISE,
        )
        return made["sim0000"].fingerprint

    assert fingerprint(presets=["d9"]) == fingerprint()
    assert fingerprint(nside=32) != fingerprint()


def test_every_component_is_there_once_in_every_channel(sky):
    observations, components = sky
    assert list(components) == EVERY
    for parts in components.values():
        assert {name: m.shape for name, m in parts.maps.items()} == {
            name: m.shape for name, m in observations.maps.items()
        }
        assert set(parts.units.values()) == {"uK_CMB"}


def test_the_components_sum_to_the_observation(sky):
    observations, components = sky
    for name, observed in observations.maps.items():
        total = np.sum([parts.maps[name] for parts in components.values()], axis=0, dtype=np.float64)
        # single precision keeps seven digits of the brightest pixel, of which transforms lose one
        assert np.abs(total - observed).max() < 2e-6 * np.abs(observed).max(), name


def test_no_component_is_empty_or_twice_there(sky):
    _, components = sky
    maps = [parts.maps["143"][0] for parts in components.values()]
    assert all(values.std() > 0 for values in maps)
    correlation = np.corrcoef(maps) - np.eye(len(maps))
    assert np.abs(correlation).max() < 0.99


def test_the_cmb_is_under_the_beam_of_each_channel(sky):
    _, components = sky
    expected = alm_to_cl(cmb_alm())[0, 2:]
    for channel in TABLE:
        power = alm_to_cl(map_to_alm(components["cmb"].maps[channel.name], MAPS.lmax))[0, 2:]
        np.testing.assert_allclose(power / expected, channel.beam_window(MAPS.lmax)[2:] ** 2, rtol=1e-4)
