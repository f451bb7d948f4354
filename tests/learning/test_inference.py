from dataclasses import dataclass

import numpy as np
import pytest
import torch

from cmbml.learning import inference
from cmbml.learning.checkpoints import build_network
from cmbml.learning.inference import chosen_checkpoint, device_of, network_of, predict
from cmbml.science.threads import set_thread_count, thread_count
from tests.learning.small_trainings import Skies, checkpoint, small_training


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict:
    directory = tmp_path_factory.mktemp("training")
    small_training(directory)
    return checkpoint(directory)


@dataclass
class Stored:
    """A loader that counts its loads."""

    checkpoint: dict
    fingerprint: str
    loads: int = 0

    def __call__(self) -> dict:
        self.loads += 1
        return self.checkpoint


def test_a_checkpoint_that_was_not_kept_is_named_with_those_that_were(trained):
    kept = {name: Stored(trained, name) for name in ("best", "epoch_0002", "last")}
    assert chosen_checkpoint(kept, "last", method="spherical") is kept["last"]
    message = (
        "spherical_prediction.checkpoint epoch_0003: not kept; there are best, epoch_0002, last. Choose one "
        "of them, or remove the training.s folder and train anew with another "
        "spherical_training.checkpoint_every or checkpoint_also"
    )
    with pytest.raises(ValueError, match=message):
        chosen_checkpoint(kept, "epoch_0003", method="spherical")


def test_prediction_is_the_network_without_dropout_and_always_the_same(trained):
    network, skies = build_network(trained), Skies(3)
    made = predict(network, skies.features)
    assert made.shape == (3, 1, 8, 6)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, network(torch.from_numpy(skies.features)).numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(made, predict(network, skies.features))
    np.testing.assert_allclose(made[1:2], predict(network, skies.features[1:2]), rtol=1e-5, atol=1e-6)


def test_prediction_changes_neither_features_nor_the_process(trained):
    skies, before = Skies(2), torch.get_num_threads()
    read_only = skies.features.copy()
    read_only.flags.writeable = False
    predict(build_network(trained), read_only.copy())
    np.testing.assert_array_equal(read_only, skies.features)
    assert torch.get_num_threads() == before


def test_prediction_uses_the_threads_of_the_process(trained):
    network, before, seen = build_network(trained), thread_count(), []
    network.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
    try:
        for threads in (1, 2):
            set_thread_count(threads)
            predict(network, Skies(1).features)
    finally:
        set_thread_count(before)
    assert seen == [1, 2]


def test_a_prediction_that_is_not_finite_is_refused(trained):
    features = Skies(3).features
    features[1] = np.inf
    with pytest.raises(ValueError, match="sky 1 of the batch: the network's output is not finite"):
        predict(build_network(trained), features)


def test_a_network_is_built_once_per_process_and_few_are_kept(trained, monkeypatch):
    monkeypatch.setattr(inference, "_networks", {})
    loaders = [Stored(trained, name) for name in ("a", "b", "c")]
    first = network_of(loaders[0])
    assert network_of(Stored(trained, "a")) is first
    assert loaders[0].loads == 1
    for loader in loaders[1:]:
        network_of(loader)
    assert network_of(loaders[0]) is not first


@pytest.mark.parametrize(
    ("accelerator", "found", "kind"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("gpu", True, "cuda")],
)
def test_a_network_computes_where_it_is_asked_to(monkeypatch, accelerator, found, kind):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    assert device_of(accelerator) == torch.device(kind)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="accelerator gpu: torch finds no GPU here; take cpu or auto"):
        device_of("gpu")
