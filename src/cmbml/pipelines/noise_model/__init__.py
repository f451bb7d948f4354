"""Models of correlated noise from simulations of it; a part of `simulation` that runs by its own name."""

from cmbml.pipelines.noise_model.pipeline import create_pipeline

__all__ = ["create_pipeline"]
