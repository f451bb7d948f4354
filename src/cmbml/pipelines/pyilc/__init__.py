"""Needlet internal linear combination."""

from cmbml.pipelines.pyilc.pipeline import create_pipeline

__all__ = ["create_pipeline"]
