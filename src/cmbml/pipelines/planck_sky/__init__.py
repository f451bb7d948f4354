"""Planck's own sky in place of a simulation: instrument, mask, observations, and the NILC map as truth."""

from cmbml.pipelines.planck_sky.pipeline import create_pipeline

__all__ = ["create_pipeline"]
