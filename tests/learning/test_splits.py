from types import SimpleNamespace

import numpy as np
import pytest

from cmbml.learning.splits import check_no_overlap, check_splits
from tests.learning.small_trainings import Skies


def loaders(prefix: str, *seeds: int) -> dict:
    return {
        f"{prefix}{seed:04d}": lambda seed=seed: np.random.default_rng(seed).normal(size=(1, 48))
        for seed in seeds
    }


def split(targets: dict) -> SimpleNamespace:
    return type(
        "Split", (), {"targets": SimpleNamespace(loaders=targets), "__len__": lambda self: len(targets)}
    )()


def test_splits_of_different_skies_are_taken_also_if_these_are_called_the_same():
    check_no_overlap(loaders("sim", 0, 1), dict(zip(["sim0000"], loaders("", 2).values(), strict=True)))
    check_splits(Skies(2), None)


def test_a_sky_in_both_splits_is_named_whatever_it_is_called():
    with pytest.raises(
        ValueError, match=r"overlaps training in 1 skies \(sim0001 of training is other0001 of val"
    ):
        check_splits(split(loaders("sim", 0, 1)), split(loaders("other", 1, 2)))


@pytest.mark.parametrize(("counts", "name"), [((0, 1), "training"), ((1, 0), "validation")])
def test_a_split_without_skies_is_refused(counts, name):
    with pytest.raises(ValueError, match=f"the {name} split has no skies; simulate some"):
        check_splits(*(Skies(count) for count in counts))
