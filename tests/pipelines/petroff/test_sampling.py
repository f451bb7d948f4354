"""The answer of a network is the mean and the scatter of its passes, and leaves nothing behind."""

import numpy as np
import pytest
import torch
from torch import nn

from cmbml.pipelines.petroff.cleaner import CorrectingNetwork, PetroffNetwork
from cmbml.pipelines.petroff.dropout import ConcreteDropout
from cmbml.pipelines.petroff.sampling import sampled
from cmbml.science.threads import set_thread_count

NSIDE, CHANNELS = 4, 3
NPIX = 12 * NSIDE**2
KEY = (7, "test sim0000")
SHAPE = {
    "channels": CHANNELS,
    "nside": NSIDE,
    "depth": 1,
    "filters": 2,
    "order": 2,
    "weight_strength": 0.0,
    "dropout_strength": 0.0,
    "pooling": "max",
    "recompute": False,
}


def made(*, dropout: float = 0.2, uncertain: bool = True, seed: int = 0) -> PetroffNetwork:
    torch.manual_seed(seed)
    return PetroffNetwork(**SHAPE, initial_dropout=dropout, uncertain=uncertain, output="linear").eval()


def features(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((CHANNELS, NPIX)).astype(np.float32)


def answer(network: nn.Module, *, samples: int = 7, batch: int = 3, key=KEY, fields: int = 1):
    return sampled(network, features(), fields=fields, samples=samples, batch=batch, key=key)


class Recording(nn.Module):
    """A network that keeps what it returns."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.passes = network, []

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        output = self.network(maps)
        self.passes.extend(output.numpy().copy())
        return output


@pytest.mark.parametrize("batch", [1, 3, 7, 50])
def test_it_is_the_mean_and_the_scatter_of_all_passes(batch):
    network = Recording(made())
    found = answer(network, batch=batch)
    passes = np.stack(network.passes).astype(np.float64)  # (samples, 2, npix)
    assert len(passes) == 7
    np.testing.assert_allclose(found.mean, passes[:, :1].mean(0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.scatter, passes[:, :1].var(0), rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(found.noise, np.exp(passes[:, 1:]).mean(0), rtol=1e-5)
    assert found.scatter.min() > 0
    assert len({values.tobytes() for values in network.passes}) == 7  # no pass is another


@pytest.mark.parametrize("noise", ["pixel", "feature"])
def test_the_answer_is_the_same_however_many_passes_go_together(noise):
    network = made()
    for module in network.modules():
        if isinstance(module, ConcreteDropout):
            module.noise = noise
    first = answer(network, batch=1)
    for batch in (2, 3, 7, 50):
        for one, same in zip(vars(first).values(), vars(answer(network, batch=batch)).values(), strict=True):
            np.testing.assert_allclose(one, same, rtol=1e-5, atol=1e-7)  # but for rounding


def test_every_pass_and_every_layer_has_numbers_of_its_own():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = (ConcreteDropout(1, initial=0.3) for _ in range(2))

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            pixels = maps.transpose(1, 2)
            return torch.cat([self.first(pixels), self.second(pixels)], dim=-1).transpose(1, 2)

    ones, network = np.ones((1, NPIX), np.float32), Recording(Twice())
    for samples in (2, 4):  # more passes leave the first ones as they are
        sampled(network, ones, fields=2, samples=samples, batch=2, key=KEY)
    drawn = [sky.tobytes() for values in network.passes for sky in values]
    assert drawn[:4] == drawn[4:8]
    assert len(set(drawn[4:])) == 8
    assert [network.network.first.seeds, network.network.second.seeds] == [None, None]


def test_the_numbers_follow_from_the_key():
    network = made()
    first = answer(network)
    torch.manual_seed(99)
    again = answer(network)
    for one, same in zip(vars(first).values(), vars(again).values(), strict=True):
        assert np.array_equal(one, same)
    for key in ((8, "test sim0000"), (7, "test sim0001"), (7, "train sim0000")):
        assert not np.array_equal(answer(network, key=key).mean, first.mean)


def test_the_scatter_is_small_where_the_mean_is_large():
    """Shifted by ten thousand, a sum of squares minus a squared sum would be off by more than the scatter."""

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = made(uncertain=False)

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            return self.network(maps) * 0.5 + 1e4

    plain = answer(made(uncertain=False), samples=40).scatter
    np.testing.assert_allclose(answer(Shifted(), samples=40).scatter, 0.25 * plain, rtol=0.1, atol=1e-5)


class Dropping(nn.Module):
    """Nothing but dropout of features of a known probability."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropout = ConcreteDropout(1, initial=probability)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return self.dropout(maps.transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize("probability", [0.1, 0.4])
def test_the_mean_and_scatter_of_a_dropout_are_those_of_its_distribution(probability):
    network = Dropping(probability)
    ones = np.ones((1, NPIX), np.float32)
    found = sampled(network, ones, fields=1, samples=400, batch=100, key=KEY)
    u = (np.arange(100_000) + 0.5) / 100_000
    odds = probability / (1 - probability) * u / (1 - u)
    kept = 1 / (1 + odds**1.5) / (1 - probability)  # 1 - z at temperature 2/3
    count = 400 * NPIX
    assert abs(found.mean.mean() - kept.mean()) < 5 * kept.std() / np.sqrt(count)
    np.testing.assert_allclose(found.scatter.mean(), kept.var(), rtol=0.03)


@pytest.mark.parametrize("uncertain", [True, False])
def test_without_dropout_one_pass_says_all(uncertain):
    network = Recording(made(dropout=0.0, uncertain=uncertain))
    found = answer(network, samples=20)
    assert len(network.passes) == 1
    assert (found.scatter == 0).all()
    assert (found.noise > 0).all() if uncertain else (found.noise == 0).all()
    assert np.array_equal(found.mean, network.passes[0][:1])


def test_it_is_what_the_correcting_network_says_too():
    torch.manual_seed(0)
    network = CorrectingNetwork(**SHAPE, gains=[2.0, 0.5], compress=True, initial_dropout=0.1, uncertain=True)
    found = answer(network.eval())
    np.testing.assert_allclose(found.mean[0], 2.0 * features()[0] + 0.5, rtol=1e-5, atol=1e-6)
    assert np.abs(found.scatter).max() < 1e-10  # untrained, weights of differences are zero


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = ConcreteDropout(1, initial=0.1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("out of memory")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_everything_is_put_back(training, fails):
    network = (Failing() if fails else made()).train(training)
    torch.manual_seed(3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    torch.set_num_threads(2)
    set_thread_count(1)
    try:
        if fails:
            with pytest.raises(RuntimeError, match="out of memory"):
                answer(network)
        else:
            answer(network)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(torch.get_rng_state(), state)
    assert {module.training for module in network.modules()} == {training}


def test_only_dropout_is_active():
    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout, self.norm = ConcreteDropout(1, initial=0.1), nn.BatchNorm1d(1)
            self.modes: set[tuple[bool, bool]] = set()

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            self.modes.add((self.dropout.training, self.norm.training))
            return maps[:, :1]

    network = Looking().train()
    answer(network)
    assert network.modes == {(True, False)}


def test_as_many_threads_as_the_process_may_use():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale, self.threads = nn.Parameter(torch.ones(1)), 0

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            self.threads = torch.get_num_threads()
            return maps[:, :1]

    network, before = Counting(), torch.get_num_threads()
    set_thread_count(2)
    answer(network)
    assert network.threads == 2
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("bad", ["mean", "variance"])
def test_an_answer_that_is_not_finite_is_refused(bad):
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            output = torch.zeros(len(maps), 2, maps.shape[-1])
            output[0, 0 if bad == "mean" else 1, 3] = float("nan") if bad == "mean" else 200.0
            return output

    with pytest.raises(ValueError, match="the network's output is not finite; look for extreme values"):
        answer(Broken())


def test_features_are_not_changed_and_may_be_a_view():
    given = features()
    before = given.copy()
    one = sampled(made(), given, fields=1, samples=3, batch=2, key=KEY)
    other = sampled(made(), given[:, ::-1][:, ::-1], fields=1, samples=3, batch=2, key=KEY)
    assert np.array_equal(given, before)
    assert np.array_equal(one.mean, other.mean)


def test_seeds_of_skies_passes_and_layers_differ_and_are_what_torch_takes():
    network = nn.ModuleList([Dropping(0.1), Dropping(0.1)])
    seen: list[int] = []

    def forward(maps: torch.Tensor) -> torch.Tensor:
        seen.extend(seed for part in network for seed in part.dropout.seeds)
        return maps[:, :1]

    network.forward = forward
    for number in range(20):
        answer(network, samples=10, key=(7, f"test sim{number:04d}"))
    assert len(set(seen)) == len(seen) == 20 * 10 * 2
    assert 0 <= min(seen) <= max(seen) < 2**63
