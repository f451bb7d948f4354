import re
from pathlib import Path
from typing import Any

import healpy as hp
import numpy as np
import pytest
import torch
from kedro.io import DatasetError

from cmbml.datasets import (
    Hdf5ObservationsDataset,
    HealpixMapDataset,
    ObservationsDataset,
    ParallelPartitionedDataset,
)
from cmbml.learning import SkyDataset
from cmbml.learning.transforms import Factor, Standardise
from cmbml.partitions import lift
from cmbml.science.instrument import Channel, Instrument, Observations
from cmbml.science.planes import map_to_plane
from cmbml.science.skymap import SkyMap
from tests.kedro_runs import ROOT
from tests.released_dataset import write_released_dataset

NSIDE = 8
NPIX = 12 * NSIDE**2
CHANNELS = ("100", "143", "545")


def observed(number: int) -> Observations:
    rng = np.random.default_rng(number)
    maps = {
        name: rng.standard_normal((1 if name == "545" else 3, NPIX)).astype(np.float32) for name in CHANNELS
    }
    return Observations(maps, dict.fromkeys(maps, "uK_CMB"))


def true_cmb(number: int) -> SkyMap:
    return SkyMap(np.random.default_rng(100 + number).standard_normal((3, NPIX)).astype(np.float32), "uK_CMB")


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    """Data folder of a simulation with two training skies, as files lie there."""
    folder = tmp_path_factory.mktemp("ours")
    for number in range(2):
        ObservationsDataset(filepath=folder / f"03_primary/observations/train/sim{number:04d}").save(
            observed(number)
        )
        HealpixMapDataset(filepath=folder / f"03_primary/cmb/train/sim{number:04d}.fits").save(
            true_cmb(number)
        )
    return folder


