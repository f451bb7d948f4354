"""The scaling is that of the training split, and is told as a table."""

import numpy as np
import pytest

from cmbml.learning.scaling import fit_transforms, scaling_table, target_names
from cmbml.learning.transform import transform_from_state
from cmbml.learning.transform_settings import ScalingSettings

STANDARDISE = {"kind": "standardise", "centre": False, "robust": False}
SCALING = ScalingSettings(features=(STANDARDISE,), target=(STANDARDISE,))

NAMES = ("143 I", "100-143 I")


def arrays(rows: int, *, count: int = 3, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    spreads = np.array([3.0, 50.0, 7.0])[:rows, None, None]
    values = {
        f"sim{n:04d}": (spreads * rng.standard_normal((rows, 8, 6))).astype(np.float32) for n in range(count)
    }
    return {name: lambda array=array: array for name, array in values.items()}


def fitted(**transforms):
    settings = SCALING.model_copy(update=transforms)
    return fit_transforms(arrays(2), arrays(1, seed=1), NAMES, settings=settings, stokes="I")


def test_features_and_target_get_the_spread_of_the_skies_they_were_fitted_to():
    scaling = fitted()
    for key, loaders in (("features", arrays(2)), ("target", arrays(1, seed=1))):
        skies = np.stack([load() for load in loaders.values()])
        (state,) = scaling[key]["transforms"]
        np.testing.assert_allclose(state["spread"], skies.std(axis=(0, 2, 3)), rtol=1e-5)
        transform = transform_from_state(scaling[key])
        np.testing.assert_allclose(np.std([transform(sky) for sky in skies], axis=(0, 2, 3)), 1, rtol=1e-5)
        np.testing.assert_allclose(transform.inverse(transform(skies[0])), skies[0], rtol=1e-5)


def test_the_table_has_a_row_per_feature_and_per_field():
    scaling = fit_transforms(arrays(2), arrays(3, seed=1), NAMES, settings=SCALING, stokes="IQU")
    table = scaling_table(scaling)
    assert list(table["channel"]) == ["143", "100-143", "CMB", "CMB", "CMB"]
    assert list(table["stokes"]) == ["I", "I", "I", "Q", "U"]
    spreads = scaling["features"]["transforms"][0]["spread"] + scaling["target"]["transforms"][0]["spread"]
    assert list(table["std"]) == spreads


def test_transforms_follow_one_another():
    half = ScalingSettings(features=({"kind": "factor", "factor": 2.0},), target=()).features
    scaling = fitted(features=(*half, *SCALING.features))
    sky = arrays(2)["sim0000"]()
    np.testing.assert_allclose(
        transform_from_state(scaling["features"])(sky),
        transform_from_state(fitted()["features"])(sky),
        rtol=1e-5,
    )
    assert scaling["features"]["transforms"][0] == {"kind": "factor", "factor": 2.0}


def test_no_transform_leaves_everything_as_it_is():
    scaling = fitted(target=())
    sky = arrays(1)["sim0000"]()
    assert np.array_equal(transform_from_state(scaling["target"])(sky), sky)
    assert scaling["target_names"] == ["CMB I"] == list(target_names("I"))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda sky: np.where(np.arange(6) == 2, np.nan, sky),
            r"feature 0 \(143 I\) has 8 pixels that are NaN",
        ),
        (lambda sky: np.full_like(sky, 4.0), r"feature 0 \(143 I\) is constant over the skies to fit"),
    ],
)
def test_skies_that_cannot_be_scaled_are_named(spoil, message):
    bad = {name: lambda load=load: spoil(load()).astype(np.float32) for name, load in arrays(2).items()}
    with pytest.raises(ValueError, match=message):
        fit_transforms(bad, arrays(1), NAMES, settings=SCALING, stokes="I")


def test_a_split_without_skies_is_named():
    with pytest.raises(ValueError, match="no sky to fit a transform to; give those of the training split"):
        fit_transforms({}, {}, NAMES, settings=SCALING, stokes="I")
