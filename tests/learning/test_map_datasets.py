import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cmbml.datasets import ArrayDataset
from cmbml.learning.map_datasets import ArrayPairs, check_apart
from cmbml.learning.symmetry import SphereSymmetry
from cmbml.learning.transforms import Compose, Factor, Identity, Rearrange, UnitConversion
from cmbml.science.planes import map_to_plane, plane_index
from cmbml.science.skymap import UNSEEN

NSIDE = 4
NPIX = 12 * NSIDE**2
IDS = ("sim0000", "sim0001", "sim0002")
AS_THEY_ARE = {"feature_transform": Identity(), "target_transform": Identity()}


@dataclass(frozen=True)
class Given:
    """A loader of an array that lies in memory."""

    array: np.ndarray

    def __call__(self) -> np.ndarray:
        return self.array


def random(n: int, seed: int, space: tuple[int, ...] = (NPIX,)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, *space)).astype(np.float32)


def loaders(n: int, seed: int) -> dict[str, Given]:
    return {name: Given(random(n, seed + number)) for number, name in enumerate(IDS)}


FEATURES, TARGETS = loaders(3, 10), loaders(1, 20)


def test_items_are_features_target_and_a_weight_of_1():
    pairs = ArrayPairs(FEATURES, TARGETS, **AS_THEY_ARE)
    assert (len(pairs), pairs.ids) == (3, IDS)
    features, target, weights = pairs[1]
    assert {tensor.dtype for tensor in (features, target, weights)} == {torch.float32}
    np.testing.assert_array_equal(features, FEATURES["sim0001"].array)
    np.testing.assert_array_equal(target, TARGETS["sim0001"].array)
    assert (weights.shape, weights.item()) == ((1, 1), 1.0)


def test_planes_have_a_weight_of_as_many_axes():
    planes = {"sim0000": Given(map_to_plane(random(2, 1)))}
    features, target, weights = ArrayPairs(planes, planes, **AS_THEY_ARE)[0]
    assert features.shape == target.shape == (2, 16, 12)
    assert weights.shape == (1, 1, 1)


def test_the_order_is_that_of_the_ids():
    backwards = dict(reversed(FEATURES.items()))
    np.testing.assert_array_equal(
        ArrayPairs(backwards, TARGETS, **AS_THEY_ARE)[0][0], FEATURES["sim0000"].array
    )
    assert [a[0, 0] for a in ArrayPairs(backwards, TARGETS, **AS_THEY_ARE).features] == [
        FEATURES[name].array[0, 0] for name in IDS
    ]


def test_features_and_target_are_transformed_each_by_its_own():
    pairs = ArrayPairs(
        FEATURES,
        TARGETS,
        feature_transform=UnitConversion((1.0, 2.0, 3.0)),
        target_transform=Factor(5.0),
    )
    features, target, _ = pairs[2]
    np.testing.assert_allclose(features, FEATURES["sim0002"].array * [[1], [2], [3]], rtol=1e-6)
    np.testing.assert_allclose(target, TARGETS["sim0002"].array / 5, rtol=1e-6)


def test_double_precision_becomes_single():
    doubles = {name: Given(loader.array.astype(np.float64)) for name, loader in FEATURES.items()}
    for symmetry in (None, SphereSymmetry(NSIDE, 1)):
        features, *_ = ArrayPairs(doubles, TARGETS, **AS_THEY_ARE, symmetry=symmetry)[0]
        assert features.dtype == torch.float32


def test_what_a_loader_returns_stays_as_it_is(tmp_path):
    array = random(3, 1)
    array.flags.writeable = False  # as a mapped file is
    given = {"sim0000": Given(array)}
    pairs = ArrayPairs(given, given, feature_transform=Factor(2.0), target_transform=Factor(3.0))
    np.testing.assert_array_equal(pairs[0][0], pairs[0][0])
    np.testing.assert_array_equal(array, random(3, 1))


# ---- Symmetries and weights -------------------------------------------------------------


MASK = (np.arange(NPIX) % 7 != 0).astype(np.float32)


@pytest.mark.parametrize("weights", [MASK, MASK[None]])
def test_weights_have_the_shape_of_one_field(weights):
    given = ArrayPairs(FEATURES, TARGETS, **AS_THEY_ARE, weights=weights)[0][2]
    np.testing.assert_array_equal(given, MASK[None])


