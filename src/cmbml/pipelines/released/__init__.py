"""A released CMB-ML dataset in place of a simulation: instrument, mask, truth of the test split."""

from cmbml.pipelines.released.pipeline import create_pipeline

__all__ = ["create_pipeline"]
