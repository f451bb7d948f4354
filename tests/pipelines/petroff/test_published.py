"""Weights published with the paper become a checkpoint that does what the published code does with them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmbml.datasets import TrainingFolderDataset
from cmbml.learning.checkpoints import build_network, check_checkpoint, history_rows
from cmbml.learning.inference import predict
from cmbml.learning.transform import transform_from_state
from cmbml.partitions import Partition
from cmbml.pipelines.petroff.published import import_published, keep_published
from tests.pipelines.petroff.drawn_weights import FILTERS, drawn_weights

NSIDE, FREQUENCIES = 2, (70, 857)
FOLDER = "reference/petroff"
Given = tuple[dict[str, Any], dict[str, Any]]


def facts(nside: int, frequencies: tuple[int, ...]) -> dict[str, Any]:
    return {
        "features_version": 1,
        "channels": [str(frequency) for frequency in frequencies],
        "features": [f"{frequency} I" for frequency in frequencies],
        "nside": nside,
        "lmax": 3 * nside - 1,
        "inputs": "maps",
        "inputs_fwhm_arcmin": 13.1,
        "target_fwhm_arcmin": 13.1,
    }


FACTS = facts(NSIDE, FREQUENCIES)


@pytest.fixture
def given() -> Given:
    return drawn_weights(NSIDE, FREQUENCIES)


def without(description: dict[str, Any], words: str) -> dict[str, Any]:
    kept = [entry for entry in description["variables"] if words not in entry["role"]]
    return {**description, "variables": kept}


@pytest.mark.parametrize("nside", [8, 16])
def test_imported_weights_do_what_they_do_in_the_published_code(nside, shared_file):
    frequencies = (70, 100, 143, 217, 353, 545, 857)
    scaling = {"freq_ghz": frequencies, "normalisation_x_max_K_CMB": [1] * 7, "normalisation_y_max_uK": 1}
    with np.load(shared_file(f"{FOLDER}/scnn_nside{nside}.npz")) as file:
        arrays = dict(file)
    description = json.loads(shared_file(f"{FOLDER}/scnn_nside{nside}.json").read_text()) | scaling
    network = build_network(import_published(arrays, description, facts=facts(nside, frequencies)))
    expected = arrays["output"] * [1, -1]  # minus the log of the variance there
    found = predict(network, arrays["input_nested"]).swapaxes(1, 2)
    np.testing.assert_allclose(found, expected, atol=5e-5)  # what the reference's README states


def test_the_published_file_fills_the_network_of_nside_512(shared_file):
    with np.load(shared_file(f"{FOLDER}/published_weights_dm7.npz")) as file:
        arrays = dict(file)
    description = json.loads(shared_file(f"{FOLDER}/published_weights_dm7.json").read_text())
    own = facts(512, tuple(description["freq_ghz"]))
    checkpoint = import_published(arrays, description, facts=own)
    check_checkpoint(checkpoint, own)
    given = sum(arrays[entry["array"]].size for entry in description["variables"])
    assert sum(weights.numel() for weights in checkpoint["weights"].values()) == given == 50_729
    logits = [w for name, w in checkpoint["weights"].items() if name.endswith("p_logit")]
    p = torch.sigmoid(torch.cat(logits))
    np.testing.assert_allclose([p.min(), p.max()], description["dropout_p_range"], rtol=1e-5)


def test_the_largest_map_in_kelvin_is_one_and_the_output_is_around_a_half(given):
    scaling = import_published(*given, facts=FACTS)["facts"]["scaling"]
    largest = np.array([[0.04e6, -0.04e6], [2600e6, 0]])  # uK
    features, target = (transform_from_state(scaling[key]) for key in ("features", "target"))
    np.testing.assert_allclose(features(largest), [[1, -1], [1, 0]])
    np.testing.assert_allclose(target.inverse(np.array([[0, 0.5, 1]])), [[-630, 0, 630]], atol=1e-12)


def test_a_folder_of_published_weights_is_a_complete_training(given, tmp_path: Path):
    arrays, description = given
    inputs = {"arrays": arrays, "description": description, "facts": FACTS}
    folder = TrainingFolderDataset(path=tmp_path / "petroff")
    folder.save(Partition("petroff", keep_published, version=1, inputs=inputs))
    kept = folder.load()
    assert sorted(kept) == ["best", "last"]
    assert history_rows(kept["last"]()) == []
    sky = np.random.default_rng(4).standard_normal((1, 2, 48)).astype(np.float32)
    expected = predict(build_network(import_published(arrays, description, facts=FACTS)), sky)
    np.testing.assert_array_equal(predict(build_network(kept["best"]()), sky), expected)


def test_the_state_of_an_optimiser_is_left_aside(given):
    arrays, description = given
    more = {**arrays, "L000__kernel__adam_m": np.ones(3), "optimizer__iter": np.array(7)}
    one, other = (import_published(these, description, facts=FACTS) for these in (arrays, more))
    assert all(torch.equal(one["weights"][name], other["weights"][name]) for name in one["weights"])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("channels", ["70", "545"], r"channels: they need \['70', '857'\], asked for \['70', '545'\]"),
        ("nside", 4, "nside: they need 2, asked for 4"),
        ("inputs", "differences", "inputs: they need maps, asked for differences"),
        ("inputs_fwhm_arcmin", 20.6, "inputs_fwhm_arcmin: they need 13.1, asked for 20.6"),
        ("target_fwhm_arcmin", 60.0, "target_fwhm_arcmin: they need 13.1, asked for 60"),
    ],
)
def test_weights_for_other_data_are_refused(given, name, value, message):
    with pytest.raises(ValueError, match=message):
        import_published(*given, facts={**FACTS, name: value})


def test_weights_of_another_depth_are_refused(given):
    arrays, description = given
    with pytest.raises(ValueError, match="of depth 0, but from nside 2 down to nside 1 it is 1"):
        import_published(arrays, without(description, "nside=1"), facts=FACTS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: without(d, "up level=0"), "kernel of 'up level=0 nside=2 conv=1'.* are missing"),
        (
            lambda d: {**d, "filter_maps": FILTERS + 1},
            r"kernel of 'down level=0 nside=2 freq=0 conv=1' \(3, 2\), not \(3, 3\).* and .* more are of another shape",
        ),
        (
            lambda d: {**d, "variables": [*d["variables"], {**d["variables"][0], "role": "up level=7"}]},
            "kernel of 'up level=7' belong to no layer",
        ),
        (
            lambda d: {**d, "variables": [*d["variables"], {**d["variables"][0], "array": "L999__kernel"}]},
            "the description names arrays that the file lacks: L999__kernel",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_named(given, change: Callable[[dict], dict], message):
    arrays, description = given
    with pytest.raises(ValueError, match=message):
        import_published(arrays, change(description), facts=FACTS)


def test_weights_that_are_not_finite_are_refused(given):
    arrays, description = given
    broken = {**arrays, "L000__bias": np.full((1, 1, 2), np.nan, dtype=np.float32)}
    with pytest.raises(ValueError, match="bias of 'down level=0 nside=2 freq=0 conv=1' are not finite"):
        import_published(broken, description, facts=FACTS)
