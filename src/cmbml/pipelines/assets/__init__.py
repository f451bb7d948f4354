"""Files from elsewhere that the published set-up needs."""

from cmbml.pipelines.assets.pipeline import create_pipeline

__all__ = ["create_pipeline"]
