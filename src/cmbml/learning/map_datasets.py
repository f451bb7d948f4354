"""Datasets of PyTorch over the skies of a split, read one at a time."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cmbml.learning.features import check_pixels
from cmbml.learning.symmetry import SphereSymmetry
from cmbml.learning.transform import Transform, transform_from_state

PIXELS_COMPARED = 1024
"""How many pixels of each sky tell whether two skies are the same: enough, as all have noise."""

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
        By id of the sky, what loads an array ``(n_features, *space)``, and one ``(n_outputs, *space)``.
    feature_transform, target_transform
        Fitted transforms.
    weights
        Weight of every pixel of the target, as it is loaded, in the loss, shape ``space`` or
        ``(1, *space)``; None for the same everywhere.
    symmetry
        Symmetries of the sphere that the skies are shown in; None to show them as they are.

    Raises
    ------
    ValueError
        If there is no sky, features and targets are not of the same skies, or weights are not
        finite, negative or all 0.
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
        self._weights = None if weights is None else _checked_weights(weights)
        self._symmetry = symmetry
        self._flips = ((), ()) if symmetry is None else (symmetry.feature_flips, symmetry.target_flips)
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
            If pixels are NaN, infinite or not observed, or weights have another shape; names the sky and
            the feature.
        """
        name = self.ids[place]
        number = 0 if self._symmetry is None else self._symmetry.draw(int(self._epoch), name)
        features = self._own(self.features.loaders[name](), number, flips=self._flips[0])
        check_pixels(features, what=f"{name}: feature")
        target = self._own(self.targets.loaders[name](), number, flips=self._flips[1])
        check_pixels(target, what=f"{name}: target field")
        weights = self._weights_of(target, number)
        return (
            torch.from_numpy(self._feature_transform.apply(features)),
            torch.from_numpy(self._target_transform.apply(target)),
            torch.from_numpy(weights),
        )

    def _own(self, array: NDArray[Any], number: int, *, flips: tuple[int, ...] = ()) -> NDArray[Any]:
        """Return a copy in the symmetry of this number, float32."""
        if self._symmetry is None or number == 0:
            return np.array(array, np.float32)
        return self._symmetry.apply(array, number, flips=flips).astype(np.float32, copy=False)

    def _weights_of(self, target: NDArray[Any], number: int) -> NDArray[Any]:
        """Return the weights of a target not yet transformed, where the transform will move its pixels."""
        if self._weights is None:
            return np.ones((1,) * self._target_transform.arrange(target).ndim, np.float32)
        if self._weights.size != target[0].size:
            raise ValueError(
                f"weights of shape {self._weights.shape} do not fit a target of shape {target.shape}; "
                "they need one value per pixel"
            )
        weights = self._own(self._weights.reshape(1, *target.shape[1:]), number)
        arranged: NDArray[Any] = self._target_transform.arrange(weights)
        return arranged


def _checked_weights(weights: NDArray[Any]) -> NDArray[np.float32]:
    checked = np.array(weights, np.float32)
    if not np.isfinite(checked).all() or checked.min() < 0 or checked.max() == 0:
        raise ValueError("weights of pixels must be finite, not negative, and not all 0; correct the mask")
    return checked


def scaled_splits(
    train: tuple[Loaders, Loaders],
    valid: tuple[Loaders, Loaders],
    *,
    scaling: Mapping[str, Any],
    weights: NDArray[Any] | None,
    symmetry: SphereSymmetry | None,
) -> tuple[ArrayPairs, ArrayPairs]:
    """Return the datasets of the skies to learn from and of those that watch, scaled as was fitted.

    Parameters
    ----------
    train, valid
        Loaders of the features and of the targets.
    scaling
        States of the fitted transforms, see `cmbml.learning.scaling.fit_transforms`.
    weights
        Of every pixel in the loss; None for the same everywhere.
    symmetry
        In which the skies to learn from are shown, and the others are not; None for none.
    """
    first, second = (
        ArrayPairs(
            features,
            targets,
            feature_transform=transform_from_state(scaling["features"]),
            target_transform=transform_from_state(scaling["target"]),
            weights=weights,
            symmetry=shown,
        )
        for (features, targets), shown in ((train, symmetry), (valid, None))
    )
    return first, second


def check_apart(train: ArrayPairs, valid: ArrayPairs) -> None:
    """Check that no sky to validate with is one to learn from.

    Some pixels of the features of every sky are read and compared; ids say nothing,
    as they start anew in every split.

    Raises
    ------
    ValueError
        If one is; names it, and how many there are.
    """
    learnt = {_some_pixels(array): name for name, array in zip(train.ids, train.features, strict=True)}
    known = [(name, _some_pixels(array)) for name, array in zip(valid.ids, valid.features, strict=True)]
    both = [(name, learnt[pixels]) for name, pixels in known if pixels in learnt]
    if both:
        raise ValueError(
            f"{len(both)} of {len(valid)} skies to validate with are skies to learn from, the first is "
            f"{both[0][0]}, which is {both[0][1]} of the training split; take skies of one split only"
        )


def _some_pixels(array: NDArray[Any]) -> bytes:
    """Return values of the last feature that are spread over the sky, as bytes."""
    row = array[-1].reshape(-1)
    return bytes(row[:: max(1, row.size // PIXELS_COMPARED)].tobytes())
