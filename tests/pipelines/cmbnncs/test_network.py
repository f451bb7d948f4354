"""The networks are those of the published code: shapes, outputs, losses, gradients."""

import json

import numpy as np
import pytest
import torch

from cmbml.pipelines.cmbnncs.network import (
    UNet,
    UNetDescription,
    fitting_depths,
    load_published_state,
    published_unet,
)

PUBLISHED = pytest.mark.parametrize(
    ("name", "depth", "max_filters"), [("unet5_nside32_I", 5, 32), ("unet8_plane256x256", 8, 128)]
)


@pytest.fixture
def reference(shared_file):
    """Return a function that loads a reference network and its numbers."""

    def load(name: str, depth: int, max_filters: int, dtype=torch.float64):
        about = json.loads(shared_file(f"reference/cmbnncs/{name}.json").read_text())
        with np.load(shared_file(f"reference/cmbnncs/{name}.npz")) as archive:
            arrays = dict(archive)
        description = published_unet(
            depth,
            in_channels=about["in_channels"],
            out_channels=about["out_channels"],
            max_filters=max_filters,
        )
        network = UNet(description)
        keys = sorted(key for key in arrays if key.startswith("state_"))
        load_published_state(network, [torch.from_numpy(np.asarray(arrays[key])) for key in keys])
        return network.to(dtype), arrays, about

    return load


@PUBLISHED
def test_it_has_the_published_description(reference, name, depth, max_filters):
    _, _, about = reference(name, depth, max_filters)
    made = published_unet(depth, in_channels=1, out_channels=1, max_filters=max_filters)
    assert list(made.filters) == about["channels"]
    assert [*made.down_kernels, *made.up_kernels] == about["kernels"]


@PUBLISHED
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_gives_the_published_outputs_losses_and_gradients(reference, name, depth, max_filters, dtype):
    network, arrays, _ = reference(name, depth, max_filters, dtype)
    planes, target = (torch.from_numpy(arrays[key]).to(dtype) for key in ("input", "target"))
    network.eval()
    with torch.no_grad():
        output = network(planes)
    single = dtype == torch.float32
    accuracy = 1e-5 * np.abs(arrays["output_eval"]).max() if single else 5e-7
    np.testing.assert_allclose(output.numpy(), arrays["output_eval"], rtol=0, atol=accuracy)
    loss = torch.nn.functional.l1_loss(output, target)
    assert loss.item() == pytest.approx(float(arrays["loss_l1_eval"]), rel=1e-6)
    network.train()
    output = network(planes)
    np.testing.assert_allclose(output.detach().numpy(), arrays["output_train"], rtol=0, atol=accuracy)
    loss = torch.nn.functional.l1_loss(output, target)
    assert loss.item() == pytest.approx(float(arrays["loss_l1_train"]), rel=1e-6)
    loss.backward()
    norms = np.array([parameter.grad.norm().item() for parameter in network.parameters()])
    expected = arrays["grad_norms"]
    # biases before a batch norm have no gradient but for rounding
    counted = expected > 1e-6 * expected.max()
    np.testing.assert_allclose(norms[counted], expected[counted], rtol=1e-3 if single else 1e-5)
    assert (norms[~counted] < 1e-5 * expected.max()).all()


@PUBLISHED
def test_adam_takes_the_published_steps(reference, name, depth, max_filters):
    network, arrays, _ = reference(name, depth, max_filters)
    planes, target = (torch.from_numpy(arrays[key]).double() for key in ("input", "target"))
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
    network.train()
    losses = []
    for _ in range(6):
        optimiser.zero_grad()
        loss = torch.nn.functional.l1_loss(network(planes), target)
        losses.append(loss.item())
        loss.backward()
        optimiser.step()
    np.testing.assert_allclose(losses, arrays["adam_lr1e-3_losses_before_each_of_6_steps"], rtol=1e-6)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_any_depth_gives_back_the_size(depth):
    network = UNet(published_unet(depth, in_channels=4, out_channels=3, max_filters=8))
    assert network(torch.zeros(2, 4, 64, 48)).shape == (2, 3, 64, 48)


def test_the_depths_that_a_plane_allows():
    assert fitting_depths(4 * 32, 3 * 32) == (1, 2, 3, 4, 5)
    assert fitting_depths(4 * 256, 3 * 256) == tuple(range(1, 9))
    assert fitting_depths(4, 3) == ()


def test_a_network_too_deep_for_the_plane_is_refused_with_the_depths_that_fit():
    network = UNet(published_unet(5, in_channels=1, out_channels=1, max_filters=16))
    with pytest.raises(
        ValueError, match="depth 5 does not fit a plane of 64 x 48 pixels; depths that fit: 1, 2, 3, 4$"
    ):
        network(torch.zeros(1, 1, 64, 48))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"up_kernels": (4,)}, "needs 2 kernels down and up; got 2 and 1"),
        ({"down_kernels": (4, 3)}, r"kernels \[3\]: a step halves or doubles"),
        ({"activation": "gelu"}, "activation 'gelu': must be one of prelu, relu, none"),
    ],
)
def test_descriptions_that_cannot_be_built_are_refused(changed, message):
    valid = {
        "in_channels": 1,
        "out_channels": 1,
        "filters": (2, 4),
        "down_kernels": (4, 4),
        "up_kernels": (4, 2),
    }
    UNet(UNetDescription(**valid))
    with pytest.raises(ValueError, match=message):
        UNetDescription(**valid | changed)


def test_filters_that_cannot_be_halved_are_refused():
    with pytest.raises(ValueError, match="max_filters 24: must be a multiple of 16"):
        published_unet(5, in_channels=1, out_channels=1, max_filters=24)
    with pytest.raises(ValueError, match="depth 0: a U-Net has at least one step"):
        published_unet(0, in_channels=1, out_channels=1, max_filters=8)


def test_a_state_of_another_network_is_refused():
    network = UNet(published_unet(2, in_channels=1, out_channels=1, max_filters=4))
    other = UNet(published_unet(2, in_channels=2, out_channels=1, max_filters=4))
    with pytest.raises(ValueError, match="shapes first differ at down.0.0.weight"):
        load_published_state(network, list(other.state_dict().values()))
