"""The trainer on the datasets of maps, as pipelines use it."""

from pathlib import Path

import numpy as np
import pytest

from cmbml.learning import ArrayPairs, NetworkSpec, SphereSymmetry, train
from cmbml.learning.checkpoints import build_network
from cmbml.learning.inference import predict
from cmbml.learning.transform import transform_from_state
from cmbml.learning.transforms import Factor, Standardise
from cmbml.science.planes import map_to_plane, plane_index
from tests.learning.small_trainings import checkpoint, same_weights, settings

NSIDE = 4
SPEC = NetworkSpec("tests.learning.small_trainings:small_network", {"width": 4})


def planes(split: str, count: int) -> tuple[dict, dict]:
    """Loaders of two channels, whose mean is the target."""
    generator = np.random.default_rng([count, len(split)])
    skies = [generator.normal(scale=100, size=(2, 12 * NSIDE**2)).astype(np.float32) for _ in range(count)]
    features = {f"sim{n:04d}": lambda sky=sky: map_to_plane(sky) for n, sky in enumerate(skies)}
    targets = {
        f"sim{n:04d}": lambda sky=sky: map_to_plane(sky.mean(axis=0, keepdims=True))
        for n, sky in enumerate(skies)
    }
    return features, targets


def pairs(
    split: str, loaders: tuple[dict, dict], transforms: tuple, *, symmetric: bool = False
) -> ArrayPairs:
    symmetry = SphereSymmetry(NSIDE, seed=3, layout=plane_index(NSIDE)) if symmetric else None
    weights = np.linspace(0, 1, 12 * NSIDE**2, dtype=np.float32)
    return ArrayPairs(
        *loaders,
        feature_transform=transforms[0],
        target_transform=transforms[1],
        weights=map_to_plane(weights),
        symmetry=symmetry,
    )


@pytest.fixture(scope="module")
def splits() -> dict:
    return {"train": planes("train", 5), "valid": planes("valid", 2)}


def train_on(splits: dict, directory: Path, **changes) -> str:
    features = [load() for load in splits["train"][0].values()]
    transforms = (Standardise(centre=True, robust=False).fit(features), Factor(100.0))
    train_skies = pairs("train", splits["train"], transforms, symmetric=True)
    valid_skies = pairs("valid", splits["valid"], transforms)
    facts = {"features": transforms[0].state(), "target": transforms[1].state()}
    return train(SPEC, train_skies, valid_skies, settings(**changes), directory, facts)


def test_skies_are_shown_in_other_symmetries_after_a_pause_as_without_one(splits, tmp_path):
    train_on(splits, tmp_path / "whole")
    while train_on(splits, tmp_path / "paused", max_minutes=1e-9, num_workers=1) == "max_minutes":
        pass
    assert same_weights(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "paused"))


def test_a_checkpoint_is_all_that_is_needed_to_clean(splits, tmp_path):
    changes = {"epochs": 30, "optimiser": {"lr": 0.03}}
    train_on(splits, tmp_path, **changes)
    best = checkpoint(tmp_path, "best")
    scale, unscale = (transform_from_state(best["facts"][key]) for key in ("features", "target"))
    features, truth = (loaders["sim0000"]() for loaders in splits["valid"])
    cleaned = unscale.inverse(predict(build_network(best), scale(features)[None])[0])
    assert np.abs(cleaned - truth).mean() < 0.7 * np.abs(truth).mean()


def test_a_map_with_nan_is_named_at_its_first_batch(splits, tmp_path):
    features, targets = splits["train"]
    broken = features["sim0003"]().copy()
    broken[1, 0, 0] = np.nan
    poisoned = {"train": ({**features, "sim0003": lambda: broken}, targets), "valid": splits["valid"]}
    transforms = (Factor(100.0), Factor(100.0))
    with pytest.raises(ValueError, match="sim0003: feature"):
        train(
            SPEC,
            pairs("train", poisoned["train"], transforms),
            pairs("valid", poisoned["valid"], transforms),
            settings(),
            tmp_path,
            {},
        )


def test_a_validation_split_that_overlaps_training_is_named_before_anything_is_written(splits, tmp_path):
    overlapping = {
        "train": splits["train"],
        "valid": tuple({"sim0007": s["sim0002"]} for s in splits["train"]),
    }
    with pytest.raises(ValueError, match="sim0007, which is sim0002 of the training split"):
        train_on(overlapping, tmp_path / "new")
    assert not (tmp_path / "new").exists()
