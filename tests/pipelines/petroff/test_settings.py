"""Settings of the spherical network refuse what cannot be computed."""

import pytest
from pydantic import ValidationError

from cmbml.learning.settings import LearningSettings
from cmbml.learning.transform_settings import ScalingSettings
from cmbml.partitions import fingerprint_of, plain
from cmbml.pipelines.petroff.resolutions import check_depth
from cmbml.pipelines.petroff.settings import NetworkSettings, Petroff, SamplingSettings
from tests.pipelines.cmbnncs.small_skies import STANDARDISE
from tests.pipelines.petroff.small_skies import NETWORK, PREDICTION, VALID, data, network, sampling

SHOWN = {"symmetries": True, "masked_weight": 0.1}
GROUPS = [
    (Petroff, VALID),
    (NetworkSettings, NETWORK),
    (ScalingSettings, {"features": (STANDARDISE,), "target": (STANDARDISE,)}),
    (LearningSettings, SHOWN),
    (SamplingSettings, PREDICTION),
]
every_group = pytest.mark.parametrize(
    ("group", "valid"), GROUPS, ids=lambda value: getattr(value, "__name__", "")
)


@every_group
def test_no_setting_has_a_default(group, valid):
    for name in valid:
        with pytest.raises(ValidationError, match=f"{name}\n  Field required"):
            group(**{key: value for key, value in valid.items() if key != name})


@every_group
def test_settings_cannot_be_changed_and_unknown_ones_are_refused(group, valid):
    made = group(**valid)
    with pytest.raises(ValidationError, match="frozen"):
        setattr(made, next(iter(valid)), None)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        group(**valid, sped=3)


@pytest.mark.parametrize(
    ("group", "valid", "change", "message"),
    [
        (Petroff, VALID, {"nside": 12}, "nside 12: must be a power of two"),
        (Petroff, VALID, {"lmax": 24}, "lmax 24: must lie between 2 and 3 nside - 1 = 23"),
        (Petroff, VALID, {"fwhm_arcmin": 0}, "greater than 0"),
        (Petroff, VALID, {"inputs": "ratios"}, "'differences' or 'maps'"),
        (Petroff, VALID, {"inputs_fwhm_arcmin": -5.0}, "greater than 0"),
        (Petroff, VALID, {"inputs_fwhm_arcmin": "common"}, "'auto' or 'native'"),
        (NetworkSettings, NETWORK, {"nside": 12}, "nside 12: must be a power of two"),
        (NetworkSettings, NETWORK, {"nside": 12, "depth": "auto"}, "nside 12: must be a power of two"),
        (
            NetworkSettings,
            NETWORK,
            {"depth": 4},
            "depth 4: a sphere of nside 8 can be coarsened 3 times, down to nside 1; take 0 to 3",
        ),
        (NetworkSettings, NETWORK, {"depth": 0}, "greater than 0"),
        (NetworkSettings, NETWORK, {"depth": "deep"}, "'auto'"),
        (NetworkSettings, NETWORK, {"kind": "other"}, "'correcting', 'published' or 'deepsphere'"),
        (NetworkSettings, NETWORK, {"filters": 0}, "greater than 0"),
        (
            NetworkSettings,
            NETWORK,
            {"order": 0},
            "order 0: a convolution has at least one term; take 1 or more",
        ),
        (NetworkSettings, NETWORK, {"initial_dropout": 1.0}, "less than 1"),
        (NetworkSettings, NETWORK, {"initial_dropout": -0.1}, "greater than or equal to 0"),
        (NetworkSettings, NETWORK, {"length_scale": -1e-4}, "greater than or equal to 0"),
        (NetworkSettings, NETWORK, {"dropout_strength": -1.0}, "greater than or equal to 0"),
        (NetworkSettings, NETWORK, {"prior_skies": 0}, "greater than 0"),
        (NetworkSettings, NETWORK, {"prior_skies": "valid"}, "'train'"),
        (NetworkSettings, NETWORK, {"pooling": "sum"}, "'max' or 'mean'"),
        (NetworkSettings, NETWORK, {"output": "relu"}, "'linear' or 'elu'"),
        (NetworkSettings, NETWORK, {"start": "zero"}, "'drawn' or 'trained'"),
        (LearningSettings, SHOWN, {"masked_weight": 1.1}, "less than or equal to 1"),
        (LearningSettings, SHOWN, {"masked_weight": -0.1}, "greater than or equal to 0"),
        (SamplingSettings, PREDICTION, {"samples": 1}, "greater than or equal to 2"),
        (SamplingSettings, PREDICTION, {"batch": 0}, "greater than 0"),
        (SamplingSettings, PREDICTION, {"accelerator": "tpu"}, "'auto', 'cpu' or 'gpu'"),
        (SamplingSettings, PREDICTION, {"seed": -1}, "greater than or equal to 0"),
        (SamplingSettings, PREDICTION, {"error_cut_uk": 0}, "greater than 0"),
        (SamplingSettings, PREDICTION, {"fitted_skies": 0}, "greater than 0"),
    ],
)
def test_settings_that_cannot_work_are_refused(group, valid, change, message):
    with pytest.raises(ValidationError, match=message):
        group(**{**valid, **change})


