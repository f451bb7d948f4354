"""The pipelines: simulation, the cleaning methods, and the analysis that compares them."""

from pathlib import Path

NOT_METHODS = frozenset(
    {
        "simulation",
        "analysis",
        "assets",
        "noise_model",
        "sky_components",
        "sky_statistics",
        "released",
        "released_training",
        "planck_sky",
        "cmbnncs_splits",
        "petroff_published",
    }
)
"""Pipelines that are no cleaning method."""


def method_names() -> tuple[str, ...]:
    """Return the cleaning methods, by the names of their folders; none is imported.

    Returns
    -------
    tuple of str
        In alphabetical order.
    """
    folders = Path(__file__).parent.glob("*/pipeline.py")
    return tuple(sorted(path.parent.name for path in folders if path.parent.name not in NOT_METHODS))
