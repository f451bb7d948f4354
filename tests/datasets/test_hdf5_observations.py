"""All channels of one sky in one HDF5 file."""

import h5py
import healpy as hp
import numpy as np
import pytest
from kedro.io.core import DatasetError

from cmbml.datasets import Hdf5ObservationsDataset, ObservationsDataset, ParallelPartitionedDataset
from cmbml.datasets.hdf5_observations import CHUNK
from cmbml.partitions import lift, restrict
from cmbml.science.instrument import Observations
from cmbml.science.skymap import UNSEEN
from tests.datasets.test_observations import CHANNELS, NPIX, numbers, sky

FACTS = {"SIMUL": "sim0000", "SEED": 5}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sim0000.h5"


def save(path, data, **options):
    Hdf5ObservationsDataset(filepath=path, **options).save(data)
    return path


def load(path, **options):
    return Hdf5ObservationsDataset(filepath=path, **options).load()


def foreign(path, maps, **attributes):
    """Write a file as somebody else might, with attributes that we do not write."""
    with h5py.File(path, "w") as file:
        for name, values in maps.items():
            file.create_dataset(name, data=values)
            stated = {"unit": "uK_CMB", "ordering": "RING", **attributes}
            file[name].attrs.update({key: value for key, value in stated.items() if value is not None})
    return path


def same(one, other):
    return (
        dict(one.units) == dict(other.units)
        and list(one.maps) == list(other.maps)
        and all(one.maps[name].tobytes() == other.maps[name].tobytes() for name in one.maps)
    )


# ---- What a file holds ----------------------------------------------------------------


def test_the_file_has_one_dataset_per_channel_and_says_what_it_holds(path):
    save(path, sky(), header=FACTS)
    with h5py.File(path) as file:
        assert sorted(file, key=int) == list(CHANNELS)
        assert dict(file.attrs) == {"format": "cmbml observations", "version": 1, **FACTS}
        assert file["100"].shape == (3, NPIX) and file["545"].shape == (1, NPIX)
        assert file["100"].dtype == np.float32
        assert dict(file["100"].attrs) == {
            "unit": "uK_CMB",
            "stokes": "IQU",
            "nside": 4,
            "ordering": "RING",
            "coordsys": "G",
            "polcconv": "COSMO",
            "bad_data": UNSEEN,
        }
        assert "polcconv" not in file["545"].attrs


@pytest.mark.parametrize("npix", [NPIX, 12 * 256**2])
def test_no_chunk_holds_two_fields_or_more_than_a_mebibyte(path, npix):
    save(path, Observations({"100": np.zeros((3, npix), np.float32)}, {"100": "uK_CMB"}))
    with h5py.File(path) as file:
        assert file["100"].chunks == (1, min(npix, CHUNK))
        assert npix % file["100"].chunks[1] == 0


@pytest.mark.parametrize("compression", ["lzf", "gzip"])
def test_compression_loses_nothing_and_makes_plain_maps_smaller(tmp_path, compression):
    two_values = np.where(hp.ud_grade(numbers(3), 32) > 0, 0.1, -0.3).astype(np.float32)
    data = Observations({"100": two_values}, {"100": "uK_CMB"})
    plain, packed = save(tmp_path / "a.h5", data), save(tmp_path / "b.h5", data, compression=compression)
    assert same(load(packed), load(plain))
    assert packed.stat().st_size < 0.5 * plain.stat().st_size
    with h5py.File(packed) as file:
        assert (file["100"].compression, file["100"].shuffle) == (compression, True)


# ---- FITS and back ----------------------------------------------------------------------


def test_fits_to_hdf5_to_fits_is_equal_to_the_byte(tmp_path):
    data = sky()
    data.maps["143"][1, 7] = UNSEEN
    data = Observations(data.maps, {**data.units, "545": "MJy/sr"})
    first, last = (ObservationsDataset(filepath=tmp_path / name, header=FACTS) for name in ("one", "two"))
    between = Hdf5ObservationsDataset(filepath=tmp_path / "sim0000.h5", header=FACTS)
    first.save(data)
    between.save(first.load())
    last.save(between.load())
    assert same(between.load(), first.load())
    for name in CHANNELS:
        file = f"obs_{name}_map.fits"
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_hdf5_to_fits_to_hdf5_is_equal_to_the_byte(tmp_path):
    first, last = (Hdf5ObservationsDataset(filepath=tmp_path / name) for name in ("one.h5", "two.h5"))
    between = ObservationsDataset(filepath=tmp_path / "sim0000")
    first.save(sky())
    between.save(first.load())
    last.save(between.load())
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "two.h5").read_bytes()


