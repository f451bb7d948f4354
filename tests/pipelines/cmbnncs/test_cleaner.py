"""The correcting network can neither lose nor invent a CMB, whatever its weights are."""

import numpy as np
import pytest
import torch

from cmbml.learning.scaling import reference_gains
from cmbml.learning.transforms import Factor, MinMax, Standardise
from cmbml.pipelines.cmbnncs.cleaner import (
    CorrectingNetwork,
    correcting_network,
    published_network,
)
from cmbml.pipelines.cmbnncs.network import load_published_state, published_unet

FIELDS = {"I": (0, 0, 0), "IQU": (0, 1, 2, 0, 1, 2, 0)}
GAINS = {"I": [[2.0, 0.5]], "IQU": [[2.0, 0.5], [3.0, 0.0], [0.5, -1.0]]}
every_stokes = pytest.mark.parametrize("stokes", ["I", "IQU"])


def made(
    stokes: str, *, random: bool = True, compress: bool = True, batch_norm: bool = True
) -> CorrectingNetwork:
    """A network for planes of 16 x 12 pixels in double precision, with drawn weights if wanted."""
    torch.manual_seed(0)
    built = correcting_network(
        fields=FIELDS[stokes],
        depth=2,
        filters=4,
        max_filters=6,
        gains=GAINS[stokes],
        batch_norm=batch_norm,
        compress=compress,
    ).double()
    if random:
        with torch.no_grad():
            for parameter in built.parameters():
                parameter.normal_()
    return built.eval()


def planes(stokes: str, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, len(FIELDS[stokes]), 16, 12, generator=generator, dtype=torch.float64)


def gains(stokes: str) -> tuple[torch.Tensor, torch.Tensor]:
    columns = torch.tensor(GAINS[stokes], dtype=torch.float64)
    return columns[:, 0].reshape(1, -1, 1, 1), columns[:, 1].reshape(1, -1, 1, 1)


@every_stokes
def test_an_untrained_network_returns_the_reference(stokes):
    given = planes(stokes)
    gain, offset = gains(stokes)
    output = made(stokes, random=False)(given)
    torch.testing.assert_close(output, gain * given[:, : len(GAINS[stokes])] + offset, rtol=0, atol=1e-14)


@every_stokes
@pytest.mark.parametrize("training", [False, True])
def test_what_all_channels_have_in_common_goes_through_whatever_the_weights(stokes, training):
    """It is in the reference alone, as it cancels in every difference."""
    built, given = made(stokes).train(training), planes(stokes)
    common = torch.zeros_like(given)
    fields = len(GAINS[stokes])
    common[:, :fields] = 10 * planes(stokes, seed=5)[:, :fields]
    response = built(given + common) - built(given)
    torch.testing.assert_close(response, gains(stokes)[0] * common[:, :fields], rtol=0, atol=1e-10)
    assert built(given).std() > 1  # of these weights the correction is no small one


@every_stokes
def test_where_channels_do_not_differ_there_is_no_correction(stokes):
    given = planes(stokes)
    fields = len(GAINS[stokes])
    given[:, fields:, 5:9, 3] = 0
    gain, offset = gains(stokes)
    correction = made(stokes)(given) - gain * given[:, :fields] - offset
    assert (correction[:, :, 5:9, 3].abs() < 1e-12).all()
    assert correction.abs().max() > 0.1


def test_each_field_is_corrected_by_differences_of_its_own():
    given = planes("IQU")
    gain, offset = gains("IQU")
    for field in range(3):
        one = given.clone()
        one[:, [number for number in range(3, 7) if FIELDS["IQU"][number] != field]] = 0
        correction = made("IQU")(one) - gain * one[:, :3] - offset
        changed = [number for number in range(3) if correction[:, number].abs().max() > 1e-9]
        assert changed == [field]


