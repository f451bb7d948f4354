"""The skies of a folder as a dataset of PyTorch, without Kedro."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from cmbml.datasets import ParallelPartitionedDataset
from cmbml.learning.features import feature_array, feature_names, sign_flips
from cmbml.learning.map_datasets import ArrayPairs
from cmbml.learning.symmetry import SphereSymmetry
from cmbml.learning.transform import Identity, Transform
from cmbml.science.instrument import channel_names
from cmbml.science.planes import map_to_plane, plane_index
from cmbml.science.skymap import SkyMap
from cmbml.science.units import MAP_UNIT

SPLITS = ("train", "valid", "test")

Stokes = Literal["I", "IQU"]
Layout = Literal["sphere", "plane"]


@dataclass(frozen=True)
class Folder:
    """Where a folder keeps the observations and the true CMB of a split.

    Parameters
    ----------
    observations, truth
        Options of the partitioned datasets.
    """

    observations: dict[str, Any]
    truth: dict[str, Any]


def find_split(path: Path, split: str) -> Folder:
    """Return where the skies of a split lie in a folder, which is recognised by what is in it.

    Parameters
    ----------
    path
        Data folder of this project, with `03_primary/observations` or `03_primary/observations_hdf5`,
        or a released CMB-ML dataset, with `Simulation/Train`.
    split
        "train", "valid" or "test".

    Raises
    ------
    ValueError
        If there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r}: must be one of {', '.join(SPLITS)}")
    looked_at = []
    for folder in (_fits(path, split), _hdf5(path, split), *_released(path, split)):
        if Path(folder.observations["path"]).is_dir():
            return folder
        looked_at.append(folder.observations["path"])
    raise ValueError(
        f"{path}: no split {split}; there is no folder {', '.join(looked_at)}. Give the data folder of a "
        "simulation, or the folder of a released dataset"
    )


def _fits(path: Path, split: str) -> Folder:
    observations = {
        "path": f"{path}/03_primary/observations/{split}",
        "dataset": "cmbml.datasets.ObservationsDataset",
    }
    return Folder(observations, _our_truth(path, split))


def _hdf5(path: Path, split: str) -> Folder:
    observations = {
        "path": f"{path}/03_primary/observations_hdf5/{split}",
        "dataset": "cmbml.datasets.Hdf5ObservationsDataset",
        "filename_suffix": ".h5",
    }
    return Folder(observations, _our_truth(path, split))


def _our_truth(path: Path, split: str) -> dict[str, Any]:
    return {
        "path": f"{path}/03_primary/cmb/{split}",
        "dataset": "cmbml.datasets.HealpixMapDataset",
        "filename_suffix": ".fits",
    }


def _released(path: Path, split: str) -> list[Folder]:
    """Return the places of a released dataset, whose folder and file have two names each."""
    found = []
    for name in ("Simulation", "Simulations"):
        place = path / name / split.capitalize()
        files = ("cmb_map_fid.fits", "cmb_map.fits")
        file = next((file for file in files if next(place.glob(f"*/{file}"), None)), files[0])
        maps = {"polcconv": "COSMO"}  # healpy's, by which they were written
        observations = {"type": "cmbml.datasets.ObservationsDataset", **maps}
        truth = {"type": "cmbml.datasets.HealpixMapDataset", **maps}
        found.append(
            Folder(
                {"path": str(place), "dataset": observations},
                {"path": str(place), "dataset": truth, "filename_suffix": f"/{file}"},
            )
        )
    return found


@dataclass(frozen=True)
class _Features:
    """Loads the features of one sky."""

    load: Callable[[], Any]
    names: tuple[str, ...]
    layout: Layout

    def __call__(self) -> NDArray[np.float32]:
        return _laid_out(feature_array(self.load(), self.names), self.layout)


@dataclass(frozen=True)
class _Target:
    """Loads the true CMB of one sky."""

    load: Callable[[], SkyMap]
    stokes: Stokes
    layout: Layout

    def __call__(self) -> NDArray[Any]:
        truth = self.load()
        if truth.stokes != self.stokes:
            raise ValueError(f"the true CMB holds {truth.stokes or 'no Stokes field'}, not {self.stokes}")
        return _laid_out(truth.in_unit(MAP_UNIT).values, self.layout)


