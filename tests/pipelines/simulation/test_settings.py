import pytest
from pydantic import ValidationError

from cmbml.pipelines.simulation.cosmology import TABLES, mean_cosmology
from cmbml.pipelines.simulation.settings import (
    CMBSettings,
    CosmologySettings,
    Extragalactic,
    ForegroundSettings,
    InstrumentSettings,
    Maps,
    MaskSettings,
    NoiseModelSettings,
    NoiseSettings,
    Simulations,
    Target,
    Variation,
)
from tests.pipelines.simulation.noise_inputs import MODEL as NOISE_MODEL
from tests.pipelines.simulation.noise_inputs import SETTINGS as NOISE

VARIATION = {
    "morphology": True,
    "brightness": 0.1,
    "dust_index": 0.04,
    "dust_temperature_kelvin": 1.0,
    "synchrotron_index": 0.06,
    "free_free_index": 0.0,
}
PLANCK = mean_cosmology(TABLES["planck2018"])
COSMOLOGY = {
    "source": "table",
    "table": "wmap9",
    "correlated": True,
    "vary": True,
    "chains": "lcdm",
    "parameters": PLANCK,
    "fixed": [],
    "one_per_split": [],
    "given_spectrum": [],
}
CMB = {"kind": "lensed", "spectra": "camb", "lmax": 100, "lens_potential_accuracy": 1}
CUT = {"source": "galactic", "latitude_deg": 20, "threshold": 0.9}
MASK = {**CUT, "nside": 64, "apodisation_deg": 5, "taper": "C1", "polarisation": None}
EXTRAGALACTIC = {"cib": True, "radio": True, "radio_flux_cut_jy": 0.35}
FOREGROUNDS = {
    "source": "embedded",
    "presets": ["d1"],
    "nside": 64,
    "vary": True,
    "variation": VARIATION,
    "extragalactic": EXTRAGALACTIC,
}


