"""Drawn weights of a network, in the form in which those of Petroff et al. are published."""

from typing import Any

import numpy as np

from cmbml.pipelines.petroff.published import published_layers

FILTERS, ORDER = 2, 3


def drawn_weights(nside: int, frequencies: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return arrays, and what is said of them."""
    rng = np.random.default_rng(3)
    arrays, variables = {}, []
    for number, layer in enumerate(published_layers(nside, len(frequencies), FILTERS)):
        for name, shape in layer.shapes(ORDER).items():
            array = f"L{number:03d}__{name}"
            arrays[array] = (0.3 * rng.standard_normal(shape)).astype(np.float32)
            variables.append({"array": array, "role": layer.role, "variable": name})
    description = {
        "nside": nside,
        "filter_maps": FILTERS,
        "poly_order": ORDER,
        "freq_ghz": list(frequencies),
        "normalisation_x_max_K_CMB": np.geomspace(0.04, 2600.0, len(frequencies)).tolist(),
        "normalisation_y_max_uK": 630.0,
        "variables": variables,
    }
    return arrays, description
