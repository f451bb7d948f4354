"""Datasets of PyTorch over the skies of a split, read one at a time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cmbml.learning.symmetry import SphereSymmetry
from cmbml.learning.transform import Transform
from cmbml.science.skymap import UNSEEN, is_unseen

Loaders = Mapping[str, Callable[[], NDArray[Any]]]
Sample = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class LoadedArrays:
    """The arrays of some loaders, one after the other; can be passed through as often as wanted.

    Parameters
    ----------
    loaders
        By id of the sky.
    """

    loaders: Loaders

    def __iter__(self) -> Iterator[NDArray[Any]]:
        for name in sorted(self.loaders):
            yield self.loaders[name]()

    def __len__(self) -> int:
        return len(self.loaders)


class ArrayPairs(Dataset[Sample]):
    """Features and target of every sky of a split, with the weights of its pixels.

    Nothing is read before an item is asked for. Of what a loader returns, which may
    be a memory-mapped file, one copy is made: there the symmetry is applied, the
    pixels are checked, and the transform works in place.

    Parameters
    ----------
    features, target
        By id of the sky, what loads an array (n_features, *space), and one (n_outputs, *space).
    feature_transform, target_transform
        Fitted transforms.
    weights
        Weight of every pixel in the loss, shape space or (1, *space); None for the same everywhere.
    symmetry
        Symmetries of the sphere that the skies are shown in; None to show them as they are.

    Raises
    ------
    ValueError
        If there is no sky, or features and targets are not of the same skies.
    """

    def __init__(
        self,
        features: Loaders,
        targets: Loaders,
        *,
        feature_transform: Transform,
        target_transform: Transform,
        weights: NDArray[Any] | None = None,
        symmetry: SphereSymmetry | None = None,
    ) -> None:
        apart = sorted(set(features) ^ set(targets))
        if apart:
            raise ValueError(
                f"features and targets are not of the same skies; only one of them has {', '.join(apart[:5])}"
                f"{' ...' if len(apart) > 5 else ''}"
            )
        if not features:
            raise ValueError("no sky to learn from: the split is empty; simulate at least one sky for it")
        self.ids = tuple(sorted(features))
        self.features = LoadedArrays(features)
        self.targets = LoadedArrays(targets)
        self._feature_transform = feature_transform
        self._target_transform = target_transform
        self._weights = None if weights is None else np.array(weights, np.float32)
        self._symmetry = symmetry
        # In shared memory, so that workers that outlive an epoch see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.ids)

    def set_epoch(self, epoch: int) -> None:
        """Choose the symmetries of an epoch, from 0; also in workers that are already there."""
        self._epoch.fill_(epoch)

    def __getitem__(self, place: int) -> Sample:
        """Return features, target and weights of one sky, transformed, float32.

        Without weights of pixels, they are a single 1 of as many axes.

        Raises
        ------
        ValueError
            If pixels are NaN, infinite or not observed; names the sky and the feature.
        """
        name = self.ids[place]
        flips = (
            ((), ())
            if self._symmetry is None
            else (self._symmetry.feature_flips, self._symmetry.target_flips)
        )
        number = 0 if self._symmetry is None else self._symmetry.draw(int(self._epoch), name)
        features = self._own(self.features.loaders[name](), number, flips[0])
        check_pixels(features, what=f"{name}: feature")
        target = self._own(self.targets.loaders[name](), number, flips[1])
        check_pixels(target, what=f"{name}: target field")
        return (
            torch.from_numpy(self._feature_transform.apply(features)),
            torch.from_numpy(self._target_transform.apply(target)),
            torch.from_numpy(self._weights_of(target, number)),
        )

    def _own(self, array: NDArray[Any], number: int, flips: tuple[int, ...] = ()) -> NDArray[Any]:
        """Return a copy in the symmetry of this number, float32."""
        if self._symmetry is None or number == 0:
            return np.array(array, np.float32)
        return self._symmetry.apply(array, number, flips=flips).astype(np.float32, copy=False)

    def _weights_of(self, target: NDArray[Any], number: int) -> NDArray[Any]:
        if self._weights is None:
            return np.ones((1,) * target.ndim, np.float32)
        weights = self._weights.reshape(1, *target.shape[1:])
        return weights if number == 0 else self._own(weights, number)


def check_pixels(array: NDArray[Any], *, what: str) -> None:
    """Check that a network can learn from an array: that its pixels are finite and observed.

    Parameters
    ----------
    array
        Shape (n, *space), float32.
    what
        What a row is, for the message.

    Raises
    ------
    ValueError
        If they are not; says in which row, and how many.
    """
    lowest, highest = torch.aminmax(torch.from_numpy(array))  # NaN where there is one
    if -UNSEEN / 2 > highest >= lowest > UNSEEN / 2:
        return
    for number, row in enumerate(array):
        bad = ~np.isfinite(row) | is_unseen(row)
        if bad.any():
            raise ValueError(
                f"{what} {number} has {np.count_nonzero(bad)} pixels that are NaN, infinite or not "
                "observed; mend that map, or leave the sky out"
            )