@pytest.mark.parametrize("epoch", range(16))
@pytest.mark.parametrize("plane", [False, True], ids=["sphere", "plane"])
def test_features_target_and_weights_are_shown_in_the_same_symmetry(epoch, plane):
    def laid_out(maps: np.ndarray) -> np.ndarray:
        return map_to_plane(maps) if plane else maps

    features = {name: Given(laid_out(loader.array)) for name, loader in FEATURES.items()}
    targets = {name: Given(laid_out(loader.array)) for name, loader in TARGETS.items()}
    flips = {"feature_flips": (2,), "target_flips": (0,)}
    symmetry = SphereSymmetry(NSIDE, 5, plane_index(NSIDE) if plane else None, **flips)
    pairs = ArrayPairs(features, targets, **AS_THEY_ARE, weights=laid_out(MASK), symmetry=symmetry)
    pairs.set_epoch(epoch)
    on_sphere = SphereSymmetry(NSIDE, 5)
    number = on_sphere.draw(epoch, "sim0001")
    shown = pairs[1]
    given = ((FEATURES["sim0001"].array, (2,)), (TARGETS["sim0001"].array, (0,)), (MASK[None], ()))
    for tensor, (maps, signs) in zip(shown, given, strict=True):
        np.testing.assert_array_equal(tensor, laid_out(on_sphere.apply(maps, number, flips=signs)))


def test_a_symmetry_comes_before_a_rearrangement():
    symmetry = SphereSymmetry(NSIDE, 5)
    rearranged = ArrayPairs(
        FEATURES,
        TARGETS,
        feature_transform=Rearrange(plane_index(NSIDE)),
        target_transform=Identity(),
        symmetry=symmetry,
    )
    plain = ArrayPairs(FEATURES, TARGETS, **AS_THEY_ARE, symmetry=symmetry)
    np.testing.assert_array_equal(rearranged[0][0], map_to_plane(plain[0][0]))


@pytest.mark.parametrize("weights", [None, MASK])
def test_weights_go_where_the_pixels_of_the_target_go(weights):
    options = {"weights": weights, "symmetry": SphereSymmetry(NSIDE, 5), "feature_transform": Identity()}
    onto_plane = Compose((Factor(5.0), Rearrange(plane_index(NSIDE))))
    on_plane = ArrayPairs(FEATURES, TARGETS, **options, target_transform=onto_plane)[0]
    on_sphere = ArrayPairs(FEATURES, TARGETS, **options, target_transform=Factor(5.0))[0]
    np.testing.assert_array_equal(on_plane[1], map_to_plane(on_sphere[1]))
    expected = np.ones((1, 1, 1)) if weights is None else map_to_plane(on_sphere[2])
    np.testing.assert_array_equal(on_plane[2], expected)


def test_another_epoch_shows_another_symmetry():
    pairs = ArrayPairs(FEATURES, TARGETS, **AS_THEY_ARE, symmetry=SphereSymmetry(NSIDE, 5))
    seen = set()
    for epoch in range(16):
        pairs.set_epoch(epoch)
        seen.add(pairs[0][0].numpy().tobytes())
    assert len(seen) == 16


# ---- In files, and in worker processes ------------------------------------------------------


@pytest.fixture(scope="module")
def in_files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("arrays")
    for kind, given in {"features": FEATURES, "targets": TARGETS}.items():
        for name, loader in given.items():
            ArrayDataset(filepath=folder / kind / f"{name}.npy").save(loader.array)
    return folder


def pairs_of(folder: Path, **options: object) -> ArrayPairs:
    features, targets = (
        {name: ArrayDataset(filepath=folder / kind / f"{name}.npy").load for name in IDS}
        for kind in ("features", "targets")
    )
    transforms = {"feature_transform": Factor(2.0), "target_transform": Factor(5.0)}
    return ArrayPairs(features, targets, **transforms, **options)


def test_nothing_is_read_before_an_item_is_asked_for(tmp_path):
    pairs = pairs_of(tmp_path / "nothing there")
    assert len(pairs) == 3
    with pytest.raises(Exception, match=r"sim0000\.npy: no such file"):
        pairs[0]


