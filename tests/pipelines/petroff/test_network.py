"""The network is the published one, with any depth, and the same in every symmetry of the sphere."""

import copy
import json

import healpy as hp
import numpy as np
import pytest
import torch

from cmbml.learning.losses import sky_losses
from cmbml.learning.networks import NetworkSpec, load_weights
from cmbml.learning.symmetry import SphereSymmetry
from cmbml.pipelines.petroff import dropout
from cmbml.pipelines.petroff.cleaner import PetroffNetwork
from cmbml.pipelines.petroff.dropout import count_on
from cmbml.pipelines.petroff.layers import Dropped
from cmbml.pipelines.petroff.resolutions import check_depth
from tests.learning.small_trainings import settings
from tests.pipelines.petroff.published_weights import fill

SMALL = {
    "channels": 3,
    "nside": 4,
    "depth": 2,
    "filters": 2,
    "order": 3,
    "initial_dropout": 0.1,
    "weight_strength": 1e-3,
    "dropout_strength": 1e-2,
    "pooling": "max",
    "output": "linear",
    "uncertain": True,
    "recompute": False,
}


def small(seed: int = 1, **changes) -> PetroffNetwork:
    torch.manual_seed(seed)
    return PetroffNetwork(**{**SMALL, **changes})


def skies(nside: int = 4, channels: int = 3, batch: int = 2, dtype=torch.float32) -> torch.Tensor:
    return torch.randn(
        batch, channels, 12 * nside**2, generator=torch.Generator().manual_seed(7), dtype=dtype
    )


@pytest.fixture(params=[8, 16])
def published(request, shared_file):
    """Return a network with the weights of a stored one, and what is stored of it."""
    nside = request.param
    about = json.loads(shared_file(f"reference/petroff/scnn_nside{nside}.json").read_text())
    with np.load(shared_file(f"reference/petroff/scnn_nside{nside}.npz")) as archive:
        arrays = dict(archive)
    network = small(
        channels=about["input_channels"],
        nside=nside,
        depth=nside.bit_length() - 1,
        filters=about["filter_maps"],
        order=about["poly_order"],
        weight_strength=about["weight_regularizer"],
        dropout_strength=about["dropout_regularizer"],
    )
    fill(network, arrays, about["variables"])
    return network.eval(), arrays


def published_output(network: PetroffNetwork, arrays) -> np.ndarray:
    """Return (batch, npix, 2) with minus the log of the variance, as the published code gives it."""
    with torch.no_grad():
        output = network(torch.from_numpy(arrays["input_nested"])).numpy()
    return np.stack([output[:, 0], -output[:, 1]], axis=-1)


def test_it_gives_the_published_outputs(published):
    network, arrays = published
    np.testing.assert_allclose(published_output(network, arrays), arrays["output"], rtol=0, atol=5e-5)


def test_it_gives_the_published_outputs_under_dropout(published, monkeypatch):
    network, arrays = published
    u = float(arrays["u"])
    monkeypatch.setattr(dropout, "uniform_numbers", lambda x, **_: torch.full_like(x, u))
    found = published_output(count_on(network), arrays)
    np.testing.assert_allclose(found, arrays["output_with_dropout_noise_constant_u"], rtol=0, atol=5e-5)


def test_it_gives_the_published_losses(published):
    network, arrays = published
    label = torch.from_numpy(arrays["label_nested"]).unsqueeze(1)
    with torch.no_grad():
        output = network(torch.from_numpy(arrays["input_nested"]))
    losses = sky_losses(output, label, torch.ones(1, 1, 1), settings=settings(loss="gaussian"))
    np.testing.assert_allclose(losses, arrays["loss_per_example"], rtol=1e-5)


def test_it_gives_the_published_regularisation(published):
    network, arrays = published
    assert network.regularisation().item() == pytest.approx(float(arrays["regularisation_sum"]), rel=1e-6)


def test_it_has_the_layers_of_the_published_weights(shared_file):
    about = json.loads(shared_file("reference/petroff/published_weights_dm7.json").read_text())
    network = small(channels=7, nside=512, depth=9, filters=6, order=9)
    layers = [module for module in network.modules() if isinstance(module, Dropped)]
    stored = {entry["layer"] for entry in about["variables"]}
    assert sum(len(layer.dropout.p_logit) for layer in layers) == len(stored) == 229


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("number", [1, 2, 6, 9])
def test_a_turned_or_mirrored_sky_gives_a_turned_or_mirrored_result(number, recompute):
    pixels = SphereSymmetry(8, seed=0, layout=hp.nest2ring(8, np.arange(768))).table[number]
    network = small(nside=8, depth=3, recompute=recompute).double().eval()
    maps = skies(8, dtype=torch.float64)
    with torch.no_grad():
        turned, straight = network(maps[..., pixels]), network(maps)
    # weights of pixels that see each other alike agree to single precision
    torch.testing.assert_close(turned, straight[..., pixels], rtol=0, atol=1e-5)
    assert float((turned - straight).abs().max()) > 0.01


