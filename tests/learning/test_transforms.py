import json
import pickle
import weakref

import numpy as np
import pytest
import torch

from cmbml.learning.transforms import (
    Compose,
    Factor,
    Identity,
    MaxAbs,
    MinMax,
    Rearrange,
    ReferenceDifference,
    Standardise,
    UnitConversion,
    transform_from_state,
)
from cmbml.science.planes import map_to_plane, plane_index
from cmbml.science.skymap import UNSEEN

NAMES = ("100 I", "143 I", "545 I")
NPIX = 768


def skies(count: int = 3, *, npix: int = NPIX, seed: int = 1) -> list[np.ndarray]:
    """Skies of three features whose means and spreads differ by orders of magnitude."""
    rng = np.random.default_rng(seed)
    middle, spread = np.array([[1.0], [-40.0], [3e4]]), np.array([[90.0], [120.0], [2e4]])
    return [(middle + spread * rng.standard_normal((3, npix))).astype(np.float32) for _ in range(count)]


ALL = np.concatenate(skies(), axis=1).astype(np.float64)
"""Every pixel of all three skies."""

KINDS = {
    "identity": Identity(),
    "factor": Factor(5.0),
    "unit_conversion": UnitConversion((1.0, 1e-3, 17.3)),
    "max_abs": MaxAbs(-1, 1),
    "max_abs to a range": MaxAbs(0, 1),
    "min_max": MinMax(0, 1),
    "standardise": Standardise(centre=True, robust=False),
    "standardise without centre": Standardise(centre=False, robust=False),
    "standardise robustly": Standardise(centre=True, robust=True),
    "reference_difference": ReferenceDifference((1, 1, 1)),
    "rearrange": Rearrange(plane_index(8)),
    "compose": Compose(
        (ReferenceDifference((1, 1, 1)), Standardise(centre=True, robust=False), Rearrange(plane_index(8)))
    ),
    "compose of compositions": Compose((Compose((Factor(5.0), MinMax(-1, 1))), MaxAbs(0, 1))),
}
every_kind = pytest.mark.parametrize("transform", KINDS.values(), ids=KINDS.keys())
in_place = pytest.mark.parametrize(
    "transform", [kind for kind in KINDS.values() if "rearrange" not in str(kind.state())]
)
to_fit = pytest.mark.parametrize("transform", [kind for kind in KINDS.values() if kind.fit(skies()) != kind])


# ---- What every transform promises -----------------------------------------------


@every_kind
@pytest.mark.parametrize("make", [np.array, torch.from_numpy], ids=["numpy", "torch"])
def test_the_inverse_undoes_it_in_single_precision(transform, make):
    sky = make(skies()[0])
    fitted = transform.fit(skies())
    back = fitted.inverse(fitted(sky))
    assert type(back) is type(sky)
    assert back.dtype == sky.dtype
    assert back.shape == sky.shape
    # A difference of features is rounded to single precision at the size of the larger one.
    np.testing.assert_allclose(back, skies()[0], rtol=0, atol=4 * np.finfo(np.float32).eps * 1e5)


@every_kind
def test_numpy_and_torch_give_the_same(transform):
    fitted, sky = transform.fit(skies()), skies()[1]
    there = fitted(sky)
    assert there.dtype == np.float32
    np.testing.assert_allclose(fitted(torch.from_numpy(sky)).numpy(), there, rtol=1e-6, atol=1e-6)


@every_kind
def test_what_it_is_given_stays_as_it_is(transform):
    fitted, sky = transform.fit(skies()), skies()[0]
    fitted.inverse(fitted(sky))
    np.testing.assert_array_equal(sky, skies()[0])
    tensor = torch.from_numpy(sky)
    fitted.inverse(fitted(tensor))
    np.testing.assert_array_equal(tensor, skies()[0])


@every_kind
def test_fitting_returns_another_one(transform):
    before = transform.state()
    transform.fit(skies())
    assert transform.state() == before


@every_kind
def test_its_state_survives_json_and_gives_it_back(transform):
    fitted = transform.fit(skies())
    again = transform_from_state(json.loads(json.dumps(fitted.state())))
    assert again == fitted
    np.testing.assert_array_equal(again(skies()[2]), fitted(skies()[2]))