def test_it_travels_to_other_processes(in_files):
    pairs = pairs_of(in_files, symmetry=SphereSymmetry(NSIDE, 5), weights=MASK)
    pairs.set_epoch(3)
    for one, other in zip(pairs[1], pickle.loads(pickle.dumps(pairs))[1], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_give_the_same_samples_in_every_epoch(start, in_files):
    def epochs(**options: object) -> list[list[torch.Tensor]]:
        pairs = pairs_of(in_files, symmetry=SphereSymmetry(NSIDE, 5), weights=MASK)
        loader = DataLoader(pairs, batch_size=2, **options)
        shown = []
        for epoch in range(3):
            pairs.set_epoch(epoch)
            shown.append([tensor.clone() for batch in loader for tensor in batch])
        return shown

    alone = epochs(num_workers=0)
    shared = epochs(num_workers=2, persistent_workers=True, multiprocessing_context=start)
    for one, other in zip(alone, shared, strict=True):
        assert [t.shape for t in one] == [t.shape for t in other]
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not torch.equal(alone[0][0], alone[1][0])


# ---- What is refused ------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, UNSEEN])
@pytest.mark.parametrize("symmetry", [None, SphereSymmetry(NSIDE, 5)], ids=["as it is", "turned"])
def test_a_map_with_bad_pixels_is_named_when_it_is_read(bad, symmetry):
    array = random(3, 1)
    array[2, [5, 9]] = bad
    broken = FEATURES | {"sim0001": Given(array)}
    pairs = ArrayPairs(broken, TARGETS, **AS_THEY_ARE, symmetry=symmetry)
    pairs[0]
    with pytest.raises(ValueError, match="sim0001: feature 2 has 2 pixels that are NaN, infinite or not obs"):
        pairs[1]


def test_a_bad_target_is_named():
    broken = TARGETS | {"sim0002": Given(np.full((1, NPIX), np.nan, np.float32))}
    with pytest.raises(ValueError, match=f"sim0002: target field 0 has {NPIX} pixels that are NaN"):
        ArrayPairs(FEATURES, broken, **AS_THEY_ARE)[2]


def test_features_and_targets_are_of_the_same_skies():
    fewer = {name: TARGETS[name] for name in IDS[1:]}
    with pytest.raises(ValueError, match="not of the same skies; only one of them has sim0000"):
        ArrayPairs(FEATURES, fewer, **AS_THEY_ARE)


def test_a_split_without_skies_is_refused():
    with pytest.raises(ValueError, match="no sky to learn from: the split is empty"):
        ArrayPairs({}, {}, **AS_THEY_ARE)


@pytest.mark.parametrize("bad", [np.nan, -1.0])
def test_weights_that_are_none_are_refused(bad):
    with pytest.raises(ValueError, match="weights of pixels must be finite, not negative, and not all 0"):
        ArrayPairs(FEATURES, TARGETS, **AS_THEY_ARE, weights=np.where(np.arange(NPIX) == 3, bad, MASK))
    with pytest.raises(ValueError, match="weights of pixels must be finite, not negative, and not all 0"):
        ArrayPairs(FEATURES, TARGETS, **AS_THEY_ARE, weights=0 * MASK)


def test_weights_of_another_size_are_refused():
    pairs = ArrayPairs(FEATURES, TARGETS, **AS_THEY_ARE, weights=np.ones(48))
    with pytest.raises(ValueError, match=r"weights of shape \(48,\) do not fit a target of shape \(1, 192\)"):
        pairs[0]


def test_a_sky_in_two_splits_is_named_whatever_its_id():
    others = {"sim0000": Given(random(3, 90)), "sim0001": FEATURES["sim0002"]}
    targets = {name: TARGETS[name] for name in others}
    valid = ArrayPairs(others, targets, **AS_THEY_ARE)
    with pytest.raises(
        ValueError, match="1 of 2 skies to validate .* sim0001, which is sim0002 of the train"
    ):
        check_apart(ArrayPairs(FEATURES, TARGETS, **AS_THEY_ARE), valid)


def test_splits_with_equal_ids_and_other_skies_are_apart():
    train = ArrayPairs(FEATURES, TARGETS, **AS_THEY_ARE)
    check_apart(train, ArrayPairs(loaders(3, 50), TARGETS, **AS_THEY_ARE))
