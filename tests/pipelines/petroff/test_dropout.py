"""Concrete dropout drops what the published code drops, and is differentiated rightly by what it learns."""

import copy

import numpy as np
import pytest
import torch

from cmbml.pipelines.petroff.dropout import (
    EPS,
    TEMPERATURE,
    ConcreteDropout,
    _drawn_elsewhere,
    count_on,
    uniform_numbers,
)


def dropout(p: float, groups: int = 1, noise: str = "pixel", dtype=torch.float64) -> ConcreteDropout:
    return ConcreteDropout(groups, initial=p, noise=noise).to(dtype)


def formula(x: torch.Tensor, uniform: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    """Return what becomes of x as the publication writes it, to be differentiated by torch."""
    odds = (p + EPS).log() - (1 - p + EPS).log() + (uniform + EPS).log() - (1 - uniform + EPS).log()
    return x * (1 - torch.sigmoid(odds / TEMPERATURE)) / (1 - p)


@pytest.mark.parametrize("p", ["0.05", "0.3"])
def test_it_drops_what_the_published_code_drops(shared_file, p):
    with np.load(shared_file("reference/petroff/concrete_dropout_noise.npz")) as archive:
        x, uniform = (torch.from_numpy(archive[name]) for name in ("x", "uniform_noise"))
        expected = archive[f"dropped_p{p}"]
    found = dropout(float(p), dtype=torch.float32).dropped(x, uniform).detach()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_its_regularisation_is_the_published_one(shared_file):
    with np.load(shared_file("reference/petroff/concrete_dropout_regularisation.npz")) as archive:
        rows = archive["p_weightreg_dropreg_fin_K_fout_value"]
        squares = [float(np.square(archive[f"case{i}_kernel"].astype(float)).sum()) for i in range(len(rows))]
    for (p, weight, strength, features, _, _, value), square in zip(rows, squares, strict=True):
        found = (
            dropout(p)
            .regularisation(torch.tensor([square]), features=int(features), weight=weight, dropout=strength)
            .detach()
        )
        assert float(found) == pytest.approx(value, rel=1e-6, abs=1e-6 * abs(value))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("shape", [(2, 12, 6), (2, 1, 6)])
def test_it_is_its_formula_and_so_are_its_derivatives(groups, shape):
    layer = dropout(0.2, groups)
    with torch.no_grad():
        layer.p_logit += torch.arange(groups)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 12, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    p = torch.sigmoid(layer.p_logit).repeat_interleave(6 // groups)
    found, expected = layer.dropped(x, uniform), formula(x, uniform, p)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    towards = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    for own, autograds in zip(
        torch.autograd.grad(found, (x, layer.p_logit), towards),
        torch.autograd.grad(expected, (x, layer.p_logit), towards),
        strict=True,
    ):
        torch.testing.assert_close(own, autograds, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("noise", ["pixel", "feature"])
def test_its_derivatives_are_those_of_small_differences(noise):
    layer = dropout(0.3, 2)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 12, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    uniform = torch.rand((2, 12 if noise == "pixel" else 1, 4), generator=generator, dtype=torch.float64)

    def of(x, logit):
        return torch.func.functional_call(Given(layer, uniform), {"layer.p_logit": logit}, x)

    assert torch.autograd.gradcheck(of, (x, layer.p_logit.detach().clone().requires_grad_()))


class Given(torch.nn.Module):
    """A dropout by given uniform numbers."""

    def __init__(self, layer: ConcreteDropout, uniform: torch.Tensor) -> None:
        super().__init__()
        self.layer, self.uniform = layer, uniform

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer.dropped(x, self.uniform)


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5])
def test_single_precision_is_double_precision_but_for_rounding(p):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 12 * 16**2, 7, generator=generator)
    uniform = torch.rand(x.shape, generator=generator)
    single = dropout(p, dtype=torch.float32).dropped(x, uniform)
    torch.testing.assert_close(
        single.double(), dropout(p).dropped(x.double(), uniform.double()), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("uniform", [0.0, 1 - 2**-24])
def test_the_ends_of_the_uniform_numbers_are_harmless(uniform):
    layer = dropout(0.1, dtype=torch.float32)
    x = torch.ones(1, 12, 1, requires_grad=True)
    result = layer.dropped(x, torch.full(x.shape, uniform))
    result.sum().backward()
    assert result.isfinite().all()
    assert x.grad.isfinite().all()
    assert layer.p_logit.grad.isfinite().all()


def test_evaluation_drops_nothing():
    layer = dropout(0.4).eval()
    x = torch.randn(1, 12, 3, dtype=torch.float64)
    assert layer(x) is x


def test_what_is_dropped_is_what_even_numbers_drop():
    torch.manual_seed(1)
    x = torch.ones(1, 12 * 32**2, 10, dtype=torch.float64)
    found = dropout(0.1)(x).detach()
    even = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    expected = formula(torch.ones(()), even, torch.tensor(0.1, dtype=torch.float64))
    # 122880 draws: five of their standard deviations
    assert float(found.mean()) == pytest.approx(float(expected.mean()), abs=5 * float(expected.std()) / 350)
    assert float((found < 0.5).double().mean()) == pytest.approx(
        float((expected < 0.5).double().mean()), abs=5e-3
    )


@pytest.mark.parametrize(("noise", "apart"), [("pixel", True), ("feature", False)])
def test_noise_is_drawn_by_pixel_or_by_feature(noise, apart):
    torch.manual_seed(1)
    result = dropout(0.3, 2, noise)(torch.ones(3, 12, 4, dtype=torch.float64)).detach()
    differs = (result - result[:, :1]).abs().amax(1)
    assert bool((differs > 0).all()) == apart
    assert len(torch.unique(result[:, 0])) == 12  # skies and features always have numbers of their own


def test_the_same_random_state_drops_the_same():
    x = torch.ones(1, 12, 4)
    drawn = []
    for _ in range(2):
        torch.manual_seed(5)
        drawn.append(dropout(0.3, dtype=torch.float32)(x))
    assert torch.equal(*drawn)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_numbers_are_uniform_and_know_nothing_of_each_other(dtype):
    torch.manual_seed(1)
    x = torch.empty(2, 12 * 64**2, 42, dtype=dtype)
    found = uniform_numbers(x)
    again = uniform_numbers(x)
    assert found.dtype == dtype
    assert 0 <= float(found.min()) < 1e-5
    assert 1 - 1e-5 < float(found.max()) < 1
    parts = torch.histc(found.double(), 256, 0, 1)
    mean = found.numel() / 256
    assert abs(float(((parts - mean) ** 2 / mean).sum()) - 255) < 5 * (2 * 255) ** 0.5  # chi squared
    shifted = (found.double() - 0.5) * 12**0.5  # variance 1
    pairs = {
        "features": (shifted[..., 1:], shifted[..., :-1]),
        "distant features": (shifted[..., 21:], shifted[..., :-21]),
        "pixels": (shifted[:, 1:], shifted[:, :-1]),
        "children": (shifted[:, 4:], shifted[:, :-4]),
        "skies": (shifted[0], shifted[1]),
        "calls": (shifted, (again.double() - 0.5) * 12**0.5),
    }
    for name, (one, other) in pairs.items():
        assert abs(float((one * other).mean())) < 5 / one.numel() ** 0.5, name
        assert abs(float((one**2 * other**2).mean()) - 1) < 5 * 2.24 / one.numel() ** 0.5, name


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_there_is_a_seed_for_each_item(device):
    with pytest.raises(ValueError, match="2 seeds: a batch of 3 needs one for each of its items"):
        uniform_numbers(torch.empty(3, 12, 4, device=device), seeds=(1, 2))


@pytest.mark.parametrize("draw", [uniform_numbers, _drawn_elsewhere])
def test_numbers_of_an_item_follow_from_its_seed_alone(draw):
    x = torch.empty(3, 12, 4)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    found = draw(x, seeds=(5, 2**63 - 1, 5))
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1])
    assert torch.equal(draw(x[:1], seeds=(5,)), found[:1])
    assert torch.equal(torch.get_rng_state(), state)
    assert len(torch.unique(found[:2])) > 90  # of 96


