import numpy as np
import pytest

from cmbml.pipelines.simulation import one_sky
from cmbml.pipelines.simulation.nodes import assign_seeds, make_instrument
from cmbml.pipelines.simulation.settings import (
    Extragalactic,
    ForegroundSettings,
    InstrumentSettings,
    Maps,
    Simulations,
    SplitCosmology,
    Target,
    Variation,
)
from cmbml.science.bandpasses import Bandpass
from cmbml.science.harmonics import alm_size, alm_to_cl, change_lmax, map_to_alm
from cmbml.science.instrument import Channel, Instrument
from tests.pipelines.simulation.noise_inputs import noise_settings

MAPS = Maps(nside=16, lmax=24)
TABLE = Instrument(
    (
        Channel("30", 28.4, 75.0, "IQU", 150.0, 210.0),
        Channel("143", 142.876, 32.4, "IQU", 33.0, 70.0),
        Channel("857", 866.8, 20.6, "I", 3e4),
    )
)
VARIATION = Variation(
    morphology=True,
    brightness=0.1,
    dust_index=0.04,
    dust_temperature_kelvin=1.0,
    synchrotron_index=0.06,
    free_free_index=0.0,
)
EXTRAGALACTIC = Extragalactic(cib=True, radio=True, radio_flux_cut_jy=0.35)
FOREGROUNDS = ForegroundSettings(
    source="embedded",
    presets=["d1"],
    nside=16,
    vary=True,
    variation=VARIATION,
    extragalactic=EXTRAGALACTIC,
)


