"""Layers are the published ones; pooling and repeating are those of the sphere's tree of pixels."""

import healpy as hp
import numpy as np
import pytest
import torch

from cmbml.pipelines.petroff.dropout import ConcreteDropout
from cmbml.pipelines.petroff.layers import (
    POOLING,
    ChebyshevConvolution,
    Dropped,
    ScaleAndShift,
    pool_largest,
    pool_mean,
    repeat_pixels,
)
from tests.pipelines.petroff.published_weights import convolution_kernel


@pytest.fixture
def single(shared_file):
    with np.load(shared_file("reference/petroff/single_layers.npz")) as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive}


def test_a_convolution_is_the_published_one(single):
    layer = ChebyshevConvolution(4, 3, 6, order=9)
    with torch.no_grad():
        layer.weight.copy_(convolution_kernel(single["conv_kernel"], order=9))
        layer.bias.copy_(single["conv_bias"].ravel())
        found = layer(single["input_nested"])
    torch.testing.assert_close(found, single["conv_output"], rtol=0, atol=5e-5)


def test_pooling_and_repeating_are_the_published_ones(single):
    assert torch.equal(pool_largest(single["input_nested"]), single["maxpool4_output"])
    assert torch.equal(repeat_pixels(single["input_nested"]), single["upsample4_output"])


def test_pooling_by_the_mean_and_repeating_are_healpixs():
    maps = np.random.default_rng(1).normal(size=(3, 12 * 8**2))
    x = torch.from_numpy(maps.T.copy())[None]  # (1, npix, 3)
    for number, sky in enumerate(maps):
        lower = hp.ud_grade(sky, 4, order_in="NEST", order_out="NEST")
        higher = hp.ud_grade(sky, 16, order_in="NEST", order_out="NEST")
        np.testing.assert_allclose(pool_mean(x)[0, :, number], lower, rtol=1e-13, atol=1e-14)
        np.testing.assert_array_equal(repeat_pixels(x)[0, :, number], higher)


@pytest.mark.parametrize("pool", POOLING.values(), ids=POOLING)
def test_pooling_undoes_repeating(pool):
    x = torch.randn(2, 48, 5, dtype=torch.float64)
    torch.testing.assert_close(pool(repeat_pixels(x)), x, rtol=1e-15, atol=0)


def test_a_scale_and_shift_sums_over_groups_what_it_makes_of_each():
    layer = ScaleAndShift(3, 2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([1.0, -2.0, 0.5]))
        layer.bias.copy_(torch.tensor([0.1, 0.2, -0.7]))
    x = torch.randn(2, 12, 6, dtype=torch.float64)
    expected = sum(layer.bias[g] + layer.weight[g] * x[..., 2 * g : 2 * g + 2] for g in range(3))
    torch.testing.assert_close(layer(x), expected)
    assert layer.squares().tolist() == [1.0, 4.0, 0.25]


def test_convolutions_keep_the_variance_of_noise_within_a_factor():
    torch.manual_seed(1)
    layer = ChebyshevConvolution(8, 6, 64, order=9)
    with torch.no_grad():
        layer.bias.zero_()
        spread = layer(torch.randn(1, 768, 6)).std()
    assert 0.3 < float(spread) < 3


def test_a_convolution_without_bias_has_none():
    layer = ChebyshevConvolution(2, 2, 3, order=2, bias=False)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert not layer(torch.zeros(1, 48, 2)).any()


def test_its_bias_is_the_answer_to_nothing():
    layer = ChebyshevConvolution(2, 2, 3, order=2, groups=2)
    assert torch.equal(layer(torch.zeros(1, 48, 4)), layer.bias.expand(1, 48, 6))


def test_squares_are_those_of_each_group():
    layer = ChebyshevConvolution(1, 2, 3, order=4, groups=2)
    expected = [(layer.weight[:, g] ** 2).sum().item() for g in range(2)]
    assert layer.squares().tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("order", [0, -1])
def test_a_convolution_without_terms_is_refused(order):
    with pytest.raises(ValueError, match=f"order {order}: a Chebyshev convolution has at least one term"):
        ChebyshevConvolution(4, 1, 1, order=order)


def test_a_layer_without_dropout_has_only_its_kernel_to_hold_small():
    layer = ChebyshevConvolution(1, 2, 3, order=2)
    dropped = Dropped(layer, groups=1, initial=0)
    assert dropped.dropout is None
    x = torch.randn(1, 12, 2)
    assert torch.equal(dropped.train()(x), layer(x))
    assert dropped.regularisation(weight=0.5, dropout=3).item() == pytest.approx(
        0.5 * layer.squares().sum().item()
    )


def test_a_layer_with_dropout_sees_what_is_left():
    dropped = Dropped(ChebyshevConvolution(1, 2, 3, order=2, groups=2), groups=2, initial=0.3).train()
    assert isinstance(dropped.dropout, ConcreteDropout)
    x = torch.randn(1, 12, 4)
    torch.manual_seed(1)
    found = dropped(x)
    torch.manual_seed(1)
    assert torch.equal(found, dropped.layer(dropped.dropout(x)))
    assert not torch.equal(found, dropped.eval()(x))