@pytest.mark.parametrize(("depth", "pooling"), [(0, "max"), (1, "mean"), (2, "max")])
@pytest.mark.parametrize(("uncertain", "outputs"), [(True, 2), (False, 1)])
def test_its_shape_is_what_it_promises_and_every_weight_learns(depth, pooling, uncertain, outputs):
    network = small(depth=depth, pooling=pooling, uncertain=uncertain).train()
    torch.manual_seed(3)
    output = network(skies())
    assert output.shape == (2, outputs, 192)
    (output.square().mean() + network.regularisation()).backward()
    for name, weight in network.named_parameters():
        assert weight.grad.isfinite().all(), name
        assert weight.grad.abs().max() > 0, name


def test_an_output_through_elu_is_never_below_minus_one():
    linear, bent = (small(output=output, uncertain=False).eval() for output in ("linear", "elu"))
    maps = 50 * skies()
    with torch.no_grad():
        straight, curved = linear(maps), bent(maps)
    assert float(straight.min()) < -1
    torch.testing.assert_close(curved, torch.nn.functional.elu(straight))


def test_channels_have_encoders_of_their_own():
    network = small().eval()
    maps = skies()
    with torch.no_grad():
        network.sphere.skips[0].layer.weight[1] = network.sphere.skips[1].layer.weight[
            1
        ] = network.sphere.skips[2].layer.weight[1] = 0
        changed = maps.clone()
        changed[:, 1] += 1
        assert torch.equal(network(maps), network(changed))
        changed[:, 2] += 1
        assert not torch.equal(network(maps), network(changed))


def test_recomputing_changes_neither_output_nor_gradients():
    results = []
    for recompute in (False, True):
        network = small(recompute=recompute).train()
        torch.manual_seed(3)
        maps = skies().requires_grad_()
        output = network(maps)
        (output.square().mean() + network.regularisation()).backward()
        results.append([output, maps.grad, *(weight.grad for weight in network.parameters())])
    for kept, again in zip(*results, strict=True):
        assert torch.equal(kept, again)


def test_regularisation_is_the_sum_over_layers_by_the_formula():
    network = small()
    expected = 0.0
    for layer in (module for module in network.modules() if isinstance(module, Dropped)):
        for p, square in zip(layer.dropout.probability, layer.layer.squares(), strict=True):
            entropy = p * p.log() + (1 - p) * (1 - p).log()
            expected += (1e-3 * square / (1 - p) + 1e-2 * layer.layer.features * entropy).item()
    assert network.regularisation().item() == pytest.approx(expected, rel=1e-5)


def test_without_dropout_training_and_use_agree():
    network = small(initial_dropout=0)
    maps = skies()
    with torch.no_grad():
        assert torch.equal(network.train()(maps), network.eval()(maps))
    assert not any("p_logit" in name for name in network.state_dict())


def test_a_plain_description_and_weights_make_it_again():
    network = small(5).eval()
    spec = NetworkSpec("cmbml.pipelines.petroff.cleaner:PetroffNetwork", SMALL)
    again = spec.build().eval()
    load_weights(again, network.state_dict())
    twin = copy.deepcopy(network)
    maps = skies()
    with torch.no_grad():
        expected = network(maps)
        assert torch.equal(again(maps), expected)
        assert torch.equal(twin(maps), expected)


def test_weights_of_another_depth_are_refused_and_named():
    with pytest.raises(ValueError, match=r"weights do not fit the network: .*sphere\.down\.2\.0"):
        load_weights(small(depth=1), small(depth=2).state_dict())


def test_double_precision_is_single_precision_but_for_rounding():
    network = small().eval()
    maps = skies()
    with torch.no_grad():
        single = network(maps)
        double = network.double()(maps.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=0, atol=1e-5)


@pytest.mark.parametrize("depth", [-1, 3])
def test_a_depth_that_does_not_fit_is_refused(depth):
    with pytest.raises(ValueError, match=f"depth {depth}: a sphere of nside 4 can be coarsened 2 times"):
        check_depth(4, depth)
    with pytest.raises(ValueError, match=f"depth {depth}: "):
        small(depth=depth)


def test_a_resolution_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="nside 6: must be a power of two"):
        small(nside=6)