@every_kind
def test_its_state_is_loaded_with_weights_only(transform, tmp_path):
    state = transform.fit(skies()).state()
    torch.save(state, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == state


@every_kind
def test_it_travels_to_other_processes(transform):
    fitted = transform.fit(skies())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted))(skies()[0]), fitted(skies()[0]))


@every_kind
def test_its_table_has_a_row_per_feature(transform):
    rows = transform.fit(skies()).table(NAMES)
    assert [(row["channel"], row["stokes"]) for row in rows] == [("100", "I"), ("143", "I"), ("545", "I")]


@in_place
def test_it_acts_on_planes_as_on_maps(transform):
    fitted = transform.fit(skies())
    np.testing.assert_array_equal(fitted(map_to_plane(skies()[0])), map_to_plane(fitted(skies()[0])))


def test_gradients_pass_through():
    sky = torch.from_numpy(skies()[0]).requires_grad_()
    Compose((ReferenceDifference((1, 1, 1)), Factor(5.0)))(sky).sum().backward()
    np.testing.assert_allclose(sky.grad[:, 0], [0.2, -0.2, 0.2], rtol=1e-6)


# ---- What each one does --------------------------------------------------------------


def test_a_factor_divides():
    np.testing.assert_allclose(Factor(5.0)(skies()[0]), skies()[0] / 5, rtol=1e-6)


def test_a_unit_conversion_multiplies_every_feature_by_its_own():
    converted = UnitConversion((1.0, 1e-3, 17.3))(skies()[0])
    np.testing.assert_allclose(converted, skies()[0] * np.array([[1.0], [1e-3], [17.3]]), rtol=1e-6)


@pytest.mark.parametrize("low, high", [(-1, 1), (0, 1), (2, 5)])
def test_max_abs_brings_the_largest_value_of_the_training_skies_to_an_end(low, high):
    scaled = MaxAbs(low, high).fit(skies())(ALL.astype(np.float32))
    largest = np.abs(ALL).max(axis=1, keepdims=True)
    expected = low + (high - low) * (ALL / largest + 1) / 2
    np.testing.assert_allclose(scaled, expected, atol=1e-6 * (high - low))


@pytest.mark.parametrize("low, high", [(0, 1), (-1, 1), (2, 5)])
def test_min_max_brings_the_extremes_of_the_training_skies_to_the_ends(low, high):
    scaled = MinMax(low, high).fit(skies())(ALL.astype(np.float32))
    np.testing.assert_allclose(scaled.min(axis=1), low, atol=1e-6 * (high - low))
    np.testing.assert_allclose(scaled.max(axis=1), high, atol=1e-6 * (high - low))


def test_standardised_training_skies_have_mean_0_and_deviation_1():
    fitted = Standardise(centre=True, robust=False).fit(skies())
    np.testing.assert_allclose(fitted.middle, ALL.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(fitted.spread, ALL.std(axis=1), rtol=1e-12)
    scaled = fitted(ALL.astype(np.float32))
    np.testing.assert_allclose(scaled.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=1), 1, rtol=1e-5)


def test_mean_and_deviation_do_not_depend_on_how_pixels_are_shared_among_skies():
    parts = [sky[:, :100] for sky in skies()] + [sky[:, 100:] for sky in skies()]
    whole, shared = (Standardise(centre=True, robust=False).fit(given) for given in (skies(), parts))
    np.testing.assert_allclose(shared.middle, whole.middle, rtol=1e-12)
    np.testing.assert_allclose(shared.spread, whole.spread, rtol=1e-12)


def test_without_centre_a_mean_stays():
    fitted = Standardise(centre=False, robust=False).fit(skies())
    np.testing.assert_allclose(fitted(skies()[0]), skies()[0] / ALL.std(axis=1, keepdims=True), rtol=1e-6)


