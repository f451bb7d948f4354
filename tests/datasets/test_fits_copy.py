import healpy as hp
import numpy as np
import pytest
from kedro.io.core import DatasetError

from cmbml.datasets import FitsCopyDataset, fits_copy
from cmbml.datasets.file_formats import check_format


@pytest.fixture
def path(tmp_path):
    maps = np.arange(3 * 768, dtype=np.float32).reshape(3, 768)
    hp.write_map(
        tmp_path / "map.fits",
        maps,
        nest=True,
        dtype=np.float32,
        extra_header=[("HISTORY", "a"), ("HISTORY", "b")],
    )
    return tmp_path / "map.fits"


def test_a_table_comes_in_pieces_that_are_the_table(path, monkeypatch):
    whole = list(FitsCopyDataset(filepath=str(path)).load().pieces(1))
    monkeypatch.setattr(fits_copy, "PIECE_BYTES", 10)  # less than a row
    pieces = list(FitsCopyDataset(filepath=str(path)).load().pieces(1))
    assert len(whole) == 1 and len(pieces) > 1
    for number, name in enumerate(whole[0]):
        joined = np.concatenate([piece[name] for piece in pieces]).ravel()
        np.testing.assert_array_equal(joined, np.arange(768) + 768 * number)


def test_cards_of_every_hdu_are_there_and_repeated_ones_are_kept(path):
    primary, table = FitsCopyDataset(filepath=str(path)).load().cards()
    assert primary["SIMPLE"] == "True"
    assert table["NSIDE"] == "8" and table["ORDERING"] == "NESTED"
    assert table["HISTORY"] == "a\nb"


def test_size_and_checksum_are_those_of_the_file(path):
    copy = FitsCopyDataset(filepath=str(path)).load()
    assert copy.size == path.stat().st_size
    assert len(copy.sha256()) == 64


def test_a_copy_is_only_read(path):
    with pytest.raises(DatasetError, match="a copy of a raw input is only read"):
        FitsCopyDataset(filepath=str(path)).save({})


def test_a_missing_copy_is_named(tmp_path):
    dataset = FitsCopyDataset(filepath=str(tmp_path / "map.fits"))
    assert not dataset.exists()
    assert "map.fits" in str(dataset)
    with pytest.raises(DatasetError, match="map.fits: no such file"):
        dataset.load()


@pytest.mark.parametrize("left", [0.1, 0.2, 0.4, 0.9, 0.9999])
def test_a_map_that_ends_too_early_is_not_whole(path, left):
    content = path.read_bytes()
    check_format(path, "map.fits")
    data_end = len(content) - (-3 * 768 * 4) % 2880
    path.write_bytes(content[: int(left * data_end)])
    with pytest.raises(ValueError, match=r"map\.fits is (cut short|damaged)"):
        check_format(path, "map.fits")


@pytest.mark.parametrize("left", [2880, 2890, 2960, 5000])
def test_a_map_that_ends_in_its_headers_is_not_whole(path, left):
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match=r"map\.fits is (cut short|damaged)"):
        check_format(path, "map.fits")


def test_padding_that_is_missing_is_not_missed(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - (-3 * 768 * 4) % 2880])
    check_format(path, "map.fits")
