"""The correcting network can neither lose nor invent a CMB, whatever its weights are."""

import pytest
import torch
from torch.nn import functional

from cmbml.pipelines.petroff.cleaner import CorrectingNetwork, PetroffNetwork

NSIDE, CHANNELS = 4, 4
NPIX = 12 * NSIDE**2
GAIN, OFFSET = 2.0, 0.5
SHAPE = {
    "channels": CHANNELS,
    "nside": NSIDE,
    "depth": 2,
    "filters": 3,
    "order": 3,
    "initial_dropout": 0.2,
    "weight_strength": 0.3,
    "dropout_strength": 0.7,
    "pooling": "max",
    "recompute": False,
}


def made(
    *, random: bool = True, compress: bool = True, uncertain: bool = True, **changes
) -> CorrectingNetwork:
    """A network in double precision, with drawn weights if wanted."""
    torch.manual_seed(0)
    given = {**SHAPE, "gains": [GAIN, OFFSET], "compress": compress, "uncertain": uncertain, **changes}
    built = CorrectingNetwork(**given).double()
    if random:
        with torch.no_grad():
            built.common.normal_()
            built.sphere.last.layer.weight.normal_()
            built.sphere.last.layer.bias.normal_()
    return built.eval()


def features(seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, CHANNELS, NPIX, generator=generator, dtype=torch.float64)


def output(built: torch.nn.Module, given: torch.Tensor) -> torch.Tensor:
    """Return the output with the same features dropped every time."""
    torch.manual_seed(4)
    return built(given)


def test_an_untrained_network_returns_the_reference_with_a_variance_of_one():
    given = features()
    mean, log_variance = output(made(random=False), given).unbind(1)
    torch.testing.assert_close(mean, GAIN * given[:, 0] + OFFSET, rtol=0, atol=1e-14)
    assert (log_variance == 0).all()


@pytest.mark.parametrize("training", [False, True])
def test_what_all_channels_have_in_common_goes_through_whatever_the_weights(training):
    """It is in the reference alone, as it cancels in every difference."""
    built, given = made().train(training), features()
    common = torch.zeros_like(given)
    common[:, 0] = 10 * features(5)[:, 0]
    response = output(built, given + common) - output(built, given)
    torch.testing.assert_close(response[:, 0], GAIN * common[:, 0], rtol=0, atol=1e-10)
    assert (response[:, 1] == 0).all()  # nor does the error know the CMB
    assert output(built, given)[:, 0].std() > 1.1 * GAIN * given[:, 0].std()  # the correction is no small one


def test_where_channels_do_not_differ_there_is_no_correction():
    given = features()
    given[:, 1:, 20:30] = 0
    correction = output(made(), given)[:, 0] - GAIN * given[:, 0] - OFFSET
    assert (correction[:, 20:30].abs() < 1e-12).all()
    assert correction.abs().max() > 0.1


def test_weights_that_are_the_same_everywhere_are_learnt_apart_from_the_layers():
    built, given = made(random=False), features()
    with torch.no_grad():
        built.common[:, 0] = torch.tensor([1.0, -2.0, 0.5])
    expected = GAIN * given[:, 0] + OFFSET + given[:, 1] - 2 * given[:, 2] + 0.5 * given[:, 3]
    torch.testing.assert_close(output(built, given)[:, 0], expected, rtol=0, atol=1e-12)


def test_compressed_features_are_seen_through_asinh_and_weighted_as_they_are():
    given = features()
    given[:, 1:] *= 100
    seen = given.clone()
    seen[:, 1:] = torch.asinh(given[:, 1:])
    compressed, plain = made(compress=True), made(compress=False)
    weights = compressed.sphere(seen[:, 1:])[:, :-1] + compressed.common
    expected = GAIN * given[:, 0] + OFFSET + (weights * given[:, 1:]).sum(1)
    torch.testing.assert_close(output(compressed, given)[:, 0], expected, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(output(compressed, given)[:, 1], output(plain, seen)[:, 1], rtol=0, atol=0)


@pytest.mark.parametrize("uncertain", [True, False])
def test_the_error_is_an_output_of_its_own_only_if_wanted(uncertain):
    assert output(made(uncertain=uncertain), features()).shape == (2, 2 if uncertain else 1, NPIX)


def test_features_without_a_difference_are_refused():
    with pytest.raises(ValueError, match="1 features: a reference and at least one difference from it"):
        made(channels=1)


def published(**changes) -> PetroffNetwork:
    torch.manual_seed(0)
    return PetroffNetwork(**{**SHAPE, "output": "linear", "uncertain": True, **changes}).double().eval()


def test_the_published_network_gives_minus_the_log_of_the_variance():
    built, given = published(), features()
    raw = built.sphere(given)
    torch.testing.assert_close(
        output(built, given), torch.stack([raw[:, 0], -raw[:, 1]], dim=1), rtol=0, atol=0
    )


@pytest.mark.parametrize("uncertain", [True, False])
def test_an_output_through_elu_is_elu_of_the_last_convolution(uncertain):
    built, given = published(output="elu", uncertain=uncertain), features()
    expected = functional.elu(built.sphere(given))
    torch.testing.assert_close(output(built, given)[:, 0], expected[:, 0], rtol=0, atol=0)
    assert output(built, given).shape[1] == (2 if uncertain else 1)


@pytest.mark.parametrize("network", [made, published])
def test_regularisation_is_of_the_strengths_that_are_given(network):
    parts = []
    for weight, dropout in ((1.0, 0.0), (0.0, 1.0), (0.3, 0.7)):
        torch.manual_seed(0)
        parts.append(network(weight_strength=weight, dropout_strength=dropout).regularisation())
    squares, entropy, both = parts
    assert squares > 0 > entropy
    torch.testing.assert_close(both, 0.3 * squares + 0.7 * entropy)


@pytest.mark.parametrize("network", [made, published])
def test_a_convolution_without_terms_is_refused(network):
    with pytest.raises(ValueError, match="order 0: a Chebyshev convolution has at least one term"):
        network(order=0)