@pytest.mark.parametrize(
    ("model", "values", "message"),
    [
        (Simulations, {"seed": 1, "train": 0, "valid": 1, "test": 1}, "greater than or equal to 1"),
        (Maps, {"nside": 48, "lmax": 10}, "nside 48: must be a power of two"),
        (Maps, {"nside": 64, "lmax": 192}, "lmax 192: must lie between 2 and 3 nside - 1 = 191"),
        (Maps, {"nside": 64, "lmax": 128, "lmin": 2}, "Extra inputs are not permitted"),
        (
            Target,
            {"nside": 64, "lmax": 160, "fwhm_arcmin": 20.6},
            "target beam 20.6 arcmin: its window at lmax 160 is 0.9",
        ),
        (MaskSettings, {**MASK, "nside": 60}, "nside 60: must be a power of two"),
        (MaskSettings, {**MASK, "source": "wmap"}, "'galactic' or 'planck'"),
        (MaskSettings, {**MASK, "threshold": 0}, "greater than 0"),
        (MaskSettings, {**MASK, "latitude_deg": 90}, "less than 90"),
        (MaskSettings, {**MASK, "taper": "none"}, "'C1', 'C2' or 'smooth'"),
        (
            MaskSettings,
            {**MASK, "polarisation": {"latitude_deg": 30}},
            r"polarisation.source\n  Field required",
        ),
        (MaskSettings, {**MASK, "polarisation": {**CUT, "taper": "C1"}}, "Extra inputs are not permitted"),
        (CMBSettings, {**CMB, "lens_potential_accuracy": 0}, "greater than or equal to 1"),
        (CMBSettings, {**CMB, "kind": "delensed"}, "'lensed', 'unlensed', 'gaussian' or 'empty'"),
        (CMBSettings, {**CMB, "spectra": "class"}, "'camb' or 'analytic'"),
        (CosmologySettings, {**COSMOLOGY, "chains": "wcdm"}, "'lcdm' or 'mnu'"),
        (CosmologySettings, {**COSMOLOGY, "fixed": "dev"}, "'train', 'valid' or 'test'"),
        (
            CosmologySettings,
            {**COSMOLOGY, "fixed": "all", "given_spectrum": ["test"]},
            "split test is in both fixed and given_spectrum: name it in one of them",
        ),
        (
            CosmologySettings,
            {**COSMOLOGY, "source": "chains", "vary": False},
            "vary: false takes the means of a table, and a chain has none; for one cosmology, use one_per_split",
        ),
        (
            CosmologySettings,
            {**COSMOLOGY, "parameters": {**PLANCK, "As": 2.1}},
            r"cosmology: unphysical As 2.1 \(must lie between",
        ),
        (
            InstrumentSettings,
            {"channels": "all", "stokes": "QU", "beam_scale": 1, "fwhm_floor_arcmin": 0},
            "'I' or 'IQU'",
        ),
        (
            ForegroundSettings,
            {**FOREGROUNDS, "source": "wmap"},
            "source 'wmap': must be 'embedded', 'pysm' or 'planck'",
        ),
        (ForegroundSettings, {**FOREGROUNDS, "presets": ["d1", "d1"]}, "each at most once, and at least one"),
        (ForegroundSettings, {**FOREGROUNDS, "presets": []}, "each at most once, and at least one"),
        (ForegroundSettings, {**FOREGROUNDS, "nside": 65}, "nside 65: must be a power of two"),
        (NoiseSettings, {**NOISE, "kind": "pink"}, "'none', 'sensitivity', 'variance' or 'correlated'"),
        (NoiseSettings, {**NOISE, "anisotropy": 1.5}, "less than or equal to 1"),
        (NoiseSettings, {**NOISE, "coherence": 0}, "greater than or equal to 1"),
        (
            NoiseSettings,
            {**NOISE, "kind": "correlated", "recipe": "reference"},
            "recipe reference: CMB-ML's noise is as deep as Planck's variance maps say; set pattern: variance",
        ),
        (NoiseModelSettings, {**NOISE_MODEL, "simulations": 1}, "greater than or equal to 2"),
        (NoiseModelSettings, {**NOISE_MODEL, "lmax_factor": 3}, "less than 3"),
        (NoiseModelSettings, {**NOISE_MODEL, "transforms": "slow"}, "'fast' or 'exact'"),
        (Variation, {**VARIATION, "brightness": -1}, "greater than or equal to 0"),
        (Variation, {**VARIATION, "dust_index": -1}, "greater than or equal to 0"),
        (Variation, {**VARIATION, "dust_index": {"distribution": "cauchy"}}, "'normal', 'uniform'"),
        (
            Variation,
            {
                **VARIATION,
                "dust_index": {"distribution": "uniform", "quantity": "value", "low": 2, "high": 1},
            },
            "uniform from 2 to 1: low must not be above high",
        ),
        (
            ForegroundSettings,
            {**FOREGROUNDS, "variation": "cmb_ml"},
            "variation 'cmb_ml': must be cmb_ml_dev, or be spelt out",
        ),
        (Extragalactic, {**EXTRAGALACTIC, "radio_flux_cut_jy": 0}, "greater than 0.0001"),
    ],
)
def test_what_cannot_work_is_refused(model, values, message):
    with pytest.raises(ValidationError, match=message):
        model(**values)


@pytest.mark.parametrize(("nside", "lmax"), [(512, 1024), (128, 382)])
def test_the_published_target_beam_is_accepted(nside, lmax):
    assert Target(nside=nside, lmax=lmax, fwhm_arcmin=20.6).fwhm_arcmin == 20.6


CHANGES = {
    "scale": 2.0,
    "anisotropy": 0.7,
    "pattern": "variance",
    "recipe": "reference",
    "reference_prefix": "I-512-1450_",
    "coherence": 99,
    "average_map": True,
}
REFERENCE = {"kind": "correlated", "recipe": "reference", "pattern": "variance"}


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        ({"kind": "none"}, set()),
        ({"kind": "sensitivity", "scale": 0}, {"scale"}),
        ({"kind": "sensitivity"}, {"scale", "anisotropy"}),
        ({"kind": "variance"}, {"scale"}),
        ({"kind": "correlated"}, {"scale", "anisotropy", "pattern", "coherence", "average_map"}),
        ({"kind": "correlated", "pattern": "variance"}, {"scale", "recipe", "coherence", "average_map"}),
        (REFERENCE, {"scale", "reference_prefix", "average_map"}),
    ],
    ids=["none", "no scale", "sensitivity", "variance", "scan", "scattered", "reference"],
)
def test_only_settings_that_the_kind_of_noise_has_count(chosen, count):
    before = {**NOISE, **chosen}
    changes = {name: value for name, value in CHANGES.items() if before[name] != value}
    if before["kind"] == "correlated" and before["pattern"] == "scan":
        del changes["recipe"]  # goes with the other pattern only
    counting = {
        name
        for name, value in changes.items()
        if NoiseSettings(**{**before, name: value}).used != NoiseSettings(**before).used
    }
    assert counting == count


