"""CMB-ML's recipe for correlated noise, against its own numbers."""

import json

import numpy as np
import pytest

from cmbml.pipelines.simulation.noise import draw_noise, noise_seed
from cmbml.pipelines.simulation.noise_reference import forced_noise, reference_noise, reference_seed
from cmbml.science.harmonics import alm_to_cl, analyse
from cmbml.science.instrument import Channel
from tests.pipelines.simulation.noise_inputs import noise_settings


def test_seeds_are_the_references(shared_file):
    records = json.loads(shared_file("reference/cmbml/seeds.json").read_text())
    known = {record["string"]: record["seed"] for record in records if record["string"].endswith("_noise")}
    templates = [
        text.split("_") for text in known if text.count("_") == 3 and text.split("_")[1][:3] == "sim"
    ]
    assert len(templates) > 10
    for split, simulation, channel, _ in templates:
        text = f"{split}_{simulation}_{channel}_noise"
        assert reference_seed(split.lower(), simulation, channel, prefix="") == known[text]


def test_seeds_of_the_published_dataset_have_its_name_and_bare_numbers():
    published = noise_settings(
        kind="correlated", recipe="reference", pattern="variance", reference_prefix="I-512-1450_"
    )
    record = {"split": "train", "simulation": "sim0000", "noise": "17"}
    channel = Channel("100", 100.89, 9.7, "I")
    assert noise_seed(record, channel, published) == 483837146  # I-512-1450_Train_0000_100_noise
    newer = published.model_copy(update={"reference_prefix": ""})
    assert noise_seed(record, channel, newer) == 2547676193  # Train_sim0000_100_noise


def test_the_white_map_and_the_forced_one_are_the_references(shared_file):
    with np.load(shared_file("reference/cmbml/correlated_noise.npz")) as reference:
        lmax, target = int(reference["lmax"]), reference["target_cl"]
        white = np.random.default_rng(int(reference["noise_seed"])).normal(
            scale=reference["standard_deviation_map"]
        )
        np.testing.assert_array_equal(white, reference["white_map"])
        found = forced_noise(white, target[: lmax + 1])
        scale = np.abs(found).max()
        np.testing.assert_allclose(
            found, reference["correlated_map_without_monopole"], rtol=1e-9, atol=1e-9 * scale
        )
        np.testing.assert_allclose(
            found + reference["average_map"], reference["final_noise_map"], rtol=1e-9, atol=1e-9 * scale
        )


@pytest.mark.parametrize("seed", [11, 12])
def test_the_drawn_spectrum_is_the_references(shared_file, seed):
    with np.load(shared_file("reference/cmbml/noise_pca.npz")) as reference:
        spread = reference["components"] * np.sqrt(reference["explained_variance"])[:, None]
        sources = {"mean": reference["mean_log10"][None], "spread": spread[:, None]}
        target = reference[f"drawn_spectrum_seed{seed}"]
    sigma = np.random.default_rng(0).uniform(1, 2, 12 * 32**2)
    noise = reference_noise(sigma, seed=seed, sources=sources)
    white = np.random.default_rng(seed).normal(scale=sigma)
    np.testing.assert_allclose(noise, forced_noise(white, target), atol=1e-9 * np.abs(noise).max())


def test_the_spectrum_of_the_map_is_forced():
    target = 1.0 + np.arange(33)
    white = np.random.default_rng(0).normal(size=12 * 32**2)
    noise = forced_noise(white, target)
    assert abs(noise.mean()) < 1e-12
    np.testing.assert_allclose(alm_to_cl(analyse(noise, 32, iterations=10))[2:], target[2:], rtol=1e-3)


def test_scale_and_average_act_on_the_references_noise_too():
    channel, sigma = Channel("143", 142.9, 7.3, "I"), np.ones((1, 12 * 8**2))
    sources = {"mean": np.zeros((1, 24)), "spread": np.ones((1, 1, 24)), "root": sigma}
    with_average = {**sources, "average": np.full((1, 12 * 8**2), 5.0)}
    settings = noise_settings(kind="correlated", recipe="reference", pattern="variance", scale=2.0)
    alone = draw_noise(channel, 8, seed=3, settings=settings, sources=sources)
    np.testing.assert_allclose(
        alone[0], 2 * reference_noise(sigma[0], seed=3, sources=sources).astype(np.float32), rtol=1e-6
    )
    together = draw_noise(channel, 8, seed=3, settings=settings, sources=with_average)
    np.testing.assert_allclose(together - alone, 10, rtol=1e-5)
