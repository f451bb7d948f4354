"""Mixed precision and compilation, which a training may ask for, leave the spherical networks what they are."""

import shutil

import numpy as np
import pytest
import torch
from torch import nn

from cmbml.pipelines.petroff.cleaner import CorrectingNetwork, PetroffNetwork
from cmbml.pipelines.petroff.deepsphere import DeepSphereNetwork
from cmbml.pipelines.petroff.dropout import ConcreteDropout
from cmbml.pipelines.petroff.graph import scaled_laplacian
from cmbml.pipelines.petroff.products import chebyshev
from tests.pipelines.petroff.small_skies import data, network, trained

SPHERE = {
    "channels": 3,
    "nside": 4,
    "depth": 1,
    "filters": 2,
    "order": 3,
    "initial_dropout": 0.1,
    "weight_strength": 1e-3,
    "dropout_strength": 1e-3,
    "uncertain": True,
    "recompute": False,
}
KINDS = {
    "published": lambda: PetroffNetwork(**SPHERE, pooling="max", output="linear"),
    "correcting": lambda: CorrectingNetwork(**SPHERE, pooling="max", gains=[1.0, 0.0], compress=True),
    "deepsphere": lambda: DeepSphereNetwork(**SPHERE),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind: str) -> nn.Module:
    """Return a network of which no part is at zero."""
    torch.manual_seed(1)
    built = KINDS[kind]()
    with torch.no_grad():
        for weights in built.parameters():
            weights.add_(torch.randn_like(weights), alpha=0.1)
    for number, module in enumerate(built.modules()):
        if isinstance(module, ConcreteDropout):
            module.seeds = (number, 1000 + number)
    return built


def maps() -> torch.Tensor:
    return torch.randn(2, 3, 12 * 4**2, generator=torch.Generator().manual_seed(2))


@every_kind
@pytest.mark.parametrize("training", [True, False])
def test_its_output_is_the_same_in_mixed_precision(kind, training):
    expected = made(kind).train(training)(maps())
    with torch.autocast("cpu", torch.bfloat16):
        found = made(kind).train(training)(maps())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_a_convolution_and_its_derivatives_are_in_single_precision_whatever_it_is_given():
    generator = torch.Generator().manual_seed(1)
    # exact in bfloat16
    x = torch.randn(2, 48, 6, generator=generator).bfloat16().requires_grad_()
    kernel = torch.randn(3, 2, 3, 4, generator=generator, requires_grad=True)
    graph = scaled_laplacian(2, "petroff")
    expected = chebyshev(x.float(), kernel, graph)
    plain = torch.autograd.grad(expected.square().sum(), (x, kernel))
    with torch.autocast("cpu", torch.bfloat16):
        found = chebyshev(x, kernel, graph)
        mixed = torch.autograd.grad(found.square().sum(), (x, kernel))
    assert torch.equal(found, expected)
    for one, other in zip(mixed, plain, strict=True):
        assert torch.equal(one, other)


@every_kind
def test_it_is_trained_in_mixed_precision(kind, tmp_path):
    inputs = "differences" if kind == "correcting" else "maps"
    built, shown = network(kind=kind), data(inputs=inputs)
    mixed, single = (
        trained(tmp_path / precision, built=built, shown=shown, epochs=1, precision=precision)["last"]()
        for precision in ("bf16-mixed", "32")
    )
    assert mixed["history"][0]["train_loss"] == pytest.approx(single["history"][0]["train_loss"], rel=0.02)
    for name, weights in single["weights"].items():
        assert mixed["weights"][name].dtype == weights.dtype
        assert np.isfinite(mixed["weights"][name].numpy()).all()


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch compiles with a C++ compiler on a CPU")
@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # torch's own
@every_kind
def test_a_compiled_network_gives_what_an_eager_one_gives(kind):
    eager, compiled = made(kind), made(kind)
    compiled.compile()
    expected, found = eager(maps()), compiled(maps())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    expected.square().mean().backward()
    found.square().mean().backward()
    for one, other in zip(compiled.parameters(), eager.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)
