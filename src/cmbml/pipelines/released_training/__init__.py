"""The truth of the splits to learn from of a released CMB-ML dataset."""

from cmbml.pipelines.released_training.pipeline import create_pipeline

__all__ = ["create_pipeline"]
