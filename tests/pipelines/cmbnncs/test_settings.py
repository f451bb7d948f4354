"""Settings of CMBNNCS refuse what cannot be computed."""

import pytest
import yaml
from pydantic import ValidationError

from cmbml.learning.settings import LearningSettings, PredictionSettings
from cmbml.learning.transform_settings import ScalingSettings
from cmbml.pipelines.cmbnncs.settings import Cmbnncs, NetworkSettings
from tests.kedro_runs import ROOT
from tests.pipelines.cmbnncs.small_skies import NETWORK, STANDARDISE, VALID, network

GROUPS = [
    (Cmbnncs, VALID),
    (NetworkSettings, NETWORK),
    (ScalingSettings, {"features": (STANDARDISE,), "target": (STANDARDISE,)}),
    (LearningSettings, {"symmetries": True, "masked_weight": 0.1}),
    (PredictionSettings, {"checkpoint": "best"}),
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
        (Cmbnncs, VALID, {"nside": 12}, "nside 12: must be a power of two"),
        (Cmbnncs, VALID, {"lmax": 24}, "lmax 24: must lie between 2 and 3 nside - 1 = 23"),
        (Cmbnncs, VALID, {"fwhm_arcmin": 0}, "greater than 0"),
        (Cmbnncs, VALID, {"inputs": "ratios"}, "'differences' or 'maps'"),
        (Cmbnncs, VALID, {"target": "beamed"}, "'common_beam' or 'unbeamed'"),
        (Cmbnncs, VALID, {"stokes": "QU"}, "'I' or 'IQU'"),
        (NetworkSettings, NETWORK, {"nside": 12}, "nside 12: must be a power of two"),
        (
            NetworkSettings,
            NETWORK,
            {"depth": 4},
            "depth 4: nside 8 cannot be halved that often; depths that fit: 1, 2, 3",
        ),
        (NetworkSettings, NETWORK, {"depth": 0}, "greater than 0"),
        (NetworkSettings, NETWORK, {"depth": "deep"}, "'auto'"),
        (
            NetworkSettings,
            NETWORK,
            {"kind": "published", "depth": 3, "max_filters": 6},
            "max_filters 6: must be a multiple of 4 to be halved at each of 3 steps",
        ),
        (NetworkSettings, NETWORK, {"kind": "other"}, "'correcting' or 'published'"),
        (NetworkSettings, NETWORK, {"filters": 0}, "greater than 0"),
        (LearningSettings, {"symmetries": True}, {"masked_weight": 1.1}, "less than or equal to 1"),
        (LearningSettings, {"symmetries": True}, {"masked_weight": -0.1}, "greater than or equal to 0"),
        (
            ScalingSettings,
            {"target": ()},
            {"features": ({"kind": "stretch"},)},
            "'factor', 'max_abs', 'min_max'",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(group, valid, change, message):
    with pytest.raises(ValidationError, match=message):
        group(**{**valid, **change})


@pytest.mark.parametrize(("nside", "steps"), [(2, 1), (4, 2), (16, 4), (32, 5), (128, 5), (256, 8), (512, 8)])
def test_the_depth_is_what_nside_allows_up_to_the_published_ones(nside, steps):
    assert network(nside=nside, depth="auto").steps == steps


def test_a_sky_of_base_pixels_has_no_network():
    with pytest.raises(
        ValidationError, match="nside 1: its planes cannot be halved even once; take 2 or more"
    ):
        network(nside=1, depth="auto")


def test_a_published_depth_needs_filters_that_can_be_halved_at_the_depth_of_auto():
    assert network(nside=32, kind="published", depth="auto", max_filters=32).steps == 5
    with pytest.raises(ValidationError, match="max_filters 24: must be a multiple of 16"):
        network(nside=32, kind="published", depth="auto", max_filters=24)


def test_the_published_recipe_is_the_same_in_every_environment_that_has_it():
    """Environments differ in what their resolution and their number of skies ask for, and in nothing else."""
    own = {"depth", "max_filters", "target", "epochs", "batch_size"}
    recipes = {}
    for name in ("cmb_ml_512", "cmb_ml_128", "cmb_ml_32", "cmb_ml_released", "cmb_ml_released_128"):
        groups = yaml.safe_load((ROOT / "conf" / name / "parameters_cmbnncs.yml").read_text())
        for group in ("cmbnncs", "cmbnncs_network", "cmbnncs_training"):
            groups[group] = {key: value for key, value in groups[group].items() if key not in own}
        recipes[name] = groups
    assert all(groups == recipes["cmb_ml_512"] for groups in recipes.values())