def test_compressed_features_are_seen_through_asinh():
    given = planes("I")
    given[:, 1:] *= 100
    seen = given.clone()
    seen[:, 1:] = torch.asinh(given[:, 1:])
    one, other = made("I", compress=True), made("I", compress=False)
    one.selection, other.selection = (torch.tensor([[1.0, 0.0]], dtype=torch.float64) for _ in range(2))
    gain, offset = gains("I")
    weights = [
        (built(maps) - gain * maps[:, :1] - offset) / maps[:, 1:2]
        for built, maps in ((one, given), (other, seen))
    ]
    torch.testing.assert_close(*weights, rtol=1e-9, atol=1e-9)


def test_batches_are_normalised_only_if_wanted():
    kinds = [
        any(isinstance(part, torch.nn.BatchNorm2d) for part in made("I", batch_norm=chosen).modules())
        for chosen in (True, False)
    ]
    assert kinds == [True, False]


@pytest.mark.parametrize("fields", [(0,), (1, 0), (0, 1)])
def test_fields_without_a_reference_or_without_differences_are_refused(fields):
    one = {"depth": 1, "filters": 2, "max_filters": 2, "batch_norm": True, "compress": True}
    gains_of = [[1.0, 0.0]] * (1 if fields != (0, 1) else 2)
    with pytest.raises(
        ValueError, match=r"fields \[.*\]: the first [12] are those of the reference, \[0(, 1)?\]"
    ):
        correcting_network(fields=fields, gains=gains_of, **one)


def test_gains_turn_the_reference_into_the_scale_of_the_output():
    features = Standardise(centre=True, robust=False, middle=(3.0, 100.0), spread=(2.0, 50.0))
    target = MinMax(0.0, 1.0, smallest=(-10.0,), largest=(30.0,))
    # feature x: 3 + 2 x in uK, of which the target is (uK + 10) / 40
    assert np.allclose(
        reference_gains(features, target, n_features=2, n_outputs=1, group="cmbnncs_scaling"),
        [[2 / 40, 13 / 40]],
    )
    assert reference_gains(Factor(4.0), Factor(2.0), n_features=2, n_outputs=1, group="cmbnncs_scaling") == [
        [2.0, 0.0]
    ]


def test_a_scale_that_is_no_line_is_refused():
    class Cubic:
        def inverse(self, planes):
            return planes**3

    with pytest.raises(
        ValueError, match="cmbnncs_scaling: with inputs 'differences' features and target are scaled"
    ):
        reference_gains(Cubic(), Factor(1.0), n_features=2, n_outputs=1, group="cmbnncs_scaling")


@pytest.mark.parametrize(("name", "depth", "max_filters"), [("unet5_nside32_I", 5, 32)])
def test_the_published_network_is_the_published_one(shared_file, name, depth, max_filters):
    with np.load(shared_file(f"reference/cmbnncs/{name}.npz")) as archive:
        arrays = dict(archive)
    built = published_network(in_channels=4, out_channels=1, depth=depth, max_filters=max_filters)
    state = [torch.from_numpy(np.asarray(arrays[key])) for key in sorted(arrays) if key.startswith("state_")]
    load_published_state(built, state)
    with torch.inference_mode():
        output = built.eval()(torch.from_numpy(arrays["input"])).numpy()
    largest = np.abs(arrays["output_eval"]).max()
    np.testing.assert_allclose(output, arrays["output_eval"], rtol=0, atol=1e-5 * largest)


def test_the_published_network_grows_to_its_bottom():
    built = published_network(in_channels=4, out_channels=3, depth=3, max_filters=16)
    assert [step[0].out_channels for step in built.down] == [4, 8, 16]
    assert published_unet(5, in_channels=4, out_channels=1, max_filters=512).filters == (
        32,
        64,
        128,
        256,
        512,
    )


def test_the_correcting_network_doubles_up_to_its_bottom():
    built = made("I")
    assert [step[0].out_channels for step in built.unet.down] == [4, 6]
