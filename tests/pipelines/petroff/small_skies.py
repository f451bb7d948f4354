"""Settings, trainings and predictions of the spherical network that take a moment, for tests."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cmbml.datasets import TrainingFolderDataset
from cmbml.learning.settings import LearningSettings
from cmbml.learning.transform_settings import ScalingSettings
from cmbml.partitions import Known, Partition
from cmbml.pipelines.petroff.features import make_features, make_target
from cmbml.pipelines.petroff.nodes import fit_scaling, train_network
from cmbml.pipelines.petroff.prediction import PREDICTED
from cmbml.pipelines.petroff.settings import NetworkSettings, Petroff, SamplingSettings
from cmbml.science.skymap import SkyMap, beam_header
from tests.learning.small_trainings import settings as training_settings
from tests.pipelines.cmbnncs.small_skies import (
    INSTRUMENT,
    LMAX,
    NSIDE,
    STANDARDISE,
    TARGET,
    known,
    mask,
    sky,
)

VALID: dict[str, Any] = {
    "channels": "all",
    "nside": NSIDE,
    "lmax": LMAX,
    "fwhm_arcmin": TARGET,
    "inputs": "differences",
    "inputs_fwhm_arcmin": "auto",
    "reference": "auto",
}
NETWORK: dict[str, Any] = {
    "nside": NSIDE,
    "kind": "correcting",
    "depth": 1,
    "filters": 3,
    "order": 3,
    "initial_dropout": 0.05,
    "length_scale": 1e-4,
    "dropout_strength": 2.0,
    "prior_skies": "train",
    "pooling": "max",
    "output": "linear",
    "start": "drawn",
    "compress": True,
    "recompute": False,
}
PREDICTION: dict[str, Any] = {
    "checkpoint": "best",
    "samples": 5,
    "batch": 3,
    "accelerator": "cpu",
    "seed": 5,
    "error_cut_uk": 50.0,
    "correct_spectrum": True,
    "calibrate_errors": True,
    "fitted_skies": 2,
}
SCALING = ScalingSettings(features=(STANDARDISE,), target=(STANDARDISE,))
LEARNING = LearningSettings(symmetries=True, masked_weight=0.25)


def data(**changes: Any) -> Petroff:
    return Petroff(**{**VALID, **changes})


def network(**changes: Any) -> NetworkSettings:
    return NetworkSettings(**{**NETWORK, **changes})


def sampling(**changes: Any) -> SamplingSettings:
    return SamplingSettings(**{**PREDICTION, **changes})


def training(
    *,
    shown: Petroff | None = None,
    built: NetworkSettings | None = None,
    numbers: tuple[tuple[int, ...], tuple[int, ...]] = ((0, 1, 2), (10, 11)),
    learning: LearningSettings = LEARNING,
    start: Any = None,
    **changes: Any,
) -> Partition:
    """Return a training on skies of these numbers that has not begun."""
    shown, built = shown or data(), built or network()
    skies = [{f"sim{place:04d}": sky(number) for place, number in enumerate(split)} for split in numbers]
    features = [
        known({name: make_features(one, INSTRUMENT, shown) for name, (one, _) in split.items()})
        for split in skies
    ]
    targets = [
        known({name: make_target(truth, shown) for name, (_, truth) in split.items()}) for split in skies
    ]
    scaling, _ = fit_scaling(features[0], targets[0], INSTRUMENT, shown, SCALING)
    return train_network(
        train_features=features[0],
        train_targets=targets[0],
        valid_features=features[1],
        valid_targets=targets[1],
        scaling=scaling,
        instrument=INSTRUMENT,
        mask=mask(),
        start=start or Known({}, "nothing to begin with"),
        petroff=shown,
        petroff_network=built,
        petroff_learning=learning,
        petroff_training=training_settings(**{"epochs": 4, "batch_size": 2, "loss": "gaussian", **changes}),
    )


def trained(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return the loaders of the checkpoints of a training in a folder."""
    dataset = TrainingFolderDataset(path=folder)
    dataset.save(training(**changes))
    return dataset.load()


def prediction(mean: np.ndarray, statistical: np.ndarray, model: np.ndarray) -> SkyMap:
    """Return a prediction of given maps (npix,)."""
    values = np.stack([mean, statistical, model]).astype(np.float32)
    return SkyMap(values, "uK_CMB", PREDICTED, header=beam_header(TARGET, LMAX))


class Counted:
    """Loaders of a split that tell which of them were called."""

    def __init__(self, values: Mapping[str, Any], made: str = "made") -> None:
        self.called: list[str] = []
        self.loaders = {name: self._loader(name, value, made) for name, value in values.items()}

    def _loader(self, name: str, value: Any, made: str) -> Any:
        counted = self

        class Loader:
            fingerprint = f"{made} {name}"

            def __call__(self) -> Any:
                counted.called.append(name)
                return value

        return Loader()
