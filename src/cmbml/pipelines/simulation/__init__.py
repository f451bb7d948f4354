"""Simulation of microwave skies as an instrument observes them."""

from cmbml.pipelines.simulation.noise_model_pipeline import create_noise_model_pipeline
from cmbml.pipelines.simulation.pipeline import create_pipeline
from cmbml.pipelines.simulation.planck_pipeline import create_planck_sky_pipeline
from cmbml.pipelines.simulation.released_pipeline import (
    create_released_pipeline,
    create_released_training_pipeline,
)
from cmbml.pipelines.simulation.sky_pipelines import (
    create_sky_components_pipeline,
    create_sky_statistics_pipeline,
)

__all__ = [
    "create_noise_model_pipeline",
    "create_pipeline",
    "create_planck_sky_pipeline",
    "create_released_pipeline",
    "create_released_training_pipeline",
    "create_sky_components_pipeline",
    "create_sky_statistics_pipeline",
]
