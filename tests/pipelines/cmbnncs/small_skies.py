"""Settings and skies of CMBNNCS that are seen in a moment, for tests."""

from pathlib import Path
from typing import Any

import numpy as np

from cmbml.datasets import TrainingFolderDataset
from cmbml.learning.settings import LearningSettings
from cmbml.learning.transform_settings import ScalingSettings
from cmbml.partitions import Known, Partition
from cmbml.pipelines.cmbnncs.features import make_features, make_target
from cmbml.pipelines.cmbnncs.nodes import fit_scaling, train_network
from cmbml.pipelines.cmbnncs.settings import Cmbnncs, NetworkSettings
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_to_map, draw_white_alm, filter_alm
from cmbml.science.instrument import Channel, Instrument, Observations
from cmbml.science.skymap import SkyMap, beam_header
from tests.learning.small_trainings import settings as training_settings

NSIDE, LMAX, TARGET = 8, 12, 700.0

INSTRUMENT = Instrument(
    (
        Channel("100", 100.9, 900.0, "IQU", 77.0, 110.0),
        Channel("143", 142.9, 600.0, "IQU", 33.0, 70.0),
        Channel("353", 357.5, 500.0, "IQU", 150.0, 430.0),
        Channel("545", 555.2, 500.0, "I", 800.0),
    )
)
"""One channel with a coarser beam than the target and the reference, and one without polarisation."""

VALID: dict[str, Any] = {
    "channels": "all",
    "stokes": "I",
    "nside": NSIDE,
    "lmax": LMAX,
    "fwhm_arcmin": TARGET,
    "inputs": "differences",
    "reference": "auto",
    "target": "common_beam",
}
NETWORK: dict[str, Any] = {
    "nside": NSIDE,
    "kind": "correcting",
    "depth": 2,
    "filters": 4,
    "max_filters": 8,
    "batch_norm": True,
    "compress": True,
}
STANDARDISE = {"kind": "standardise", "centre": False, "robust": False}
SCALING = ScalingSettings(features=(STANDARDISE,), target=(STANDARDISE,))
LEARNING = LearningSettings(symmetries=True, masked_weight=0.25)


def data(**changes: Any) -> Cmbnncs:
    return Cmbnncs(**{**VALID, **changes})


def network(**changes: Any) -> NetworkSettings:
    return NetworkSettings(**{**NETWORK, **changes})


def alm(seed: int, *, fields: int = 3) -> np.ndarray:
    """Coefficients of I, and of E and B, without what spin 2 does not have."""
    rng = np.random.default_rng(seed)
    drawn = np.stack([20 * draw_white_alm(rng, LMAX) for _ in range(fields)])
    drawn[1:, [0, 1, LMAX + 1]] = 0
    return drawn


def observed(
    cmb: np.ndarray, foreground: np.ndarray | None = None, *, noise: int | None = None
) -> Observations:
    """Observe a CMB, a foreground that is brighter in every further channel, and a little noise."""
    maps = {}
    for number, channel in enumerate(INSTRUMENT):
        sky = cmb if foreground is None else cmb + 0.4 * number * foreground
        fields = alm_to_map(filter_alm(sky[: len(channel.stokes)], channel.beam_window(LMAX)), NSIDE)
        if noise is not None:
            fields = fields + 0.3 * np.random.default_rng([noise, number]).standard_normal(fields.shape)
        maps[channel.name] = fields.astype(np.float32)
    return Observations(maps, dict.fromkeys(maps, "uK_CMB"))


def true_map(cmb: np.ndarray) -> SkyMap:
    maps = alm_to_map(filter_alm(cmb, beam_window(TARGET * ARCMIN, LMAX)), NSIDE)
    return SkyMap(maps.astype(np.float32), "uK_CMB", header=beam_header(TARGET, LMAX))


def sky(number: int) -> tuple[Observations, SkyMap]:
    cmb, foreground = alm(2 * number), alm(2 * number + 1)
    return observed(cmb, foreground, noise=number), true_map(cmb)


def mask() -> SkyMap:
    kept = np.ones(12 * NSIDE**2, np.float32)
    kept[300:400] = 0
    return SkyMap(kept[None], "", ("I_MASK",))


def known(values: dict[str, Any]) -> dict[str, Known]:
    """Loaders of values, each with a fingerprint of its content."""
    return {name: Known(value, f"made {name} {value.sum()!r}") for name, value in values.items()}


def training(
    *,
    shown: Cmbnncs | None = None,
    built: NetworkSettings | None = None,
    numbers: tuple[tuple[int, ...], tuple[int, ...]] = ((0, 1, 2), (10, 11)),
    learning: LearningSettings = LEARNING,
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
        features[0],
        targets[0],
        features[1],
        targets[1],
        scaling,
        INSTRUMENT,
        mask(),
        shown,
        built,
        learning,
        training_settings(**{"epochs": 4, "batch_size": 2, **changes}),
    )


def trained(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return the loaders of the checkpoints of a training in a folder."""
    dataset = TrainingFolderDataset(path=folder)
    dataset.save(training(**changes))
    return dataset.load()