# ---- Reading less ------------------------------------------------------------------------


def test_channels_come_in_order_of_frequency(path):
    assert tuple(load(save(path, sky(("857", "44", "100", "30")))).maps) == ("30", "44", "100", "857")


@pytest.mark.parametrize("choice, chosen", [(None, CHANNELS), ("143-353", CHANNELS[1:4]), (217, ("217",))])
def test_channels_are_chosen_as_everywhere(path, choice, chosen):
    assert tuple(load(save(path, sky()), channels=choice).maps) == chosen


def test_intensity_alone_reads_intensity_alone(path):
    """Q and U hold NaN, which is an error where they are read."""
    values = numbers(3)
    values[1:] = np.nan
    foreign(path, {"100": values}, stokes="IQU", polcconv="COSMO")
    assert np.array_equal(load(path, stokes="I").maps["100"], values[:1])
    with pytest.raises(DatasetError, match="channel 100: field Q: 192 pixels are NaN or infinite"):
        load(path)


def test_a_restricted_dataset_reads_no_other_channel(path):
    bad = np.full((1, NPIX), np.nan, np.float32)
    foreign(path, {"100": numbers(1), "143": bad})
    part = Hdf5ObservationsDataset(filepath=path).restricted(channels=["100"], stokes="I")
    assert list(part.load().maps) == ["100"]
    with pytest.raises(DatasetError, match="read-only"):
        part.save(sky(("100",)))


def test_a_restricted_dataset_keeps_to_what_the_entry_reads(path):
    save(path, sky())
    part = Hdf5ObservationsDataset(filepath=path, stokes="I").restricted(channels=["100"], stokes="IQU")
    assert part.load().maps["100"].shape == (1, NPIX)


# ---- Files of others ------------------------------------------------------------------------


def test_nested_and_iau_maps_are_turned(path):
    values = numbers(3)
    foreign(path, {"100": values}, ordering="NESTED", polcconv="IAU", stokes="IQU")
    expected = hp.reorder(values, n2r=True).astype(np.float32)
    expected[2] *= -1
    assert np.array_equal(load(path).maps["100"], expected)


def test_double_precision_is_read_as_single(path):
    values = np.random.default_rng(1).normal(size=(1, NPIX))
    maps = load(foreign(path, {"100": values})).maps
    assert maps["100"].dtype == np.float32
    assert np.array_equal(maps["100"], values.astype(np.float32))


def test_what_is_no_channel_is_left_alone(path):
    foreign(path, {"100": numbers(1), "mean": numbers(1), "030": numbers(1)})
    assert tuple(load(path).maps) == ("100",)


def test_a_unit_that_is_not_stated_is_not_guessed(path):
    foreign(path, {"100": numbers(1)}, unit=None)
    with pytest.raises(DatasetError, match=r"sim0000\.h5: channel 100: the file does not say its unit"):
        load(path)
    assert load(path, unit="uK_CMB").units["100"] == "uK_CMB"
    with pytest.raises(DatasetError, match="unit is 'uK_CMB' in the file, but 'K_CMB' in the catalog entry"):
        load(save(path, sky(("100",))), unit="K_CMB")


@pytest.mark.parametrize(
    "shape, attributes",
    [((NPIX,), {}), ((2, NPIX), {}), ((3, NPIX), {"stokes": "I"}), ((1, NPIX), {"stokes": "QU"})],
)
def test_shape_and_fields_must_agree(path, shape, attributes):
    foreign(path, {"100": np.zeros(shape, np.float32)}, **attributes)
    with pytest.raises(DatasetError, match=r"channel 100: shape .* must be a dataset of shape \(1, npix\)"):
        load(path)


def test_a_group_in_place_of_a_channel_is_an_error(path):
    with h5py.File(path, "w") as file:
        file.create_group("100")
    with pytest.raises(DatasetError, match="channel 100: shape None and stokes 'I'"):
        load(path)


