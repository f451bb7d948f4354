"""The weights that were published with the paper, as a checkpoint of this project.

They come as arrays, three for each layer of the published code, and a description that says of each array
which layer it belongs to. That code has a layer for every channel; here the channels are groups of one layer.
It lays the terms of a convolution out with the input feature slow and the order k fast.

The published network sees maps in K_CMB over their largest absolute value in training, and returns o with the
CMB (o - 1/2) 2 y_max: both are `max_abs` transforms of maps in uK_CMB.

References
----------
Petroff et al. 2020, ApJ 903, 104, arXiv:2004.11507, sections 2 and 3, and the weights published with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmbml.learning.checkpoints import fixed_checkpoint, keep_fixed
from cmbml.learning.networks import NetworkSpec
from cmbml.learning.scalings import MaxAbs

FWHM_ARCMIN = 13.1
"""Beam of the maps that the published network sees, and of its CMB; the description of it does not say."""

TRAINING_SKIES, LENGTH_SCALE = 800, 1e-4
"""Of its regularisation, of which cleaning makes no use."""

UK_PER_K = 1e6

VARIABLES = ("kernel", "bias", "p_logit")
"""Arrays of a layer."""

_SHOWN = 5
"""Layers named in a message."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class PublishedLayer:
    """A layer of the published code.

    Parameters
    ----------
    role
        What its description calls it.
    module
        Where it is in our network.
    group
        Which group of that module it is.
    n_in, n_out
        Features of a convolution; 0 of a linear combination, which has two numbers.
    """

    role: str
    module: str
    group: int = 0
    n_in: int = 0
    n_out: int = 0

    def shapes(self, order: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each of its arrays, for convolutions of `order` terms."""
        if not self.n_in:
            return {"kernel": (), "bias": (), "p_logit": (1,)}
        return {"kernel": (self.n_in * order, self.n_out), "bias": (1, 1, self.n_out), "p_logit": (1,)}


def keep_published(
    arrays: Arrays, description: Mapping[str, Any], facts: Mapping[str, Any], directory: Path
) -> None:
    """Keep published weights as the checkpoints "best" and "last" of a complete training.

    Parameters
    ----------
    arrays, description, facts
        See `import_published`.
    directory
        Where the checkpoints go.

    Raises
    ------
    ValueError
        As `import_published`.
    """
    keep_fixed(import_published(arrays, description, facts=facts), directory)


def import_published(
    arrays: Arrays, description: Mapping[str, Any], *, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Return published weights as a checkpoint.

    Parameters
    ----------
    arrays
        The weights, by the names that the description gives them; others, such as the state of an optimiser,
        are left aside.
    description
        `nside`, `filter_maps`, `poly_order`, `freq_ghz`, `normalisation_x_max_K_CMB` by channel,
        `normalisation_y_max_uK`; `fwhm_arcmin`, the beam, where it is another than the published one; and
        `variables`: for each array its name (`array`), the layer that it belongs to (`role`), and which of
        `VARIABLES` it is (`variable`).
    facts
        What checkpoints of this pipeline say of the data they are for, see
        `cmbml.pipelines.petroff.training.data_facts`.

    Returns
    -------
    dict
        See `cmbml.learning.checkpoints`.

    Raises
    ------
    ValueError
        If the network is for other data than the facts say; the weights are of another depth; arrays are
        missing, left over, of another shape or not finite. Names what is wrong.
    """
    _check_facts(description, facts)
    found = _arrays_by_layer(arrays, description)
    layers = published_layers(
        int(description["nside"]), len(description["freq_ghz"]), int(description["filter_maps"])
    )
    order = int(description["poly_order"])
    _check_arrays(found, layers, order, nside=int(description["nside"]))
    scaling = published_scaling(description, facts["features"])
    return fixed_checkpoint(
        published_network(description),
        _weights(found, layers, order),
        facts={**facts, "scaling": scaling},
    )


def published_network(description: Mapping[str, Any]) -> NetworkSpec:
    """Return the network that a description means."""
    nside = int(description["nside"])
    arguments = {
        "channels": len(description["freq_ghz"]),
        "nside": nside,
        "depth": nside.bit_length() - 1,
        "filters": int(description["filter_maps"]),
        "order": int(description["poly_order"]),
        "initial_dropout": 0.1,
        "weight_strength": LENGTH_SCALE**2 / TRAINING_SKIES,
        "dropout_strength": 2 / TRAINING_SKIES,
        "pooling": "max",
        "output": "linear",
        "uncertain": True,
        "recompute": True,
    }
    return NetworkSpec("cmbml.pipelines.petroff.cleaner:PetroffNetwork", arguments)


def published_scaling(description: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """Return the transforms of the published network, as `cmbml.learning.scaling.fit_transforms` does."""
    largest = tuple(UK_PER_K * float(value) for value in description["normalisation_x_max_K_CMB"])
    return {
        "features": MaxAbs(low=-1.0, high=1.0, largest=largest).state(),
        "target": MaxAbs(low=0.0, high=1.0, largest=(float(description["normalisation_y_max_uK"]),)).state(),
        "names": list(names),
        "target_names": ["CMB I"],
    }


def published_layers(nside: int, channels: int, filters: int) -> list[PublishedLayer]:
    """Return all layers of the published code, down from `nside` to 1 and up again."""
    resolutions = [nside >> level for level in range(nside.bit_length())]
    return [
        *_encoder(resolutions, channels, filters),
        *(
            PublishedLayer(
                f"scale_bias level={level} nside={n} freq={channel}", f"sphere.skips.{level}", channel
            )
            for level, n in enumerate(resolutions)
            for channel in range(channels)
        ),
        *(
            PublishedLayer(
                f"up level={level} nside={n} conv={number + 1}",
                f"sphere.up.{level}.{number}",
                n_in=filters,
                n_out=filters,
            )
            for level, n in enumerate(resolutions[:-1])
            for number in range(2)
        ),
        PublishedLayer(f"final nside={nside}", "sphere.last", n_in=filters, n_out=2),
    ]


def _encoder(resolutions: list[int], channels: int, filters: int) -> Iterator[PublishedLayer]:
    for level, n in enumerate(resolutions):
        for number in range(2):
            for channel in range(channels):
                yield PublishedLayer(
                    f"down level={level} nside={n} freq={channel} conv={number + 1}",
                    f"sphere.down.{level}.{number}",
                    channel,
                    filters if level or number else 1,
                    filters,
                )


def _check_facts(description: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse to say that published weights are for data that they are not for."""
    fwhm = float(description.get("fwhm_arcmin", FWHM_ARCMIN))
    needed: dict[str, Any] = {
        "channels": [str(frequency) for frequency in description["freq_ghz"]],
        "nside": int(description["nside"]),
        "inputs": "maps",
        "inputs_fwhm_arcmin": fwhm,
        "target_fwhm_arcmin": fwhm,
    }
    wrong = [
        f"{name}: they need {value}, asked for {facts.get(name)}"
        for name, value in needed.items()
        if facts.get(name) != value
    ]
    if wrong:
        raise ValueError(
            f"published weights: for other data; {'; '.join(wrong)}. Take the settings of the environment "
            "petroff_published"
        )


def _arrays_by_layer(arrays: Arrays, description: Mapping[str, Any]) -> dict[tuple[str, str], NDArray[Any]]:
    """Return the arrays by role and variable."""
    names = {(entry["role"], entry["variable"]): entry["array"] for entry in description["variables"]}
    lost = [name for name in names.values() if name not in arrays]
    if lost:
        raise ValueError(
            f"published weights: the description names arrays that the file lacks: {_some(lost)}; take the "
            "description that belongs to it"
        )
    return {key: np.asarray(arrays[name]) for key, name in names.items()}


def _check_arrays(
    found: Mapping[tuple[str, str], NDArray[Any]], layers: list[PublishedLayer], order: int, *, nside: int
) -> None:
    """Compare depth, names and shapes with those of the network."""
    needed = {
        (layer.role, variable): shape for layer in layers for variable, shape in layer.shapes(order).items()
    }
    levels, depth = (
        len({role.split()[1] for role, _ in found if role.startswith("down ")}),
        nside.bit_length(),
    )
    if levels != depth:
        raise ValueError(
            f"published weights: of depth {levels - 1}, but from nside {nside} down to nside 1 it is "
            f"{depth - 1}; take weights of a network that goes down to nside 1"
        )
    problems = {
        "are missing": [_named(key) for key in needed if key not in found],
        "belong to no layer": [_named(key) for key in found if key not in needed],
        "are of another shape": [
            f"{_named(key)} {found[key].shape}, not {shape}"
            for key, shape in needed.items()
            if key in found and found[key].shape != shape
        ],
        "are not finite": [_named(key) for key, values in found.items() if not np.isfinite(values).all()],
    }
    told = [f"{_some(names)} {what}" for what, names in problems.items() if names]
    if told:
        raise ValueError(
            f"published weights: {'; '.join(told)}. Take the file and the description as they were published"
        )


def _named(key: tuple[str, str]) -> str:
    return f"{key[1]} of {key[0]!r}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _weights(
    found: Mapping[tuple[str, str], NDArray[Any]], layers: list[PublishedLayer], order: int
) -> dict[str, Tensor]:
    """Return the weights by the names that our network has for them."""
    modules: dict[str, list[PublishedLayer]] = {}
    for layer in layers:
        modules.setdefault(layer.module, []).append(layer)
    weights = {}
    for module, groups in modules.items():
        kernels, biases, logits = (
            [found[layer.role, variable] for layer in sorted(groups, key=lambda layer: layer.group)]
            for variable in VARIABLES
        )
        n_in = groups[0].n_in
        if n_in:  # (order, groups, n_in, n_out)
            kernel = np.stack([k.reshape(n_in, order, -1).swapaxes(0, 1) for k in kernels], axis=1)
        else:
            kernel = np.stack(kernels)  # (groups,)
        for name, values in (
            ("layer.weight", kernel),
            ("layer.bias", np.concatenate([bias.ravel() for bias in biases])),
            ("dropout.p_logit", np.concatenate(logits)),
        ):
            weights[f"{module}.{name}"] = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
    return weights
