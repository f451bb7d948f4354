"""What can be set in the simulation, by subject; every field's value is in `conf/`."""

from cmbml.pipelines.simulation.cosmology_settings import CMBSettings, CosmologySettings
from cmbml.pipelines.simulation.foreground_settings import ForegroundSettings, Variation
from cmbml.pipelines.simulation.map_settings import InstrumentSettings, Maps, Simulations, Target
from cmbml.pipelines.simulation.mask_settings import MaskSettings
from cmbml.pipelines.simulation.noise_settings import NoiseSettings

__all__ = [
    "CMBSettings",
    "CosmologySettings",
    "ForegroundSettings",
    "InstrumentSettings",
    "Maps",
    "MaskSettings",
    "NoiseSettings",
    "Simulations",
    "Target",
    "Variation",
]
