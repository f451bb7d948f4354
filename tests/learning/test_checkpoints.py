import numpy as np
import pytest
import torch

from cmbml.learning.checkpoints import (
    build_network,
    check_checkpoint,
    check_is_checkpoint,
    fixed_checkpoint,
    history_rows,
    keep_fixed,
)
from tests.learning.small_trainings import FACTS, SPEC, Skies, checkpoint, small_training


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict:
    directory = tmp_path_factory.mktemp("training")
    small_training(directory)
    return checkpoint(directory)


def test_the_network_of_a_checkpoint_is_the_trained_one_for_use(trained):
    network = build_network(trained)
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    by_hand = SPEC.build().eval()
    by_hand.load_state_dict(trained["weights"])
    features = torch.from_numpy(Skies(2).features)
    assert torch.equal(network(features), by_hand(features))


def test_building_a_network_leaves_the_random_state_alone(trained):
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    build_network(trained)
    assert torch.equal(torch.rand(2), expected)


def test_a_checkpoint_fits_what_it_was_trained_on(trained):
    check_checkpoint(trained, FACTS)
    check_checkpoint(trained, {"channels": ("100", "143")})


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (
            {"channels": ["143", "100"]},
            r"channels: trained with \['100', '143'\], asked for .* \(in another order\)",
        ),
        ({"channels": ["100", "217"]}, r"channels: .*\(143 missing; 217 unknown to it\)"),
        ({"channels": ["100"]}, r"channels: .* \(143 missing\)"),
        (
            {"nside": 4, "stokes": "IQU"},
            "stokes: trained with I, asked for IQU; nside: trained with 2, asked for 4",
        ),
        ({"fwhm_arcmin": 40.0}, "fwhm_arcmin: trained with 60.0, asked for 40.0"),
        ({"mask": "full"}, "mask: trained with None, asked for full"),
    ],
)
def test_a_checkpoint_that_does_not_fit_says_how(trained, facts, message):
    with pytest.raises(
        ValueError, match=f"the checkpoint does not fit: {message}.*; use what it was trained on"
    ):
        check_checkpoint(trained, {**FACTS, **facts})


def test_a_checkpoint_of_another_layout_is_refused(trained):
    with pytest.raises(ValueError, match=r"checkpoint of format 7 \(cmbml .*\); this version reads format 1"):
        check_is_checkpoint({**trained, "format": 7})
    with pytest.raises(ValueError, match="this is no checkpoint of a training: it lacks weights, optimiser"):
        check_is_checkpoint(
            {key: value for key, value in trained.items() if key not in ("weights", "optimiser")}
        )


def test_weights_of_another_network_are_told(trained):
    other = {**trained, "network": {"factory": SPEC.factory, "arguments": {"width": 5}}}
    with pytest.raises(
        ValueError, match=r"0.weight has shape \(4, 2, 3, 3\), the network needs \(5, 2, 3, 3\)"
    ):
        build_network(other)


def test_the_history_is_a_table_of_epochs(trained):
    rows = history_rows(trained)
    assert [list(row) for row in rows] == [["epoch", "step", "train_loss", "valid_loss", "lr", "seconds"]] * 4
    assert np.isfinite([list(row.values()) for row in rows]).all()


def test_a_network_from_elsewhere_is_kept_as_a_complete_training(trained, tmp_path):
    fixed = fixed_checkpoint(SPEC, trained["weights"], facts=FACTS)
    keep_fixed(fixed, tmp_path)
    check_checkpoint(checkpoint(tmp_path), FACTS)
    assert checkpoint(tmp_path)["stopped"] == "epochs"
    features = torch.from_numpy(Skies(2).features)
    kept, original = (build_network(one)(features) for one in (checkpoint(tmp_path, "best"), trained))
    assert torch.equal(kept, original)


def test_weights_from_elsewhere_must_fit_their_network(trained):
    with pytest.raises(ValueError, match="weights do not fit the network: .* is missing"):
        fixed_checkpoint(SPEC, {}, facts=FACTS)