def _laid_out(maps: NDArray[Any], layout: Layout) -> NDArray[Any]:
    planes: NDArray[Any] = map_to_plane(maps) if layout == "plane" else maps
    return planes


class SkyDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The skies of one split of a folder: what the channels observed, and the true CMB.

    Reads the data folder of a simulation of this project, with observations in FITS
    or HDF5 files, or a released CMB-ML dataset as it was published. Maps are read
    when their sky is asked for, and no channel or field that is not needed.

    Parameters
    ----------
    path
        The folder.
    split
        "train", "valid" or "test".
    channels
        A named set, a range such as "100-353", or a list, as `cmbml.science.instrument.channel_names`
        reads it; in the order of nominal frequency.
    stokes
        "I", or "IQU": then the features are all fields that a channel has.
    layout
        "sphere" for maps (n, npix), RING; "plane" for the twelve base pixels side by side,
        (n, 4 nside, 3 nside).
    feature_transform, target_transform
        Fitted transforms; None leaves uK_CMB.
    symmetry_seed
        Seed of the symmetries that the skies are shown in, another one in every epoch; None for none.

    Attributes
    ----------
    names
        Names of the features: "100 I", ...
    pairs
        The same skies as `ArrayPairs`, with weights, as training takes them.

    Raises
    ------
    ValueError
        If there is no such split, it has no sky, or a channel is missing.
    kedro.io.core.DatasetError
        If a simulation has not run to its end.
    """

    def __init__(
        self,
        path: str | Path,
        split: str,
        channels: str | Sequence[str | int],
        *,
        stokes: Stokes = "I",
        layout: Layout = "sphere",
        feature_transform: Transform | None = None,
        target_transform: Transform | None = None,
        symmetry_seed: int | None = None,
    ) -> None:
        _check_choices(stokes, layout)
        folder = find_split(Path(path), split)
        observations, truth = _loaders(folder.observations), _loaders(folder.truth)
        if not observations:
            raise ValueError(
                f"{folder.observations['path']}: split {split} has no sky; simulate at least one"
            )
        first = observations[min(observations)].dataset.stokes_there()
        self.channels = channel_names(_as_choice(channels), tuple(first))
        self.names = feature_names({name: first[name] if stokes == "IQU" else "I" for name in self.channels})
        features = {
            name: _Features(loader.restricted(channels=self.channels, stokes=stokes), self.names, layout)
            for name, loader in observations.items()
        }
        targets = {
            name: _Target(loader.restricted(stokes=stokes), stokes, layout) for name, loader in truth.items()
        }
        self.pairs = ArrayPairs(
            features,
            targets,
            feature_transform=feature_transform or Identity(),
            target_transform=target_transform or Identity(),
            symmetry=None if symmetry_seed is None else self._symmetry(symmetry_seed, truth, stokes, layout),
        )
        self.ids = self.pairs.ids

    def _symmetry(self, seed: int, truth: dict[str, Any], stokes: str, layout: Layout) -> SphereSymmetry:
        nside = truth[min(truth)]().nside
        return SphereSymmetry(
            nside,
            seed,
            plane_index(nside) if layout == "plane" else None,
            feature_flips=sign_flips(self.names),
            target_flips=sign_flips(feature_names({"CMB": stokes})),
        )

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return features (n_features, *space) and target (n_fields, *space) of one sky, float32.

        Raises
        ------
        ValueError
            If a channel of this sky is missing, or pixels are NaN, infinite or not observed.
        """
        features, target, _ = self.pairs[place]
        return features, target

    def set_epoch(self, epoch: int) -> None:
        """Choose the symmetries of an epoch, from 0."""
        self.pairs.set_epoch(epoch)


def _check_choices(stokes: str, layout: str) -> None:
    if stokes not in ("I", "IQU"):
        raise ValueError(f"stokes {stokes!r}: must be I or IQU")
    if layout not in ("sphere", "plane"):
        raise ValueError(f"layout {layout!r}: must be sphere or plane")


def _loaders(options: dict[str, Any]) -> dict[str, Any]:
    """Return the loader of every sky; empty if there is none."""
    return dict(ParallelPartitionedDataset(**options, read_only=True, allow_missing=True).load())


def _as_choice(channels: str | int | Sequence[str | int]) -> str | int | list[str | int]:
    return channels if isinstance(channels, str | int) else list(channels)
