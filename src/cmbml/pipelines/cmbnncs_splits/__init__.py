"""The trained CMBNNCS on the skies it learnt from; a part of `cmbnncs` that runs by its own name."""

from cmbml.pipelines.cmbnncs_splits.pipeline import create_pipeline

__all__ = ["create_pipeline"]
