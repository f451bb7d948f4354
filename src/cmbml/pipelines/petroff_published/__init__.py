"""The weights of Petroff et al. in the place of a training; a part of `petroff` that runs by its name."""

from cmbml.pipelines.petroff_published.pipeline import create_pipeline

__all__ = ["create_pipeline"]
