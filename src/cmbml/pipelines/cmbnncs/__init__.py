"""CMBNNCS: a U-Net on the sphere laid out as a plane."""

from cmbml.pipelines.cmbnncs.pipeline import create_cleaning_pipeline, create_pipeline

__all__ = ["create_cleaning_pipeline", "create_pipeline"]