def test_a_dropout_draws_by_its_seeds():
    layer, x = dropout(0.3, dtype=torch.float32), torch.ones(2, 12, 4)
    layer.seeds = (3, 4)
    torch.testing.assert_close(layer(x), layer.dropped(x, uniform_numbers(x, seeds=(3, 4))), rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(2, 12, 6), (2, 1, 6)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_a_gradient_it_drops_the_same(shape, dtype):
    layer = dropout(0.3, 2, dtype=dtype)
    x, uniform = torch.randn(2, 12, 6, dtype=dtype), torch.rand(shape, dtype=dtype)
    learning = layer.dropped(x, uniform)
    with torch.inference_mode():
        torch.testing.assert_close(layer.dropped(x, uniform), learning, rtol=1e-6, atol=1e-7)


def test_without_a_gradient_nothing_but_the_result_is_laid_out(monkeypatch):
    laid_out = []
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda x: laid_out.append(x.shape) or empty_like(x))
    layer, x = dropout(0.3, dtype=torch.float32), torch.ones(1, 12, 4)
    uniform = torch.rand(x.shape)
    with torch.no_grad():
        layer.dropped(x, uniform)
    assert laid_out == [x.shape]
    layer.dropped(x, uniform)
    assert laid_out == 3 * [x.shape]


@pytest.mark.parametrize("noise", ["pixel", "feature"])
def test_mixed_precision_drops_in_single_precision(noise):
    layer, x = dropout(0.3, noise=noise, dtype=torch.float32), torch.ones(2, 12, 4)
    layer.seeds = (3, 4)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_uniform_numbers_and_dropping_are_the_same_in_every_number_of_threads():
    layer = dropout(0.2, dtype=torch.float32)
    x = torch.randn(1, 12 * 64**2, 6, requires_grad=True)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            torch.manual_seed(1)
            y = layer(x)
            results.append((y, *torch.autograd.grad(y.square().sum(), (x, layer.p_logit))))
        finally:
            torch.set_num_threads(1)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_it_starts_at_the_probability_it_is_given():
    assert dropout(0.001, 4).probability.tolist() == pytest.approx([0.001] * 4, rel=1e-6)


def test_regularisation_pulls_the_probability_to_one_half_without_weights():
    layer = dropout(0.2)
    layer.regularisation(torch.zeros(1), features=3, weight=1, dropout=1).backward()
    assert layer.p_logit.grad < 0  # descending, p grows
    half = dropout(0.5)
    half.regularisation(torch.zeros(1), features=3, weight=1, dropout=1).backward()
    assert float(half.p_logit.grad) == pytest.approx(0, abs=1e-12)


def test_counting_on_it_leaves_nothing_else_in_training():
    network = torch.nn.Sequential(torch.nn.BatchNorm1d(3), dropout(0.2), torch.nn.Dropout(0.5))
    assert count_on(network) is network
    assert [module.training for module in network] == [False, True, False]


def test_a_copy_is_as_good():
    layer = dropout(0.2)
    twin = copy.deepcopy(layer)
    twin.load_state_dict(layer.state_dict())
    x, uniform = torch.ones(1, 12, 2, dtype=torch.float64), torch.rand(1, 12, 2, dtype=torch.float64)
    assert torch.equal(twin.dropped(x, uniform), layer.dropped(x, uniform))
