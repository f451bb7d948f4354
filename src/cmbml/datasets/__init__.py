"""Kedro datasets: the only rooms that open files.

Catalogs name the classes as `cmbml.datasets.HealpixMapDataset`; each module is
imported when its class is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cmbml.datasets.alm import AlmDataset
    from cmbml.datasets.alternatives import AlternativesDataset
    from cmbml.datasets.array_archive import ArrayArchiveDataset
    from cmbml.datasets.array_file import ArrayDataset
    from cmbml.datasets.bandpass_table import BandpassTableDataset
    from cmbml.datasets.channel_files import ChannelFilesDataset
    from cmbml.datasets.channel_folders import ChannelFoldersDataset
    from cmbml.datasets.checkpoint import CheckpointDataset
    from cmbml.datasets.components import ComponentsDataset
    from cmbml.datasets.deferred import DeferredDataset
    from cmbml.datasets.figure import FigureDataset
    from cmbml.datasets.fits_copy import FitsCopyDataset
    from cmbml.datasets.hdf5_observations import Hdf5ObservationsDataset
    from cmbml.datasets.healpix_map import HealpixMapDataset
    from cmbml.datasets.instrument_table import InstrumentTableDataset
    from cmbml.datasets.json_record import JsonRecordDataset
    from cmbml.datasets.observations import ObservationsDataset
    from cmbml.datasets.parallel_partitions import ParallelPartitionedDataset
    from cmbml.datasets.power_spectra import PowerSpectraDataset
    from cmbml.datasets.remote_files import RemoteFilesDataset
    from cmbml.datasets.theory_spectra import TheorySpectraDataset
    from cmbml.datasets.training_folder import TrainingFolderDataset
    from cmbml.datasets.wmap_chains import WmapChainsDataset

_MODULES = {
    "AlmDataset": "alm",
    "AlternativesDataset": "alternatives",
    "ArrayArchiveDataset": "array_archive",
    "ArrayDataset": "array_file",
    "BandpassTableDataset": "bandpass_table",
    "ChannelFilesDataset": "channel_files",
    "ChannelFoldersDataset": "channel_folders",
    "CheckpointDataset": "checkpoint",
    "ComponentsDataset": "components",
    "DeferredDataset": "deferred",
    "FigureDataset": "figure",
    "FitsCopyDataset": "fits_copy",
    "Hdf5ObservationsDataset": "hdf5_observations",
    "HealpixMapDataset": "healpix_map",
    "InstrumentTableDataset": "instrument_table",
    "JsonRecordDataset": "json_record",
    "ObservationsDataset": "observations",
    "ParallelPartitionedDataset": "parallel_partitions",
    "PowerSpectraDataset": "power_spectra",
    "RemoteFilesDataset": "remote_files",
    "TheorySpectraDataset": "theory_spectra",
    "TrainingFolderDataset": "training_folder",
    "WmapChainsDataset": "wmap_chains",
}

__all__ = [
    "AlmDataset",
    "AlternativesDataset",
    "ArrayArchiveDataset",
    "ArrayDataset",
    "BandpassTableDataset",
    "ChannelFilesDataset",
    "ChannelFoldersDataset",
    "CheckpointDataset",
    "ComponentsDataset",
    "DeferredDataset",
    "FigureDataset",
    "FitsCopyDataset",
    "Hdf5ObservationsDataset",
    "HealpixMapDataset",
    "InstrumentTableDataset",
    "JsonRecordDataset",
    "ObservationsDataset",
    "ParallelPartitionedDataset",
    "PowerSpectraDataset",
    "RemoteFilesDataset",
    "TheorySpectraDataset",
    "TrainingFolderDataset",
    "WmapChainsDataset",
]


def __getattr__(name: str) -> Any:
    """Import the module of a class when the class is asked for."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