def test_a_robust_spread_is_the_deviation_of_a_gaussian_sky():
    fitted = Standardise(centre=True, robust=True).fit(skies(8, npix=12 * 16**2))
    # Median and median absolute deviation of n Gaussian pixels scatter by 1.25 and 1.17 / sqrt(n).
    scatter = 5 * 1.25 / np.sqrt(8 * 12 * 16**2)
    np.testing.assert_allclose(fitted.spread, [90, 120, 2e4], rtol=scatter)
    np.testing.assert_allclose(np.array(fitted.middle) - [1, -40, 3e4], 0, atol=scatter * 2e4)


def test_a_bright_plane_sets_the_deviation_but_not_the_robust_spread():
    dim = skies(4)
    bright = [np.where(np.arange(NPIX) < NPIX // 20, 1e6, sky).astype(np.float32) for sky in dim]
    plain, robust = (
        np.divide(*(Standardise(centre=True, robust=kind).fit(given).spread for given in (bright, dim)))
        for kind in (False, True)
    )
    assert plain[0] > 1000
    assert np.all(robust < 1.2)


def test_the_pixels_of_medians_cover_the_sky_evenly():
    """4096 pixels from each of 12 skies of nside 64 are every pixel once."""
    pixels = np.arange(12 * 64**2, dtype=np.float32)[None]
    fitted = Standardise(centre=True, robust=True).fit([pixels] * 12)
    assert fitted.middle[0] == np.median(pixels)
    assert fitted.spread[0] == pytest.approx(1.482602218505602 * pixels.size / 4, rel=1e-6)


def test_a_reference_is_subtracted_from_the_same_field_of_every_channel():
    names = ("100 I", "100 Q", "143 I", "143 Q", "545 I")
    sky = np.arange(5.0)[:, None] ** 2 * np.ones(12)
    difference = ReferenceDifference((2, 3, 2, 3, 2))
    np.testing.assert_array_equal(difference(sky)[:, 0], [0 - 4, 1 - 9, 4, 9, 16 - 4])
    assert [row["minus"] for row in difference.table(names)] == ["143 I", "143 Q", "", "", "143 I"]


def test_what_all_channels_share_is_in_no_difference():
    sky, shared = skies()[0], np.linspace(-100, 100, NPIX, dtype=np.float32)
    difference = ReferenceDifference((1, 1, 1))
    np.testing.assert_allclose(difference(sky + shared)[[0, 2]], difference(sky)[[0, 2]], atol=0.02)


def test_rearranging_lays_maps_out_in_the_plane():
    np.testing.assert_array_equal(Rearrange(plane_index(8))(skies()[0]), map_to_plane(skies()[0]))


def test_the_text_of_an_index_is_smaller_than_its_numbers():
    index = plane_index(64)
    assert len(Rearrange(index).state()["index"]) < index.size * 2


def test_a_composition_is_fitted_to_what_the_ones_before_make():
    fitted = Compose((ReferenceDifference((1, 1, 1)), Standardise(centre=True, robust=False))).fit(skies())
    expected = ALL[0] - ALL[1]
    assert fitted.transforms[1].spread[0] == pytest.approx(expected.std(), rel=1e-6)
    assert fitted.table(NAMES)[0] == {
        "channel": "100",
        "stokes": "I",
        "minus": "143 I",
        "mean": fitted.transforms[1].middle[0],
        "std": fitted.transforms[1].spread[0],
    }


def test_the_same_number_twice_in_a_table_is_told_apart():
    row = Compose((Factor(2.0), Factor(3.0))).table(NAMES)[0]
    assert (row["factor"], row["factor_2"]) == (2.0, 3.0)


@to_fit
def test_skies_are_let_go_of_when_they_have_been_seen(transform):
    given, held = [], []

    class OneByOne:
        def __iter__(self):
            for seed in range(6):
                (sky,) = skies(1, seed=seed)
                given.append(weakref.ref(sky))
                held.append(sum(reference() is not None for reference in given))
                yield sky
                del sky

    transform.fit(OneByOne())
    assert 1 <= max(held) <= 2  # the next one is made while the last one is still there


# ---- What is refused --------------------------------------------------------------------


CONSTANT = [np.array([[1, 2, 3], [7, 7, 7]], np.float32)] * 2
FITTED = [
    MinMax(0, 1),
    Standardise(centre=True, robust=False),
    Standardise(centre=True, robust=True),
    Standardise(centre=False, robust=False),
]


@pytest.mark.parametrize("transform", FITTED)
def test_a_constant_feature_is_named(transform):
    with pytest.raises(ValueError, match=r"feature 1 \(143 I\) is constant over the skies to fit"):
        transform.fit(CONSTANT, names=("100 I", "143 I"))


def test_a_feature_that_is_nothing_but_0_has_no_largest_value():
    with pytest.raises(ValueError, match="feature 0 is constant over the skies to fit, its spread is 0"):
        MaxAbs(-1, 1).fit([np.zeros((1, 12))])


@pytest.mark.parametrize("transform", [*FITTED, MaxAbs(0, 1)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, UNSEEN])
def test_a_sky_with_bad_pixels_is_named(transform, bad):
    given = skies()
    given[2][1, 5] = bad
    with pytest.raises(
        ValueError, match=r"sky 2 of those to fit: feature 1 \(143 I\) has 1 pixels that are NaN"
    ):
        transform.fit(given, names=NAMES)


@pytest.mark.parametrize("transform", [*FITTED, MaxAbs(0, 1)])
def test_no_sky_is_nothing_to_fit_to(transform):
    with pytest.raises(ValueError, match="no sky to fit a transform to; give those of the training split"):
        transform.fit([])


def test_skies_of_other_features_are_refused():
    with pytest.raises(ValueError, match="sky 1 of those to fit has 2 features, the ones before have 3"):
        MinMax(0, 1).fit([skies()[0], skies()[0][:2]])


@pytest.mark.parametrize("transform", [*FITTED, MaxAbs(0, 1)])
def test_an_unfitted_transform_says_so(transform):
    with pytest.raises(ValueError, match=f"{transform.kind}: not fitted yet"):
        transform(skies()[0])


def test_a_sky_of_other_features_than_fitted_is_refused():
    with pytest.raises(ValueError, match="min_max: fitted to 3 features, but this sky has 2"):
        MinMax(0, 1).fit(skies())(skies()[0][:2])
    with pytest.raises(ValueError, match="reference_difference: made for 3 features, but this sky has 2"):
        ReferenceDifference((1, 1, 1))(skies()[0][:2])


def test_a_generator_cannot_be_passed_through_twice():
    both = Compose((MinMax(0, 1), Standardise(centre=True, robust=False)))
    with pytest.raises(ValueError, match="2 transforms have to be fitted, but the skies can be passed"):
        both.fit(sky for sky in skies())


def test_a_generator_is_enough_for_one_that_has_to_be_fitted():
    one = Compose((Factor(2.0), MinMax(0, 1)))
    assert one.fit(sky for sky in skies()) == one.fit(skies())


@pytest.mark.parametrize("kind", [MinMax, MaxAbs])
def test_a_range_has_to_rise(kind):
    with pytest.raises(ValueError, match="range from 1 to 1: low must be below high"):
        kind(1, 1)


def test_nothing_is_divided_by_0():
    with pytest.raises(ValueError, match="factor 0: nothing can be divided by it"):
        Factor(0)
    with pytest.raises(ValueError, match="no unit is 0 times another one"):
        UnitConversion((1.0, 0.0))


@pytest.mark.parametrize("references", [(1, 2, 2), (3, 1, 1), (-1, 1, 1)])
def test_a_reference_has_to_stay(references):
    with pytest.raises(ValueError, match="each must be the number of a feature, below 3, that stays"):
        ReferenceDifference(references)


def test_an_index_that_loses_a_pixel_is_refused():
    with pytest.raises(ValueError, match=r"an index of shape \(3,\) must hold every number from 0 to 2 once"):
        Rearrange(np.array([0, 1, 1]))


def test_maps_of_another_size_are_not_rearranged():
    with pytest.raises(ValueError, match=r"rearrange: made for maps of 768 pixels, but got shape \(3, 12\)"):
        Rearrange(plane_index(8))(skies(npix=12)[0])


def test_a_state_of_nothing_is_refused():
    with pytest.raises(ValueError, match="kind 'square': no transform; there are identity, "):
        transform_from_state({"kind": "square"})
    with pytest.raises(ValueError, match="not the state of a factor"):
        transform_from_state({"kind": "factor", "divisor": 5})
