"""Statistics of foreground components; a part of `simulation` that runs by its own name."""

from cmbml.pipelines.sky_statistics.pipeline import create_pipeline

__all__ = ["create_pipeline"]
