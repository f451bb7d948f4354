"""Simulation of microwave skies as an instrument observes them."""

from cmbml.pipelines.simulation.pipeline import create_pipeline

__all__ = ["create_pipeline"]
