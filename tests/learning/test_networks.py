import pytest
import torch
from torch import nn

from cmbml.learning.networks import NetworkSpec, load_weights
from tests.learning.small_trainings import SPEC, small_network


def test_a_network_is_built_by_name_and_arguments():
    made = NetworkSpec(SPEC.factory, {"width": 6}).build()
    assert made[0].out_channels == 6
    assert isinstance(
        NetworkSpec("torch.nn:Linear", {"in_features": 2, "out_features": 3}).build(), nn.Linear
    )


@pytest.mark.parametrize(
    ("factory", "arguments", "message"),
    [
        ("tests.learning.small_trainings:unet", {}, "not found .*has no attribute 'unet'"),
        ("tests.no_such_module:unet", {}, "not found .*No module named"),
        ("nothing", {}, "not found"),
        (
            "os:system",
            {"command": "true"},
            "'os:system': is neither a torch.nn.Module nor a function annotated",
        ),
        ("builtins:dict", {}, "is neither a torch.nn.Module"),
        (SPEC.factory, {"depth": 3}, "unexpected keyword argument 'depth'"),
    ],
)
def test_what_makes_no_network_is_refused(factory, arguments, message):
    with pytest.raises(ValueError, match=message):
        NetworkSpec(factory, arguments).build()


def test_weights_are_taken_over():
    one, other = small_network(), small_network()
    load_weights(one, other.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_weights_that_do_not_fit_are_told_by_name_and_shape():
    weights = small_network(width=5).state_dict()
    weights["extra"] = weights.pop("4.bias")
    with pytest.raises(ValueError) as refused:
        load_weights(small_network(), weights)
    text = str(refused.value)
    assert "weights do not fit the network: 4.bias is missing; extra is not in the network; " in text
    assert "0.weight has shape (5, 2, 3, 3), the network needs (4, 2, 3, 3)" in text
    assert "and 4 more" in text
