"""Petroff et al. 2020: a Bayesian network on the sphere itself, with error maps."""

from cmbml.pipelines.petroff.pipeline import create_pipeline, create_published_pipeline

__all__ = ["create_pipeline", "create_published_pipeline"]
