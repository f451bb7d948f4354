"""All channels of one sky as one object."""

import os
from pathlib import Path

import fsspec
import healpy as hp
import numpy as np
import pytest
from kedro.io.core import DatasetError

from cmbml.datasets import ObservationsDataset
from cmbml.science.instrument import Observations
from cmbml.science.skymap import UNSEEN

NPIX = 192
CHANNELS = ("100", "143", "217", "353", "545")


def numbers(n_fields, seed=3):
    return np.random.default_rng(seed).normal(size=(n_fields, NPIX)).astype(np.float32)


def sky(names=CHANNELS):
    maps = {name: numbers(1 if int(name) > 400 else 3, int(name)) for name in names}
    return Observations(maps, dict.fromkeys(names, "uK_CMB"))


def write_reference(folder, names=CHANNELS, **options):
    """Write a simulation as CMB-ML does: healpy, intensity, no POLCCONV."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        values = numbers(1, int(name))[0]
        options = {"column_names": ["I_STOKES"], "column_units": "uK_CMB", "dtype": np.float32, **options}
        hp.write_map(folder / f"obs_{name}_map.fits", values, overwrite=True, **options)
    return folder


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "sim0000"


def load(folder, **options):
    return ObservationsDataset(filepath=folder, **options).load()


def save(folder, data, **options):
    ObservationsDataset(filepath=folder, **options).save(data)
    return folder


# ---- Reading and writing ------------------------------------------------------------


def test_the_files_are_those_of_the_reference_layout(folder):
    save(folder, sky())
    assert sorted(path.name for path in folder.iterdir()) == [f"obs_{name}_map.fits" for name in CHANNELS]
    assert np.array_equal(hp.read_map(folder / "obs_100_map.fits", field=(0, 1, 2)), sky().maps["100"])
    assert np.array_equal(hp.read_map(folder / "obs_545_map.fits"), sky().maps["545"][0])


def test_an_existing_dataset_is_read_as_it_is(folder):
    observations = load(write_reference(folder))
    assert tuple(observations.maps) == CHANNELS
    assert dict(observations.units) == dict.fromkeys(CHANNELS, "uK_CMB")
    assert all(np.array_equal(observations.maps[name], numbers(1, int(name))) for name in CHANNELS)


def test_channels_come_in_order_of_frequency(folder):
    save(folder, sky(("857", "44", "100", "30")))
    assert tuple(load(folder).maps) == ("30", "44", "100", "857")


def test_channels_without_polarisation_hold_one_field(folder):
    shapes = {name: values.shape for name, values in load(save(folder, sky())).maps.items()}
    assert shapes == {name: (1 if name == "545" else 3, NPIX) for name in CHANNELS}


def test_channels_may_have_different_units(folder):
    data = sky(("353", "545"))
    save(folder, Observations(data.maps, {"353": "Kcmb", "545": "MJY/SR"}))
    assert dict(load(folder).units) == {"353": "K_CMB", "545": "MJy/sr"}


def test_intensity_alone_reads_intensity_alone(folder):
    data = sky()
    save(folder, data)
    for name in CHANNELS[:-1]:  # broken Q and U, and no convention: neither is looked at
        values = np.array(data.maps[name])
        values[1:] = np.nan
        hp.write_map(
            folder / f"obs_{name}_map.fits",
            values,
            column_names=["I_STOKES", "Q_STOKES", "U_STOKES"],
            column_units="uK_CMB",
            overwrite=True,
        )
    observations = load(folder, stokes="I")
    assert all(np.array_equal(observations.maps[name], data.maps[name][:1]) for name in CHANNELS)


def test_another_pattern_names_the_files(folder):
    save(folder, sky(("100",)), pattern="sky_{channel}.fits")
    assert [path.name for path in folder.iterdir()] == ["sky_100.fits"]
    assert tuple(load(folder, pattern="sky_{channel}.fits").maps) == ("100",)


def test_other_files_of_the_folder_are_left_alone(folder):
    write_reference(folder)
    (folder / "cmb_map_fid.fits").write_bytes(b"another product")
    (folder / "obs_mean_map.fits").write_bytes(b"not a channel")
    (folder / "obs_030_map.fits").write_bytes(b"no name of a channel")
    save(folder, sky(("100", "143")))
    assert {"cmb_map_fid.fits", "obs_mean_map.fits", "obs_030_map.fits"} < set(os.listdir(folder))
    assert tuple(load(folder).maps) == ("100", "143")


def test_what_was_not_observed_stays_so(folder):
    data = sky(("100",))
    data.maps["100"][2, 4] = UNSEEN
    assert load(save(folder, data)).maps["100"][2, 4] == np.float32(UNSEEN)


# ---- Choosing channels ------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice, chosen",
    [
        (None, CHANNELS),
        ("all", CHANNELS),
        ("polarised", CHANNELS[:4]),
        ("143-353", CHANNELS[1:4]),
        (217, ("217",)),
        ([353, "100"], ("100", "353")),
    ],
)
def test_channels_are_chosen_as_everywhere(folder, choice, chosen):
    save(folder, sky())
    assert tuple(load(folder, channels=choice).maps) == chosen


def test_a_missing_channel_is_named_with_the_folder_and_what_there_is(folder):
    save(folder, sky(("100", "217")))
    with pytest.raises(
        DatasetError,
        match=r"sim0000: no map of channel 143, 857 \(.*obs_143_map\.fits\); there are the channels 100, 217",
    ):
        load(folder, channels=[100, 143, 857])


def test_a_choice_that_fits_nothing_is_an_error(folder):
    save(folder, sky(("100", "217")))
    with pytest.raises(
        DatasetError, match=r"channels 'lfi' of the catalog entry do not fit the channels 100, 217"
    ):
        load(folder, channels="lfi")


def test_a_folder_without_maps_is_an_error(folder):
    folder.mkdir()
    with pytest.raises(
        DatasetError, match=r"sim0000: no map there; files must be called obs_\{channel\}_map\.fits"
    ):
        load(folder)


def test_a_file_in_place_of_the_folder_holds_no_maps(folder):
    folder.write_bytes(b"")
    with pytest.raises(DatasetError, match="sim0000: no map there"):
        load(folder)


def test_a_folder_with_a_missing_channel_does_not_exist(folder):
    save(folder, sky(("100", "217")))
    assert ObservationsDataset(filepath=folder, channels=[100]).exists()
    assert not ObservationsDataset(filepath=folder, channels=[100, 143]).exists()
    assert not ObservationsDataset(filepath=folder, channels="lfi").exists()


def test_what_would_not_be_read_is_not_saved(folder):
    with pytest.raises(
        DatasetError, match=r"the observations hold channels 100, 143, .* reads only 100 \(channels: 100\)"
    ):
        save(folder, sky(), channels=100)
    with pytest.raises(
        DatasetError, match=r"channels \[30\] of the catalog entry do not fit the channels 100"
    ):
        save(folder, sky(("100",)), channels=[30])
    assert not folder.exists()


# ---- A folder is whole or not at all -------------------------------------------------------


def test_saving_again_removes_channels_that_are_gone(folder):
    save(folder, sky())
    save(folder, sky(("100", "217")))
    assert tuple(load(folder).maps) == ("100", "217")


def test_a_bad_last_channel_leaves_no_channel(folder):
    data = sky()
    data.maps["545"][0, 3] = np.nan
    with pytest.raises(
        DatasetError, match=r"obs_545_map\.fits: not saved: channel 545: field I: 1 pixels are NaN"
    ):
        save(folder, data)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_run_killed_while_files_get_their_names_does_not_count(folder, monkeypatch, at):
    save(folder, sky())
    names, replace = [], os.replace

    def killed(source, target):
        names.append(Path(target).name)
        if len(names) > at:
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("cmbml.datasets.storage.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            save(folder, sky())
    assert not ObservationsDataset(filepath=folder).exists()
    with pytest.raises(
        DatasetError, match="sim0000: saving was interrupted while the files got their names; make it"
    ):
        load(folder)
    save(folder, sky())
    assert ObservationsDataset(filepath=folder).exists()
    assert sorted(os.listdir(folder)) == [f"obs_{name}_map.fits" for name in CHANNELS]


def test_names_are_given_only_when_all_files_are_written(folder, monkeypatch):
    seen = []
    replace = os.replace

    def watch(source, target):
        seen.append(len([name for name in os.listdir(folder) if name.endswith(".part")]))
        replace(source, target)

    monkeypatch.setattr("cmbml.datasets.storage.os.replace", watch)
    save(folder, sky())
    assert seen == [5, 4, 3, 2, 1]


def test_a_remote_folder_is_whole_too():
    filesystem = fsspec.filesystem("memory")
    dataset = ObservationsDataset(filepath="memory:///remote/sim0000")
    dataset.save(sky())
    dataset.save(sky(("100",)))
    assert [Path(name).name for name in filesystem.ls("/remote/sim0000", detail=False)] == [
        "obs_100_map.fits"
    ]
    filesystem.rm("/remote", recursive=True)


# ---- Units, sizes, options --------------------------------------------------------------------


def test_a_unit_that_is_not_stated_is_not_guessed(folder):
    write_reference(folder, ("100",), column_units=None)
    with pytest.raises(DatasetError, match=r"obs_100_map\.fits: the file does not say its unit"):
        load(folder)
    assert load(folder, unit="uK_CMB").units["100"] == "uK_CMB"


def test_a_map_without_unit_is_not_saved(folder):
    data = Observations(sky(("100",)).maps)
    with pytest.raises(
        DatasetError, match=r"channel 100 has no unit; give it in Observations\.units or as `unit:`"
    ):
        save(folder, data)
    assert load(save(folder, data, unit="K_CMB")).units["100"] == "K_CMB"


def test_another_resolution_than_expected_is_an_error(folder):
    save(folder, sky())
    with pytest.raises(
        DatasetError, match=r"obs_100_map\.fits: map has npix 192, expected 3072 \(nside 16\)"
    ):
        load(folder, nside=16)
    with pytest.raises(DatasetError, match=r"channel 100: map has npix 192, expected 3072 \(nside 16\)"):
        save(folder, sky(), nside=16)


def test_channels_have_one_resolution(folder):
    data = sky(("100", "143"))
    data.maps["143"] = np.zeros((1, 12), np.float32)
    with pytest.raises(DatasetError, match=r"the channels have different npix \(100: 192, 143: 12\)"):
        save(folder, data)
    write_reference(folder, ("100",))
    hp.write_map(folder / "obs_143_map.fits", np.zeros(12), column_units="uK_CMB", dtype=np.float32)
    with pytest.raises(DatasetError, match=r"the channels have different nside \(100: 4, 143: 1\)"):
        load(folder)


def test_polarisation_is_not_dropped_silently(folder):
    with pytest.raises(
        DatasetError, match="channel 100 has 3 fields, the catalog entry states stokes I; keep its first"
    ):
        save(folder, sky(), stokes="I")


@pytest.mark.parametrize("names, listed", [(("030",), "030"), (("100", "../x"), r"\.\./x"), ((), "none")])
def test_a_channels_name_is_its_nominal_frequency(folder, names, listed):
    data = Observations({name: numbers(1) for name in names}, dict.fromkeys(names, "uK_CMB"))
    with pytest.raises(DatasetError, match=rf"channels {listed}: a channel's name is its nominal GHz"):
        save(folder, data)


@pytest.mark.parametrize("pattern", ["obs.fits", "{channel}_{channel}.fits", "{channel}/map.fits"])
def test_a_pattern_names_one_channel(pattern):
    with pytest.raises(DatasetError, match=r"pattern .*: must be a file name that holds \{channel\} once"):
        ObservationsDataset(filepath="x", pattern=pattern)


def test_options_are_checked_when_the_catalog_is_read():
    with pytest.raises(DatasetError, match="stokes 'QU': must be 'I' or 'IQU'"):
        ObservationsDataset(filepath="x", stokes="QU")
    with pytest.raises(DatasetError, match="x: nside 100: must be a power of two"):
        ObservationsDataset(filepath="x", nside=100)


def test_a_damaged_channel_is_named(folder):
    save(folder, sky())
    path = folder / "obs_217_map.fits"
    path.write_bytes(path.read_bytes()[:6000])
    with pytest.raises(DatasetError, match=r"obs_217_map\.fits: the file is cut short"):
        load(folder)


def test_a_restricted_dataset_reads_no_other_field_or_channel(tmp_path):
    dataset = ObservationsDataset(filepath=tmp_path / "sim0000")
    dataset.save(
        Observations(
            {"100": np.ones((3, 12), np.float32), "143": np.ones((3, 12), np.float32)},
            {"100": "uK_CMB", "143": "uK_CMB"},
        )
    )
    (tmp_path / "sim0000" / "obs_143_map.fits").write_bytes(b"not a map")
    part = dataset.restricted(channels=["100"], stokes="I")
    observed = part.load()
    assert list(observed.maps) == ["100"]
    assert observed.maps["100"].shape == (1, 12)
    with pytest.raises(DatasetError, match="read-only"):
        part.save(observed)