@pytest.fixture(scope="module")
def in_hdf5(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hdf5")
    for number in range(2):
        Hdf5ObservationsDataset(
            filepath=folder / f"03_primary/observations_hdf5/train/sim{number:04d}.h5"
        ).save(observed(number))
        HealpixMapDataset(filepath=folder / f"03_primary/cmb/train/sim{number:04d}.fits").save(
            true_cmb(number)
        )
    return folder


@pytest.fixture(params=["fits", "hdf5"])
def folder(request, ours, in_hdf5) -> Path:
    return {"fits": ours, "hdf5": in_hdf5}[request.param]


# ---- Our own folders ----------------------------------------------------------------------


def test_items_are_intensities_and_the_true_cmb(folder):
    skies = SkyDataset(folder, "train", ["100", "545"])
    assert (len(skies), skies.ids, skies.names) == (2, ("sim0000", "sim0001"), ("100 I", "545 I"))
    features, target = skies[1]
    maps = observed(1).maps
    assert features.dtype == target.dtype == torch.float32
    np.testing.assert_array_equal(features, [maps["100"][0], maps["545"][0]])
    np.testing.assert_array_equal(target, true_cmb(1).values[:1])


def test_with_polarisation_features_are_all_fields_there_are(folder):
    skies = SkyDataset(folder, "train", "all", stokes="IQU")
    assert skies.names == ("100 I", "100 Q", "100 U", "143 I", "143 Q", "143 U", "545 I")
    features, target = skies[0]
    np.testing.assert_array_equal(features, np.concatenate(list(observed(0).maps.values())))
    np.testing.assert_array_equal(target, true_cmb(0).values)


def test_planes_are_the_maps_rearranged(ours):
    on_plane, on_sphere = (
        SkyDataset(ours, "train", "100-143", layout=layout)[0] for layout in ("plane", "sphere")
    )
    assert on_plane[0].shape == (2, 4 * NSIDE, 3 * NSIDE)
    for plane, sphere in zip(on_plane, on_sphere, strict=True):
        np.testing.assert_array_equal(plane, map_to_plane(sphere))


def test_channels_come_in_order_of_frequency_however_they_are_listed(ours):
    assert SkyDataset(ours, "train", [545, 100]).names == ("100 I", "545 I")


def test_a_transform_fitted_to_the_training_skies_is_applied(ours):
    train = SkyDataset(ours, "train", ["100", "143"])
    scaling = Standardise(centre=True, robust=False).fit(train.pairs.features, names=train.names)
    scaled = SkyDataset(
        ours, "train", ["100", "143"], feature_transform=scaling, target_transform=Factor(5.0)
    )
    features = torch.stack([features for features, _ in scaled])
    np.testing.assert_allclose(features.mean(dim=(0, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(scaled[0][1] * 5, train[0][1], rtol=1e-6)


@pytest.mark.parametrize("layout", ["sphere", "plane"])
def test_symmetries_turn_all_fields_alike(ours, layout):
    turned = SkyDataset(ours, "train", "100-143", stokes="IQU", layout=layout, symmetry_seed=4)
    plain = SkyDataset(ours, "train", "100-143", stokes="IQU", layout=layout)
    turned.set_epoch(2)
    symmetry = turned.pairs._symmetry
    number = symmetry.draw(2, "sim0000")
    assert (symmetry.feature_flips, symmetry.target_flips) == ((2, 5), (2,))
    for shown, as_it_is, flips in zip(turned[0], plain[0], ((2, 5), (2,)), strict=True):
        np.testing.assert_array_equal(shown, symmetry.apply(as_it_is.numpy(), number, flips=flips))


def test_nothing_is_read_but_headers_before_an_item_is_asked_for(folder, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("a map was read")

    monkeypatch.setattr("cmbml.datasets.observations.decode_map", refuse)
    monkeypatch.setattr("cmbml.datasets.hdf5_observations._read_channel", refuse)
    monkeypatch.setattr("cmbml.datasets.healpix_map.decode_map", refuse)
    skies = SkyDataset(folder, "train", "all", stokes="IQU")
    with pytest.raises(DatasetError, match="a map was read"):
        skies[0]


def test_channels_that_are_not_asked_for_are_not_read(ours, tmp_path):
    copied = tmp_path / "03_primary"
    for number in range(2):
        place = copied / f"observations/train/sim{number:04d}"
        place.mkdir(parents=True)
        for name in CHANNELS:
            source = ours / f"03_primary/observations/train/sim{number:04d}/obs_{name}_map.fits"
            damaged = name == "545" and number == 1
            (place / source.name).write_bytes(b"damaged" if damaged else source.read_bytes())
    (copied / "cmb").symlink_to(ours / "03_primary/cmb")
    assert SkyDataset(tmp_path, "train", ["100"])[1][0].shape == (1, NPIX)
    with pytest.raises(DatasetError, match="obs_545_map.fits"):
        SkyDataset(tmp_path, "train", ["545"])[1]


# ---- Released folders -----------------------------------------------------------------------

INSTRUMENT = Instrument(
    (Channel("30", 28.4, 33.3, "IQU"), Channel("143", 142.9, 7.3, "IQU"), Channel("857", 857.0, 4.6, "I"))
)


@pytest.mark.parametrize("name", ["Simulation", "Simulations"])
@pytest.mark.parametrize("truth", ["cmb_map_fid.fits", "cmb_map.fits"])
@pytest.mark.parametrize("fields", [1, 3])
def test_a_released_dataset_is_read_as_it_was_published(name, truth, fields, tmp_path):
    write_released_dataset(
        tmp_path,
        INSTRUMENT,
        nside=4,
        simulations={"train": 2, "valid": 1, "test": 1},
        fields=fields,
        folder=name,
        truth=truth,
    )
    stokes = "IQU" if fields == 3 else "I"
    for split, count in {"train": 2, "valid": 1, "test": 1}.items():
        skies = SkyDataset(tmp_path, split, "all", stokes=stokes)
        assert len(skies) == count
        features, target = skies[count - 1]
        place = tmp_path / name / split.capitalize() / f"sim{count - 1:04d}"
        columns = range(fields)
        for row, feature in zip(features, skies.names, strict=True):
            channel, field = feature.split()
            expected = hp.read_map(place / f"obs_{channel}_map.fits", field="IQU".index(field))
            np.testing.assert_array_equal(row, expected.astype(np.float32))
        np.testing.assert_array_equal(target, np.atleast_2d(hp.read_map(place / truth, field=list(columns))))


# ---- What is refused ------------------------------------------------------------------------


def test_another_word_than_a_split_is_refused(ours):
    with pytest.raises(ValueError, match="split 'Train': must be one of train, valid, test"):
        SkyDataset(ours, "Train", ["100"])


def test_a_split_that_is_not_there_is_named_with_the_places_looked_at(ours):
    with pytest.raises(
        ValueError,
        match=r"no split valid; there is no folder .*03_primary/observations/valid.*Simulation/Valid",
    ):
        SkyDataset(ours, "valid", ["100"])


def test_a_split_without_skies_is_refused(tmp_path):
    (tmp_path / "03_primary/observations/test").mkdir(parents=True)
    with pytest.raises(ValueError, match="observations/test: split test has no sky"):
        SkyDataset(tmp_path, "test", ["100"])


def test_a_missing_channel_is_named_with_those_there(folder):
    with pytest.raises(ValueError, match=r"353 is not in .* which has 100, 143, 545"):
        SkyDataset(folder, "train", ["100", "353"])


def test_a_channel_missing_in_one_sky_is_named_when_it_is_read(ours, tmp_path):
    for name in ("observations/train/sim0000", "observations/train/sim0001"):
        place = tmp_path / "03_primary" / name
        place.mkdir(parents=True)
        for file in (ours / "03_primary" / name).glob("*.fits"):
            if file.name != "obs_143_map.fits" or name.endswith("0000"):
                (place / file.name).symlink_to(file)
    (tmp_path / "03_primary/cmb").symlink_to(ours / "03_primary/cmb")
    skies = SkyDataset(tmp_path, "train", "100-143")
    skies[0]
    with pytest.raises(DatasetError, match="sim0001: no map of channel 143"):
        skies[1]


def test_a_truth_of_other_skies_is_refused(ours, tmp_path):
    (tmp_path / "03_primary").mkdir()
    (tmp_path / "03_primary/observations").symlink_to(ours / "03_primary/observations")
    HealpixMapDataset(filepath=tmp_path / "03_primary/cmb/train/sim0000.fits").save(true_cmb(0))
    with pytest.raises(ValueError, match="not of the same skies; only one of them has sim0001"):
        SkyDataset(tmp_path, "train", ["100"])


def test_polarisation_that_the_truth_lacks_is_refused(ours, tmp_path):
    (tmp_path / "03_primary").mkdir()
    (tmp_path / "03_primary/observations").symlink_to(ours / "03_primary/observations")
    for number in range(2):
        intensity = SkyMap(true_cmb(number).values[:1], "uK_CMB")
        HealpixMapDataset(filepath=tmp_path / f"03_primary/cmb/train/sim{number:04d}.fits").save(intensity)
    assert SkyDataset(tmp_path, "train", ["100"])[0][1].shape == (1, NPIX)
    with pytest.raises((ValueError, DatasetError), match=r"no field 'Q'|holds I, not IQU"):
        SkyDataset(tmp_path, "train", ["100"], stokes="IQU")[0]


@pytest.mark.parametrize(
    "option, message",
    [({"stokes": "QU"}, "stokes 'QU': must be I or IQU"), ({"layout": "cube"}, "layout 'cube': must be sph")],
)
def test_an_option_is_one_of_its_words(ours, option, message):
    with pytest.raises(ValueError, match=message):
        SkyDataset(ours, "train", ["100"], **option)


def half(number: int) -> Observations:
    if number == 1:
        raise ValueError("not this one")
    return observed(number)


def test_a_simulation_that_has_not_run_to_its_end_is_refused(tmp_path):
    parts = ParallelPartitionedDataset(
        path=str(tmp_path / "03_primary/observations/train"),
        dataset="cmbml.datasets.ObservationsDataset",
        n_jobs=0,
    )
    with pytest.raises(DatasetError, match="not this one"):
        parts.save(lift(half, version=1, partitioned={"number": {"sim0000": 0, "sim0001": 1}}))
    with pytest.raises(DatasetError, match=r"1 of 2 partitions are missing \(sim0001\)"):
        SkyDataset(tmp_path, "train", ["100"])


# ---- The documentation ------------------------------------------------------------------------


def test_the_three_lines_of_the_documentation_work(ours, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "learning.md").read_text()
    examples = [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "SkyDataset(" in code]
    lines = [line for line in examples[0].splitlines() if line]
    assert [len(lines), len(examples)] == [3, 2]
    (tmp_path / "data").symlink_to(ours)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for example in examples:
        exec(example, names)
    assert (names["features"].shape, names["target"].shape) == ((2, NPIX), (1, NPIX))
    assert [set(row) for row in names["rows"]] == [{"channel", "stokes", "median", "robust_std"}] * 2
    assert names["again"] == names["scaling"]
    assert not torch.equal(names["scaled"][0][0], names["features"])
