"""The components of simulations one by one; a part of `simulation` that runs by its own name."""

from cmbml.pipelines.sky_components.pipeline import create_pipeline

__all__ = ["create_pipeline"]