def test_a_file_without_maps_is_an_error(path):
    foreign(path, {"mean": numbers(1)})
    with pytest.raises(DatasetError, match="no map there; an HDF5 dataset per channel must be called by its"):
        load(path)


def test_what_is_no_hdf5_file_is_an_error(path):
    path.write_bytes(b"SIMPLE  = T")
    with pytest.raises(DatasetError, match=r"sim0000\.h5: no HDF5 file, or a damaged one"):
        load(path)


# ---- Checks as those of the FITS files ----------------------------------------------------------


def test_a_missing_channel_is_named_with_what_there_is(path):
    save(path, sky(("100", "217")))
    with pytest.raises(
        DatasetError, match=r"sim0000\.h5: no map of channel 143, 857; there are the channels 100, 217"
    ):
        load(path, channels=[100, 143, 857])
    with pytest.raises(DatasetError, match="channels 'lfi' of the catalog entry do not fit the channels 100"):
        load(path, channels="lfi")


def test_another_resolution_than_expected_is_an_error(path):
    save(path, sky())
    with pytest.raises(DatasetError, match=r"channel 100: map has npix 192, expected 3072 \(nside 16\)"):
        load(path, nside=16)
    with pytest.raises(DatasetError, match=r"channel 100: map has npix 192, expected 3072 \(nside 16\)"):
        save(path, sky(), nside=16)


def test_channels_have_one_resolution(path):
    maps = {"100": numbers(1), "143": np.zeros((1, 12), np.float32)}
    foreign(path, maps)
    with pytest.raises(DatasetError, match=r"the channels have different nside \(100: 4, 143: 1\)"):
        load(path)
    with pytest.raises(DatasetError, match=r"the channels have different npix \(100: 192, 143: 12\)"):
        save(path, Observations(maps, dict.fromkeys(maps, "uK_CMB")))


def test_nothing_is_saved_of_a_sky_with_a_bad_channel(path):
    data = sky()
    data.maps["545"][0, 3] = np.inf
    with pytest.raises(DatasetError, match="not saved: channel 545: field I: 1 pixels are NaN or infinite"):
        save(path, data)
    assert not path.exists()


def test_what_would_not_be_read_is_not_saved(path):
    with pytest.raises(DatasetError, match=r"reads only 100 \(channels: 100\)"):
        save(path, sky(), channels=100)
    with pytest.raises(DatasetError, match="channel 100 has 3 fields, the catalog entry states stokes I"):
        save(path, sky(), stokes="I")
    with pytest.raises(DatasetError, match="channel 100 has no unit"):
        save(path, Observations(sky(("100",)).maps))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"stokes": "QU"}, "stokes 'QU': must be 'I' or 'IQU'"),
        ({"nside": 100}, "nside 100: must be a power of two"),
        ({"compression": "zip"}, "compression 'zip': must be lzf or gzip, or left out"),
    ],
)
def test_options_are_checked_when_the_catalog_is_read(options, message):
    with pytest.raises(DatasetError, match=message):
        Hdf5ObservationsDataset(filepath="x.h5", **options)


# ---- A split ---------------------------------------------------------------------------------------


def noise(seed):
    return sky(CHANNELS[seed:])


def test_a_split_is_written_and_read_back_in_part(tmp_path):
    leaf = {"type": "cmbml.datasets.Hdf5ObservationsDataset", "nside": 4}
    split = ParallelPartitionedDataset(path=str(tmp_path), dataset=leaf, filename_suffix=".h5", n_jobs=0)
    made = lift(noise, version=1, partitioned={"seed": {"sim0000": 0, "sim0001": 1}})
    split.save(made)
    loaded = split.load()
    assert all(same(loaded[name](), made[name]()) for name in made)
    part = restrict(loaded, channels=["143"], stokes="I")["sim0001"]()
    assert {name: values.shape for name, values in part.maps.items()} == {"143": (1, NPIX)}
    with h5py.File(tmp_path / "sim0001.h5") as file:
        assert file.attrs["SIMUL"] == "sim0001"
        assert file.attrs["FINGPRNT"] == made["sim0001"].fingerprint
