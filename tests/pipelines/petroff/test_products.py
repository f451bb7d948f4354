"""The Chebyshev product is its formula, and so are its derivatives, whatever computes them."""

import healpy as hp
import numpy as np
import pytest
import torch

from cmbml.learning.symmetry import SphereSymmetry
from cmbml.pipelines.petroff import products
from cmbml.pipelines.petroff.graph import scaled_laplacian
from cmbml.pipelines.petroff.products import chebyshev
from tests.pipelines.petroff.dense_products import dense_chebyshev

SHAPES = pytest.mark.parametrize(
    ("groups", "n_in", "n_out"),
    [(1, 1, 1), (7, 1, 6), (7, 6, 6), (1, 6, 2), (2, 12, 5), (1, 40, 30), (3, 2, 3)],
)


def drawn(*shape: int, seed: int = 1, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def given(
    nside: int, groups: int, n_in: int, n_out: int, *, order: int = 4, batch: int = 2, dtype=torch.float64
):
    """Return features, a kernel and a graph, the former to be differentiated by."""
    x = drawn(batch, 12 * nside**2, groups * n_in, dtype=dtype).requires_grad_()
    kernel = drawn(order, groups, n_in, n_out, seed=2, dtype=dtype).requires_grad_()
    return x, kernel, scaled_laplacian(nside, "petroff")


@pytest.fixture(params=["table", "sparse"])
def way(request, monkeypatch):
    """Have the product computed as on a CPU, or as elsewhere."""
    if request.param == "sparse":
        monkeypatch.setattr(products, "_has_table", lambda x: False)
    return request.param


@SHAPES
@pytest.mark.parametrize("order", [1, 2, 3, 9])
def test_it_is_its_formula_and_so_are_its_derivatives(way, groups, n_in, n_out, order):
    x, kernel, graph = given(2, groups, n_in, n_out, order=order)
    found, expected = chebyshev(x, kernel, graph), dense_chebyshev(x, kernel, graph)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-11)
    towards = drawn(*expected.shape, seed=3)
    for own, dense in zip(
        torch.autograd.grad(found, (x, kernel), towards),
        torch.autograd.grad(expected, (x, kernel), towards),
        strict=True,
    ):
        torch.testing.assert_close(own, dense, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize(("nside", "groups", "n_in", "n_out"), [(1, 3, 2, 2), (2, 1, 3, 1), (1, 2, 1, 3)])
def test_its_derivatives_are_those_of_small_differences(nside, groups, n_in, n_out):
    x, kernel, graph = given(nside, groups, n_in, n_out)
    assert torch.autograd.gradcheck(lambda a, b: chebyshev(a, b, graph), (x, kernel))


@pytest.mark.parametrize("wanted", ["x", "kernel"])
def test_one_derivative_alone_is_the_same(way, wanted):
    x, kernel, graph = given(2, 2, 3, 3)
    one = {"x": x, "kernel": kernel}[wanted]
    towards = drawn(2, 48, 6, seed=3)
    (expected,) = torch.autograd.grad(chebyshev(x, kernel, graph), one, towards)
    other = x.detach() if wanted == "kernel" else x, kernel.detach() if wanted == "x" else kernel
    (found,) = torch.autograd.grad(chebyshev(*other, graph), one, towards)
    assert torch.equal(found, expected)


def test_one_term_is_a_plain_product_of_features():
    x, kernel, graph = given(4, 1, 5, 3, order=1)
    torch.testing.assert_close(chebyshev(x, kernel, graph), x @ kernel[0, 0])


def test_its_terms_are_the_polynomials_of_the_cosine():
    """T_k(cos a) = cos k a, on the eigenvectors of the graph."""
    graph = scaled_laplacian(2, "deepsphere")
    values, vectors = np.linalg.eigh(graph.matrix().toarray().astype(float))
    x = torch.from_numpy(vectors).unsqueeze(0)  # a feature for each eigenvector
    for k in range(6):
        kernel = torch.zeros(6, 48, 1, 1, dtype=torch.float64)
        kernel[k] = 1
        found = chebyshev(x, kernel, graph)[0].numpy()
        cosines = np.cos(k * np.arccos(np.clip(values, -1, 1)))
        np.testing.assert_allclose(found, vectors * cosines, atol=1e-5)  # the arc cosine near -1


def test_it_reaches_as_many_steps_as_it_has_terms_less_one():
    graph = scaled_laplacian(16, "petroff")
    x = torch.zeros(1, graph.npix, 1)
    x[0, 1000] = 1
    kernel = torch.ones(4, 1, 1, 1)
    step = abs(graph.matrix()) > 0
    reached = (step @ step @ step).toarray()[1000]
    assert np.array_equal(chebyshev(x, kernel, graph)[0, :, 0].numpy() != 0, reached)


def test_groups_do_not_know_of_each_other():
    x, kernel, graph = given(4, 7, 6, 6)
    whole = chebyshev(x, kernel, graph)
    for group in range(7):
        alone = chebyshev(x[..., 6 * group : 6 * group + 6], kernel[:, group : group + 1], graph)
        torch.testing.assert_close(whole[..., 6 * group : 6 * group + 6], alone, rtol=1e-13, atol=1e-13)


def test_skies_of_a_batch_do_not_know_of_each_other(way):
    x, kernel, graph = given(4, 2, 3, 3, batch=3)
    whole = chebyshev(x, kernel, graph)
    for number in range(3):
        alone = chebyshev(x[number : number + 1], kernel, graph)
        torch.testing.assert_close(whole[number : number + 1], alone, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("number", [1, 5, 8, 15])
def test_a_turned_or_mirrored_sky_gives_a_turned_or_mirrored_result(number):
    pixels = SphereSymmetry(8, seed=0, layout=hp.nest2ring(8, np.arange(768))).table[number]
    x, kernel, graph = given(8, 1, 2, 3, order=9)
    turned = chebyshev(x[:, pixels], kernel, graph)
    # weights of pixels that see each other alike agree to single precision
    torch.testing.assert_close(turned, chebyshev(x, kernel, graph)[:, pixels], rtol=0, atol=2e-5)


def test_both_ways_to_compute_agree_in_single_precision(monkeypatch):
    x, kernel, graph = given(8, 2, 6, 6, order=9, dtype=torch.float32)
    by_table = chebyshev(x, kernel, graph)
    monkeypatch.setattr(products, "_has_table", lambda x: False)
    torch.testing.assert_close(chebyshev(x, kernel, graph), by_table, rtol=0, atol=2e-5)


def test_single_precision_is_double_precision_but_for_rounding():
    x, kernel, graph = given(8, 7, 6, 6, order=9)
    single = chebyshev(x.float(), kernel.float(), graph)
    torch.testing.assert_close(single.double(), chebyshev(x, kernel, graph), rtol=0, atol=5e-5)


def test_features_of_low_precision_are_brought_to_the_kernels():
    x, kernel, graph = given(2, 1, 3, 3, dtype=torch.float32)
    low = x.detach().bfloat16().requires_grad_()
    result = chebyshev(low, kernel, graph)
    assert result.dtype == torch.float32
    assert torch.equal(result, chebyshev(low.detach().float(), kernel, graph))
    result.sum().backward()
    assert low.grad.dtype == torch.bfloat16


def test_what_it_is_given_stays_as_it_was(way):
    x, kernel, graph = given(2, 2, 3, 3)
    before = x.detach().clone(), kernel.detach().clone()
    towards = drawn(2, 48, 6, seed=3)
    kept = towards.clone()
    chebyshev(x, kernel, graph).backward(towards)
    assert torch.equal(x, before[0])
    assert torch.equal(kernel, before[1])
    assert torch.equal(towards, kept)


def test_features_and_gradients_need_not_lie_one_behind_the_other():
    x, kernel, graph = given(2, 1, 3, 3)
    crossed = x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    towards = drawn(2, 3, 48, seed=3).transpose(1, 2)
    found, expected = (
        torch.autograd.grad(chebyshev(one, kernel, graph), one, towards)[0] for one in (crossed, x)
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("n_out", [6, 2])
def test_the_number_of_threads_changes_no_bit(n_out):
    x, kernel, graph = given(64, 1, 6, n_out, order=3, batch=1, dtype=torch.float32)
    towards = drawn(1, graph.npix, n_out, seed=3, dtype=torch.float32)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        try:
            y = chebyshev(x, kernel, graph)
            results.append((y, *torch.autograd.grad(y, (x, kernel), towards)))
        finally:
            torch.set_num_threads(1)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("shape", [(1, 48, 5), (1, 192, 6)])
def test_features_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match=r"features of shape .*: a graph of nside 2 and 2 groups of 3"):
        chebyshev(torch.zeros(shape), torch.zeros(4, 2, 3, 3), scaled_laplacian(2, "petroff"))
