"""Learning: what every network shares, from map datasets to training; no pipeline, no catalog.

Each module is imported when one of its names is first asked for, so that settings
can be read without waiting for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmbml.learning.map_datasets import ArrayPairs
    from cmbml.learning.networks import NetworkSpec
    from cmbml.learning.settings import TrainingSettings
    from cmbml.learning.sky_dataset import SkyDataset
    from cmbml.learning.symmetry import SphereSymmetry
    from cmbml.learning.training import train

_MODULES = {
    "ArrayPairs": "map_datasets",
    "NetworkSpec": "networks",
    "SkyDataset": "sky_dataset",
    "SphereSymmetry": "symmetry",
    "TrainingSettings": "settings",
    "train": "training",
}

__all__ = [
    "ArrayPairs",
    "NetworkSpec",
    "SkyDataset",
    "SphereSymmetry",
    "TrainingSettings",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import the module of a name when it is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
