"""Comparison of the cleaning methods with the truth and with one another."""

from cmbml.pipelines.analysis.pipeline import create_pipeline

__all__ = ["create_pipeline"]
