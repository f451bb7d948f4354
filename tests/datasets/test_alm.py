"""Coefficients in FITS files, ours and healpy's."""

import healpy as hp
import numpy as np
import pytest
from astropy.io import fits
from kedro.io.core import DatasetError

from cmbml.datasets import AlmDataset
from cmbml.science.harmonics import alm_size

LMAX = 8


def numbers(n_fields=1, lmax=LMAX):
    generator = np.random.default_rng(5)
    shape = (n_fields, alm_size(lmax))
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "alm.fits"


def load(path, **options):
    return AlmDataset(filepath=path, **options).load()


def save(path, alm, **options):
    AlmDataset(filepath=path, **options).save(alm)
    return path


@pytest.mark.parametrize("n_fields", [1, 3])
def test_healpy_reads_what_we_write(path, n_fields):
    save(path, numbers(n_fields))
    read = hp.read_alm(path, hdu=tuple(range(1, n_fields + 1)))
    assert np.array_equal(np.atleast_2d(read), numbers(n_fields))


@pytest.mark.parametrize("n_fields", [1, 3])
@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_we_read_what_healpy_writes(path, n_fields, dtype):
    hp.write_alm(path, list(numbers(n_fields).astype(dtype)))
    loaded = load(path)
    assert np.array_equal(loaded, numbers(n_fields))
    assert loaded.dtype == np.complex64


def test_the_header_states_lmax_and_unit(path):
    save(path, numbers(3), unit="K_CMB")
    with fits.open(path) as hdus:
        hdus.verify("exception")
        headers = [hdu.header for hdu in hdus[1:]]
    assert [header["EXTNAME"] for header in headers] == ["ALM_T", "ALM_E", "ALM_B"]
    assert all((header["MAX-LPOL"], header["MAX-MPOL"]) == (LMAX, LMAX) for header in headers)
    assert all((header["TUNIT1"], header["TUNIT2"]) == ("l*l+l+m+1", "K_CMB") for header in headers)
    assert not [key for header in headers for key in header if key.startswith("DATE")]


def test_double_precision_becomes_single(path):
    alm = numbers().astype(np.complex128) * (1 + 1e-9)
    assert np.array_equal(load(save(path, alm)), alm.astype(np.complex64))


def test_rows_in_any_order_are_sorted(path):
    save(path, numbers())
    with fits.open(path, mode="update") as hdus:
        hdus[1].data[:] = hdus[1].data[np.random.default_rng(0).permutation(len(hdus[1].data))]
    assert np.array_equal(load(path), numbers())


def write_rows(path, index):
    """Write one field with these values of l^2 + l + m + 1."""
    index = np.asarray(index, dtype=np.int32)
    columns = [
        fits.Column(name=name, format=letter, array=array)
        for name, letter, array in (("index", "J", index), ("real", "E", index), ("imag", "E", index))
    ]
    fits.BinTableHDU.from_columns(columns).writeto(path)
    return path


@pytest.mark.parametrize("index", [[1, 3, 4, 7, 8], [1, 3, 3], [1, 2, 4], [0, 3, 4]])
def test_every_coefficient_is_there_once(path, index):
    write_rows(path, index)
    with pytest.raises(
        DatasetError, match=r"alm\.fits: .*(need each of \d+ once|number of coefficients of any lmax)"
    ):
        load(path)


def test_a_triangle_with_missing_coefficients_is_an_error(path):
    with pytest.raises(
        DatasetError, match=r"3 coefficients up to l = 2: need each of 6 once \(0 <= m <= l\)"
    ):
        load(write_rows(path, [1, 5, 7]))


def test_fields_have_one_lmax(path):
    hp.write_alm(path, [numbers()[0]])
    with fits.open(path, mode="append") as hdus:
        for lmax in (LMAX, LMAX - 1):
            other = path.parent / "other.fits"
            hp.write_alm(other, numbers(1, lmax)[0], overwrite=True)
            hdus.append(fits.BinTableHDU(fits.getdata(other, 1)))
    with pytest.raises(DatasetError, match="fields of 45, 45, 36 coefficients: lmax must be the same"):
        load(path)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_file_has_one_or_three_fields(path, count):
    hdus = [fits.PrimaryHDU()]
    for _ in range(count):
        other = path.parent / "other.fits"
        hp.write_alm(other, numbers()[0], overwrite=True)
        hdus.append(fits.BinTableHDU(fits.getdata(other, 1)))
    fits.HDUList(hdus).writeto(path)
    with pytest.raises(DatasetError, match=rf"the file has {count} fields after its primary HDU, must be 1"):
        load(path)


@pytest.mark.parametrize("shape", [(45,), (2, 45), (1, 1, 45)])
def test_one_sky_has_one_or_three_fields(path, shape):
    with pytest.raises(
        DatasetError, match=r"coefficients of one sky have shape \(1 \| 3, alm_size\); got \("
    ):
        save(path, np.zeros(shape, complex))


def test_the_number_of_coefficients_fits_an_lmax(path):
    with pytest.raises(DatasetError, match="44 is not the number of coefficients of any lmax"):
        save(path, np.zeros((1, 44), complex))


def test_another_lmax_than_expected_is_an_error(path):
    with pytest.raises(DatasetError, match="not saved: coefficients have lmax 8, expected 9"):
        save(path, numbers(), lmax=9)
    save(path, numbers(), lmax=8)
    assert load(path, lmax=8).shape == (1, 45)
    with pytest.raises(DatasetError, match=r"alm\.fits: coefficients have lmax 8, expected 9"):
        load(path, lmax=9)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39j])
def test_what_is_not_finite_in_single_precision_is_not_saved(path, value):
    alm = numbers().astype(np.complex128)
    alm[0, 4] = value
    with pytest.raises(DatasetError, match="1 coefficients are NaN or infinite"):
        save(path, alm)


def test_file_and_catalog_must_agree_on_the_unit(path):
    save(path, numbers(), unit="K_CMB")
    assert load(path, unit="Kcmb").shape == (1, 45)
    with pytest.raises(DatasetError, match="unit is 'K_CMB' in the file, but 'uK_CMB' in the catalog entry"):
        load(path)


def test_coefficients_may_be_pure_numbers(path):
    save(path, numbers(), unit="1")
    assert np.array_equal(load(path, unit="1"), numbers())


def test_an_unknown_unit_is_an_error_when_the_catalog_is_read():
    with pytest.raises(DatasetError, match=r"^alm\.fits: unit 'furlong': not a unit of a sky map"):
        AlmDataset(filepath="alm.fits", unit="furlong")