def test_what_simulations_share_of_the_noise_does_not_depend_on_its_scale():
    def shared(**changed):
        return NoiseSettings(**{**NOISE, **REFERENCE, **changed}).of_sources

    assert shared() == shared(scale=3.0) == shared(reference_prefix="I-512-1450_")
    assert shared() != shared(recipe="scattered")


def test_groups_do_not_change_after_reading():
    with pytest.raises(ValidationError, match="frozen"):
        Maps(nside=64, lmax=128).lmax = 100


def test_what_a_kind_lacks_does_not_vary():
    variation = Variation(**VARIATION)
    assert [variation.index_of(kind) for kind in ("dust", "ame", "")] == [0.04, 0.0, 0.0]
    assert [variation.temperature_of(kind) for kind in ("dust", "synchrotron")] == [1.0, 0.0]


def foregrounds(**changes) -> ForegroundSettings:
    return ForegroundSettings(**{**FOREGROUNDS, **changes})


OTHER_SOURCES = {**EXTRAGALACTIC, "radio_flux_cut_jy": 1.5}
OTHER_VARIATION = {**VARIATION, "dust_index": 0.2}


@pytest.mark.parametrize(
    ("chosen", "without_effect"),
    [
        ({}, {"presets": ["d9", "s4"]}),
        ({"extragalactic": {**EXTRAGALACTIC, "radio": False}}, {"presets": ["d9"]}),
        ({"source": "pysm"}, {"extragalactic": OTHER_SOURCES}),
        ({"source": "pysm", "vary": False}, {"variation": OTHER_VARIATION}),
        (
            {"source": "planck", "vary": False},
            {"presets": ["d9"], "extragalactic": OTHER_SOURCES, "nside": 8},
        ),
    ],
)
def test_settings_of_another_source_count_for_nothing(chosen, without_effect):
    assert foregrounds(**chosen) != foregrounds(**{**chosen, **without_effect})
    assert foregrounds(**chosen).used == foregrounds(**{**chosen, **without_effect}).used


def test_the_flux_cut_counts_only_where_there_are_sources():
    cut, other = ({**EXTRAGALACTIC, "radio_flux_cut_jy": jansky} for jansky in (0.35, 0.5))
    assert foregrounds(extragalactic=cut).used != foregrounds(extragalactic=other).used
    cut, other = ({**values, "radio": False} for values in (cut, other))
    assert foregrounds(extragalactic=cut).used == foregrounds(extragalactic=other).used


@pytest.mark.parametrize(
    ("chosen", "with_effect"),
    [
        ({}, {"variation": OTHER_VARIATION}),
        ({}, {"extragalactic": OTHER_SOURCES}),
        ({}, {"nside": 128}),
        ({}, {"vary": False}),
        ({"source": "pysm"}, {"presets": ["d9", "s4"]}),
        ({"source": "pysm"}, {"nside": 128}),
    ],
)
def test_settings_that_shape_the_sky_count(chosen, with_effect):
    assert foregrounds(**chosen).used != foregrounds(**{**chosen, **with_effect}).used


def test_the_ranges_of_the_development_branch_have_a_name():
    variation = ForegroundSettings(**{**FOREGROUNDS, "variation": "cmb_ml_dev"}).variation
    index, temperature = variation.dust_index, variation.dust_temperature_kelvin
    assert (index.quantity, index.low, index.high) == ("value", 1.332, 1.628)
    assert (temperature.quantity, temperature.low, temperature.high) == ("value", 17.64, 21.56)
    assert (variation.synchrotron_index.mean, variation.synchrotron_index.sd) == (-3.1, 0.31)
    assert (variation.free_free_index.mean, variation.free_free_index.sd) == (-2.14, 0.21)
    assert variation.brightness == 0


@pytest.mark.parametrize(
    ("given", "splits"),
    [
        ("all", ("train", "valid", "test")),
        ("valid+test", ("valid", "test")),
        (["test"], ("test",)),
        ([], ()),
        ("", ()),
    ],
)
def test_splits_may_be_given_as_text(given, splits):
    assert CosmologySettings(**{**COSMOLOGY, "one_per_split": given}).one_per_split == splits