@pytest.mark.parametrize("inputs", ["maps", "differences"])
def test_a_resolution_and_a_beam_of_a_small_sky_are_taken(inputs):
    assert data(inputs=inputs, inputs_fwhm_arcmin=900.0).inputs_fwhm_arcmin == 900.0
    assert data(inputs="maps", inputs_fwhm_arcmin="native").inputs_fwhm_arcmin == "native"


@pytest.mark.parametrize(
    ("kind", "nside", "steps"),
    [
        ("published", 512, 9),
        ("correcting", 64, 6),
        ("correcting", 1, 0),
        ("deepsphere", 512, 3),
        ("deepsphere", 4, 2),
    ],
)
def test_the_depth_of_auto_is_the_published_one(kind, nside, steps):
    assert network(kind=kind, nside=nside, depth="auto").steps == steps
    assert network(kind=kind, nside=nside, depth="auto").used.depth == steps


@pytest.mark.parametrize(
    ("nside", "depth", "ok"), [(8, 0, True), (8, 3, True), (8, 4, False), (8, -1, False)]
)
def test_a_sphere_is_coarsened_down_to_its_twelve_pixels(nside, depth, ok):
    if ok:
        assert check_depth(nside, depth) == depth
        return
    with pytest.raises(ValueError, match=f"depth {depth}: a sphere of nside 8 can be coarsened 3 times"):
        check_depth(nside, depth)


def test_settings_that_a_network_does_not_have_make_it_no_other():
    assert network(kind="published", compress=True).used == network(kind="published", compress=False).used
    assert network(kind="correcting", compress=True).used != network(kind="correcting", compress=False).used
    deepsphere = [network(kind="deepsphere", compress=compress).used for compress in (True, False)]
    assert deepsphere[0] == deepsphere[1]


def test_targets_depend_on_what_is_to_be_found_alone():
    seen = {"channels": "100-353", "inputs": "maps", "inputs_fwhm_arcmin": 900.0, "reference": "353"}
    assert data(**seen).of_targets == data().of_targets
    for found in ({"nside": 16}, {"lmax": 10}, {"fwhm_arcmin": 800.0}):
        assert data(**found).of_targets != data().of_targets


def test_passes_depend_on_what_is_asked_of_the_network_alone():
    later = {
        "checkpoint": "last",
        "error_cut_uk": 20.0,
        "correct_spectrum": False,
        "calibrate_errors": False,
        "fitted_skies": 7,
    }
    assert sampling(**later).of_passes == sampling().of_passes
    for asked in ({"samples": 6}, {"seed": 6}):
        assert sampling(**asked).of_passes != sampling().of_passes


def test_how_passes_are_computed_is_all_that_a_recipe_leaves_out():
    how = {"batch": 2, "accelerator": "auto"}
    assert set(how) == SamplingSettings.NOT_IN_RESULTS
    assert set(plain(sampling())) == set(PREDICTION) - set(how)
    assert set(sampling().model_dump(mode="json")) == set(PREDICTION)
    for name, value in how.items():
        other = sampling(**{name: value})
        assert other != sampling()
        assert fingerprint_of(other) == fingerprint_of(sampling())
        assert getattr(other.of_passes, name) == value  # which passes need all the same
