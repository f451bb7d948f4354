"""What can be set in the simulation, by subject; every field's value is in `conf/`."""

from cmbml.pipelines.simulation.cosmology_settings import CMBSettings, CosmologySettings, SplitCosmology
from cmbml.pipelines.simulation.foreground_settings import (
    Extragalactic,
    ForegroundSettings,
    Normal,
    SkyStatistics,
    Uniform,
    Variation,
)
from cmbml.pipelines.simulation.map_settings import InstrumentSettings, Maps, Simulations, Target
from cmbml.pipelines.simulation.mask_settings import MaskSettings
from cmbml.pipelines.simulation.noise_settings import NoiseModelSettings, NoiseSettings
from cmbml.pipelines.simulation.planck_settings import PlanckMaps
from cmbml.pipelines.simulation.released_settings import ReleasedTruth

__all__ = [
    "CMBSettings",
    "CosmologySettings",
    "Extragalactic",
    "ForegroundSettings",
    "InstrumentSettings",
    "Maps",
    "MaskSettings",
    "NoiseModelSettings",
    "NoiseSettings",
    "Normal",
    "PlanckMaps",
    "ReleasedTruth",
    "Simulations",
    "SkyStatistics",
    "SplitCosmology",
    "Target",
    "Uniform",
    "Variation",
]