def cmb_alm(n_fields: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    alm = rng.standard_normal((n_fields, alm_size(24), 2)).astype(np.float32).view(np.complex64)[..., 0]
    alm[:, :25].imag = 0
    alm[:, [0, 1, 25]] = 0
    return alm


def observed(seeds: dict, instrument: Instrument = TABLE, scale: float = 1.0, alm: np.ndarray | None = None):
    return one_sky.observations(
        cmb_alm(3 if instrument.is_polarised else 1) if alm is None else alm,
        one_sky.foregrounds(seeds, variation=VARIATION),
        seeds,
        shared={},
        noise_sources={},
        instrument=instrument,
        settings=FOREGROUNDS,
        maps=MAPS,
        noise=noise_settings(scale=scale, anisotropy=0.5),
    )


def seeds(simulation: str = "sim0000", split: str = "test", seed: int = 1) -> dict:
    return one_sky.seeds(simulation, split=split, seed=seed)


def test_every_split_simulation_and_component_has_its_own_seed():
    drawn = [seeds(s, p, n) for s in ("sim0000", "sim0001") for p in ("train", "test") for n in (1, 2)]
    numbers = [record[component] for record in drawn for component in one_sky.COMPONENTS]
    assert len(set(numbers)) == len(numbers)
    shared = [record["split_cosmology"] for record in drawn]
    assert len(set(shared)) == len(drawn) / 2  # of the simulations, two share one
    assert not set(shared) & set(numbers)


def test_growing_a_split_changes_no_seed():
    few, many = (assign_seeds(Simulations(seed=1, train=n, valid=1, test=1))[0] for n in (2, 5))
    assert {name: few[name]() for name in few} == {name: many[name]() for name in few}


def test_cosmologies_differ_only_where_they_vary():
    vary = SplitCosmology(table="wmap9", correlated=True, vary=True)
    fixed = SplitCosmology(table="wmap9", correlated=True, vary=False)
    assert one_sky.cosmology(seeds(), choice=vary) == one_sky.cosmology(seeds(), choice=vary)
    assert one_sky.cosmology(seeds(), choice=vary) != one_sky.cosmology(seeds("sim0001"), choice=vary)
    assert one_sky.cosmology(seeds(), choice=fixed) == one_sky.cosmology(seeds("sim0001"), choice=fixed)


def test_one_sky_can_be_remade_alone_bit_for_bit():
    first, second = observed(seeds()), observed(seeds())
    assert all(np.array_equal(first.maps[name], second.maps[name]) for name in first.maps)


def test_channels_without_polarisation_hold_one_field():
    maps = observed(seeds()).maps
    assert {name: values.shape for name, values in maps.items()} == {
        "30": (3, 3072),
        "143": (3, 3072),
        "857": (1, 3072),
    }
    assert {values.dtype for values in maps.values()} == {np.dtype(np.float32)}


def test_intensity_is_the_same_with_and_without_polarisation():
    polarised, intensity = observed(seeds()), observed(seeds(), TABLE.with_stokes("I"))
    for name, values in intensity.maps.items():
        np.testing.assert_allclose(
            values[0], polarised.maps[name][0], rtol=0, atol=2e-6 * np.abs(values).max()
        )


def test_signal_ends_at_lmax():
    maps = observed(seeds(), scale=0.0).maps["143"]
    cl = alm_to_cl(map_to_alm(maps[:1].astype(np.float64), 40, iterations=5))[0]
    assert cl[25:].max() < 1e-8 * cl[2:25].max()


def test_the_noise_of_a_channel_does_not_depend_on_the_other_channels():
    alone = observed(seeds(), TABLE.select(("143",))).maps["143"]
    np.testing.assert_array_equal(alone, observed(seeds()).maps["143"])


def test_the_truth_is_at_the_target_beam():
    target = Target(nside=16, lmax=24, fwhm_arcmin=400.0)
    alm = cmb_alm()
    truth = one_sky.truth(alm, target=target)
    assert (truth.unit, truth.stokes) == ("uK_CMB", "IQU")
    ratio = alm_to_cl(map_to_alm(truth.values, 24))[0, 2:] / alm_to_cl(alm)[0, 2:]
    ell = np.arange(2, 25)
    sigma = np.radians(400 / 60) / np.sqrt(8 * np.log(2))
    np.testing.assert_allclose(ratio, np.exp(-ell * (ell + 1) * sigma**2), rtol=1e-3)


def test_maps_are_cut_at_their_own_band_limit():
    target = Target(nside=16, lmax=24, fwhm_arcmin=400.0)
    further = change_lmax(cmb_alm(), 40)
    further[:, -5:] = 1
    np.testing.assert_array_equal(
        one_sky.truth(further, target=target).values, one_sky.truth(cmb_alm(), target=target).values
    )
    np.testing.assert_array_equal(observed(seeds(), alm=further).maps["143"], observed(seeds()).maps["143"])


def instrument_settings(**changes) -> InstrumentSettings:
    values = {
        "channels": "all",
        "stokes": "I",
        "beam_scale": 1.0,
        "fwhm_floor_arcmin": 0.0,
        "bandpass": "delta",
    }
    return InstrumentSettings(**{**values, **changes})


def no_table():
    raise AssertionError("the table of bandpasses was read")


def test_the_instrument_is_cut_from_the_table():
    made = make_instrument(
        TABLE, instrument_settings(channels="30-143", beam_scale=2.0, fwhm_floor_arcmin=70.0), no_table
    )
    assert [(c.name, c.fwhm_arcmin, c.stokes) for c in made] == [("30", 150.0, "I"), ("143", 70.0, "I")]


def test_a_channel_that_the_table_does_not_have_is_refused():
    with pytest.raises(ValueError, match="channels '44'.*in the instrument table"):
        make_instrument(TABLE, instrument_settings(channels="44"), no_table)


def test_bandpasses_are_taken_from_their_table_where_they_are_asked_for():
    bands = {
        name: Bandpass((0.9 * ghz, 1.1 * ghz), (1.0, 1.0)) for name, ghz in (("30", 28.4), ("143", 142.9))
    }
    chosen = instrument_settings(channels="30-143", bandpass="tabulated")
    made = make_instrument(TABLE, chosen, lambda: bands)
    assert {channel.name: channel.bandpass for channel in made} == bands
    assert made.has_bandpasses
    with pytest.raises(ValueError, match="channels 857: not in the table of bandpasses, which has 30, 143"):
        make_instrument(TABLE, instrument_settings(channels="all", bandpass="tabulated"), lambda: bands)
    deltas = make_instrument(made, chosen.model_copy(update={"bandpass": "delta"}), no_table)
    assert not deltas.has_bandpasses
