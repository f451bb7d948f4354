"""Maps as they come: our own files, healpy's, Planck's, WMAP's."""

import base64
import io

import healpy as hp
import numpy as np
import pytest
from astropy.io import fits
from kedro.io.core import DatasetError
from PIL import Image

from cmbml import __version__
from cmbml.datasets import HealpixMapDataset
from cmbml.science.skymap import UNSEEN, SkyMap, is_unseen

NSIDE = 4
NPIX = 12 * NSIDE**2


def numbers(n_fields=1, nside=NSIDE):
    return np.random.default_rng(3).normal(size=(n_fields, 12 * nside**2)).astype(np.float32)


def write(path, columns, units=None, nside=NSIDE, **cards):
    """Write a foreign file: {column: values}, cards None to leave one out."""
    units = units or {}
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column(
                name=name, format="J" if values.dtype.kind == "i" else "E", array=values, unit=units.get(name)
            )
            for name, values in columns.items()
        ]
    )
    for key, value in ({"ORDERING": "RING", "NSIDE": nside, "INDXSCHM": "IMPLICIT"} | cards).items():
        if value is not None:
            table.header[key] = value
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)
    return path


def stokes_columns(values):
    return dict(zip(("I_STOKES", "Q_STOKES", "U_STOKES"), values, strict=True))


IN_UK = dict.fromkeys(("I_STOKES", "Q_STOKES", "U_STOKES"), "uK_CMB")


def write_iqu(path, values, **cards):
    return write(path, stokes_columns(values), IN_UK, **cards)


def load(path, **options):
    return HealpixMapDataset(filepath=path, **options).load()


def save(path, sky_map, **options):
    HealpixMapDataset(filepath=path, **options).save(sky_map)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "map.fits"


# ---- Our files and healpy -----------------------------------------------------------


@pytest.mark.parametrize("nside", [1, 4, 16, 32])
@pytest.mark.parametrize("n_fields", [1, 3])
def test_healpy_reads_what_we_write(path, nside, n_fields):
    values = numbers(n_fields, nside)
    values[0, 5] = UNSEEN
    save(path, SkyMap(values, "uK_CMB"))
    read = hp.read_map(path, field=tuple(range(n_fields)))
    assert np.array_equal(np.atleast_2d(read), values)


def test_what_we_write_is_legal_fits_and_describes_itself(path):
    save(path, SkyMap(numbers(3, 16), "uK_CMB"))
    with fits.open(path) as hdus:
        hdus.verify("exception")
        header = hdus[1].header
    expected = {
        "TTYPE1": "I_STOKES",
        "TTYPE2": "Q_STOKES",
        "TTYPE3": "U_STOKES",
        "TFORM3": "1024E",
        "TUNIT3": "uK_CMB",
        "PIXTYPE": "HEALPIX",
        "ORDERING": "RING",
        "NSIDE": 16,
        "COORDSYS": "G",
        "POLCCONV": "COSMO",
        "CREATOR": f"cmbml {__version__}",
    }
    assert {key: header[key] for key in expected} == expected
    assert not [key for key in header if key.startswith("DATE")]


def test_intensity_alone_states_no_polarisation_convention(path):
    save(path, SkyMap(numbers(), "uK_CMB"))
    assert "POLCCONV" not in fits.getheader(path, 1)


@pytest.mark.parametrize("in_rows", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_fields", [1, 3])
def test_we_read_what_healpy_writes(path, n_fields, dtype, in_rows):
    values = numbers(n_fields, 16)
    hp.write_map(path, values.squeeze(), dtype=dtype, fits_IDL=in_rows, column_units="uK_CMB")
    sky_map = load(path, polcconv="COSMO" if n_fields == 3 else None)
    assert np.array_equal(sky_map.values, values)
    assert sky_map.values.dtype == np.float32
    assert (sky_map.unit, sky_map.stokes) == ("uK_CMB", "IQU"[:n_fields])


def test_nested_becomes_ring(path):
    ring = numbers(3)
    nested = hp.reorder(ring, r2n=True)
    assert not np.array_equal(nested, ring)
    hp.write_map(path, nested, nest=True, column_units="uK_CMB")
    assert np.array_equal(load(path, polcconv="COSMO").values, ring)


@pytest.mark.parametrize("nest", [False, True])
def test_a_partial_sky_becomes_a_full_one(path, nest):
    ring = numbers()
    ring[0, 150:] = UNSEEN
    hp.write_map(
        path, hp.reorder(ring[0], r2n=True) if nest else ring[0], nest=nest, partial=True, column_units="uK"
    )
    assert fits.getheader(path, 1)["NAXIS2"] == 150
    sky_map = load(path)
    assert np.array_equal(sky_map.values, ring)
    assert np.array_equal(load(path, fields=0).values, ring)
    assert np.array_equal(sky_map.values[0], hp.read_map(path))


def test_a_pixel_beyond_the_sky_is_an_error(path):
    columns = {"PIXEL": np.array([3, NPIX], dtype=np.int32), "TEMPERATURE": np.ones(2, np.float32)}
    write(path, columns, {"TEMPERATURE": "uK"}, INDXSCHM="EXPLICIT")
    with pytest.raises(DatasetError, match=r"pixel numbers from 3 to 192 do not fit on the 192 of nside 4"):
        load(path)


def test_a_partial_sky_must_state_nside(path):
    columns = {"PIXEL": np.arange(2, dtype=np.int32), "TEMPERATURE": np.ones(2, np.float32)}
    write(path, columns, {"TEMPERATURE": "uK"}, nside=None, INDXSCHM=None, OBJECT="PARTIAL")
    with pytest.raises(DatasetError, match="a partial sky without NSIDE in its header"):
        load(path)


# ---- Size and order -----------------------------------------------------------------


def test_another_resolution_than_expected_is_an_error(path):
    save(path, SkyMap(numbers(1, 16), "uK_CMB"))
    assert load(path, nside=16).nside == 16
    with pytest.raises(DatasetError, match=r"map\.fits: map has npix 3072, expected 786432 \(nside 256\)"):
        load(path, nside=256)
    with pytest.raises(DatasetError, match=r"not saved: map has npix 192, expected 786432 \(nside 256\)"):
        save(path, SkyMap(numbers(), "uK_CMB"), nside=256)


def test_a_header_that_lies_about_nside_is_an_error(path):
    write(path, {"I_STOKES": numbers()[0]}, IN_UK, nside=8)
    with pytest.raises(DatasetError, match=r"map has npix 192, expected 768 \(nside 8\)"):
        load(path)


def test_without_nside_the_length_tells_it(path):
    write(path, {"I_STOKES": numbers()[0]}, IN_UK, nside=None)
    assert load(path).nside == NSIDE


def test_a_length_that_is_no_sky_is_an_error(path):
    write(path, {"I_STOKES": np.ones(100, np.float32)}, IN_UK, nside=None)
    with pytest.raises(DatasetError, match=r"map\.fits: a map of 100 pixels is no full HEALPix sky"):
        load(path)


def test_an_order_that_is_not_stated_is_not_guessed(path):
    write(path, {"I_STOKES": numbers()[0]}, IN_UK, ORDERING=None)
    with pytest.raises(DatasetError, match="the file does not say its ordering; state `ordering:`"):
        load(path)
    assert np.array_equal(load(path, ordering="RING").values, numbers())
    assert np.array_equal(load(path, ordering="NESTED").values, hp.reorder(numbers(), n2r=True))


def test_file_and_catalog_must_agree_on_the_order(path):
    write(path, {"I_STOKES": numbers()[0]}, IN_UK)
    with pytest.raises(
        DatasetError, match="ordering is 'RING' in the file, but 'NESTED' in the catalog entry"
    ):
        load(path, ordering="NESTED")


def test_an_unknown_order_is_an_error(path):
    write(path, {"I_STOKES": numbers()[0]}, IN_UK, ORDERING="SPIRAL")
    with pytest.raises(DatasetError, match="ORDERING 'SPIRAL': must be RING or NESTED"):
        load(path)


def test_only_galactic_maps_are_read(path):
    write(path, {"I_STOKES": numbers()[0]}, IN_UK, COORDSYS="C")
    with pytest.raises(DatasetError, match=r"COORDSYS is 'C', maps here are Galactic; rotate it"):
        load(path)
    write(path, {"I_STOKES": numbers()[0]}, IN_UK, COORDSYS="GALACTIC")
    assert load(path).nside == NSIDE


# ---- Units --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, unit",
    [("Kcmb", "K_CMB"), ("K_CMB", "K_CMB"), ("MJy/sr", "MJy/sr"), ("MJY/SR", "MJy/sr"), ("uK_RJ", "uK_RJ")],
)
def test_units_are_read_in_the_spellings_of_published_files(path, text, unit):
    write(path, {"I_STOKES": numbers()[0]}, {"I_STOKES": text})
    assert load(path).unit == unit
    assert load(path, unit=unit).unit == unit


@pytest.mark.parametrize(
    "text, unit", [("Kcmb^2", "K_CMB2"), ("(K_CMB)^2", "K_CMB2"), ("(Mjy/sr)^2", "MJy2/sr2")]
)
def test_units_of_variances_are_squares(path, text, unit):
    write(
        path, {"I_STOKES": numbers()[0], "II_COV": numbers()[0] ** 2}, {"I_STOKES": "K_CMB", "II_COV": text}
    )
    variance = load(path, fields=["II_COV"])
    assert (variance.unit, variance.fields) == (unit, ("II",))
    assert load(path).unit == "K_CMB"


def test_a_unit_that_is_not_stated_is_not_guessed(path):
    write(path, {"I_STOKES": numbers()[0]})
    with pytest.raises(DatasetError, match=r"map\.fits: the file does not say its unit; state `unit:`"):
        load(path)
    assert load(path, unit="mK").unit == "mK_CMB"


def test_file_and_catalog_must_agree_on_the_unit(path):
    write(path, {"I_STOKES": numbers()[0]}, {"I_STOKES": "Kcmb"})
    assert load(path, unit="K_CMB").unit == "K_CMB"
    with pytest.raises(DatasetError, match="unit is 'K_CMB' in the file, but 'uK_CMB' in the catalog entry"):
        load(path, unit="uK_CMB")


def test_a_unit_that_cannot_be_read_is_taken_from_the_catalog_with_a_warning(path):
    write(path, {"I_STOKES": numbers()[0]}, {"I_STOKES": "mK,thermodynamic"})
    with pytest.raises(DatasetError, match=r"unit 'mK,thermodynamic': not a unit of a sky map"):
        load(path)
    with pytest.warns(
        UserWarning, match=r"map\.fits: unit 'mK,thermodynamic' cannot be read; taken as mK_CMB"
    ):
        assert load(path, unit="mK").unit == "mK_CMB"


def test_fields_of_different_units_are_not_read_together(path):
    write(
        path, {"I_STOKES": numbers()[0], "II_COV": numbers()[0]}, {"I_STOKES": "K_CMB", "II_COV": "(K_CMB)^2"}
    )
    with pytest.raises(
        DatasetError, match=r"the chosen fields have different units \(I_STOKES K_CMB, II_COV"
    ):
        load(path, fields=[0, 1])


def test_a_mask_is_a_pure_number(path):
    save(path, SkyMap(np.ones((1, NPIX)), ""))
    assert fits.getheader(path, 1)["TUNIT1"] == ""
    assert load(path).unit == ""
    assert load(path, unit="1").unit == ""
    write(path, {"TMASK": np.ones(NPIX, np.int32)})
    mask = load(path, unit="1")
    assert (mask.unit, mask.fields, mask.stokes) == ("", ("TMASK",), "")


def test_saving_in_another_unit_than_the_catalogs_is_an_error(path):
    with pytest.raises(DatasetError, match="the map is in 'K_CMB', the catalog entry states unit 'uK_CMB'"):
        save(path, SkyMap(numbers(), "Kcmb"), unit="uK_CMB")


# ---- Polarisation -------------------------------------------------------------------


def test_a_map_in_the_iau_convention_gets_its_u_flipped(path):
    values = numbers(3)
    values[2, 7] = UNSEEN
    cosmo = load(write_iqu(path, values, POLCCONV="COSMO")).values
    iau = load(write_iqu(path, values, POLCCONV="IAU")).values
    assert np.array_equal(cosmo, values)
    assert np.array_equal(iau[:2], values[:2])
    assert iau[2, 7] == np.float32(UNSEEN)
    assert np.array_equal(np.delete(iau[2], 7), -np.delete(values[2], 7))


@pytest.mark.parametrize("field, sign", [("II", 1), ("IQ", 1), ("IU", -1), ("QQ", 1), ("QU", -1), ("UU", 1)])
def test_covariances_with_one_u_are_flipped_too(path, field, sign):
    write(path, {f"{field}_COV": numbers()[0]}, {f"{field}_COV": "(K_CMB)^2"}, POLCCONV="IAU")
    assert np.array_equal(load(path).values, sign * numbers())


def test_what_was_iau_is_cosmo_when_saved_again(path, tmp_path):
    flipped = load(write_iqu(path, numbers(3), POLCCONV="IAU"))
    again = load(save(tmp_path / "again.fits", flipped))
    assert np.array_equal(again.values, flipped.values)


def test_a_missing_convention_is_taken_as_cosmo_with_a_warning(path):
    write_iqu(path, numbers(3))
    with pytest.warns(UserWarning, match=r"map\.fits: no POLCCONV; polarisation is taken as COSMO"):
        assert np.array_equal(load(path).values, numbers(3))


def test_a_missing_convention_does_not_matter_to_intensity(path):
    """Warnings are errors in these tests."""
    write_iqu(path, numbers(3))
    assert load(path, fields=["I"]).stokes == "I"
    assert load(path, fields=["I", "Q"]).stokes == "IQ"


def test_the_catalog_states_a_missing_convention(path):
    write_iqu(path, numbers(3))
    assert np.array_equal(load(path, polcconv="IAU").values[2], -numbers(3)[2])
    write_iqu(path, numbers(3), POLCCONV="COSMO")
    with pytest.raises(DatasetError, match="polcconv is 'COSMO' in the file, but 'IAU' in the catalog entry"):
        load(path, polcconv="IAU")


def test_an_unknown_convention_is_an_error(path):
    write_iqu(path, numbers(3), POLCCONV="LEFT")
    with pytest.raises(DatasetError, match="POLCCONV 'LEFT': must be COSMO or IAU"):
        load(path)


# ---- Pixels that are no numbers ---------------------------------------------------------


def test_nan_is_an_error_that_counts_and_places_it(path):
    values = numbers(3)
    values[1, [40, 50]] = np.nan
    values[1, 60] = np.inf
    write_iqu(path, values, POLCCONV="COSMO")
    with pytest.raises(
        DatasetError,
        match=r"map\.fits: field Q: 3 pixels are NaN or infinite, the first is pixel 40 \(RING\)",
    ):
        load(path)
    marked = load(path, nan="unseen").values
    assert np.flatnonzero(is_unseen(marked[1])).tolist() == [40, 50, 60]


def test_the_place_of_nan_is_in_ring_order(path):
    values = numbers()[0]
    values[10] = np.nan
    write(path, {"I_STOKES": values}, IN_UK, ORDERING="NESTED")
    with pytest.raises(DatasetError, match=rf"the first is pixel {hp.nest2ring(NSIDE, 10)} \(RING\)"):
        load(path)


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e39])
def test_what_is_not_finite_in_single_precision_is_not_saved(path, value):
    values = numbers().astype(np.float64)
    values[0, 17] = value
    with pytest.raises(
        DatasetError, match=r"field I: 1 pixels are NaN or infinite, the first is pixel 17 .*UNSEEN"
    ):
        save(path, SkyMap(values, "uK_CMB"), nan="unseen")
    assert not path.exists()


@pytest.mark.parametrize("value", [UNSEEN, np.float32(UNSEEN), -1.6375e30 * (1 + 5e-6)])
def test_unseen_stays_unseen(path, value):
    values = numbers().astype(np.float64)
    values[0, 9] = value
    loaded = load(save(path, SkyMap(values, "uK_CMB"))).values
    assert loaded[0, 9] == np.float32(UNSEEN)
    assert hp.mask_bad(loaded[0]).sum() == 1


# ---- Columns ----------------------------------------------------------------------------


PLANCK = (
    "I_STOKES",
    "Q_STOKES",
    "U_STOKES",
    "HITS",
    "II_COV",
    "IQ_COV",
    "IU_COV",
    "QQ_COV",
    "QU_COV",
    "UU_COV",
)


@pytest.fixture
def planck_file(path):
    """Ten columns, as Planck's polarised frequency maps have them."""
    units = {name: "(K_CMB)^2" if name.endswith("COV") else "K_CMB" for name in PLANCK}
    columns = dict(zip(PLANCK, numbers(10), strict=True))
    return write(path, columns, units, POLCCONV="COSMO")


def test_stokes_fields_are_found_among_others(planck_file):
    sky_map = load(planck_file)
    assert (sky_map.fields, sky_map.unit) == (("I", "Q", "U"), "K_CMB")
    assert np.array_equal(sky_map.values, numbers(10)[:3])


@pytest.mark.parametrize(
    "fields", [[4, 7, 9], ["II_COV", "QQ_COV", "UU_COV"], ["ii_cov", "qq", "UU"], ("II", 7, "UU_COV")]
)
def test_columns_are_chosen_by_number_name_or_field(planck_file, fields):
    variances = load(planck_file, fields=fields)
    assert (variances.fields, variances.unit) == (("II", "QQ", "UU"), "K_CMB2")
    assert np.array_equal(variances.values, numbers(10)[[4, 7, 9]])


def test_one_column_may_stand_alone(planck_file):
    assert np.array_equal(load(planck_file, fields="U").values, numbers(10)[2:3])
    assert np.array_equal(load(planck_file, fields=2).values, numbers(10)[2:3])


@pytest.mark.parametrize("wanted", ["V", 10, -1])
def test_a_column_that_is_not_there_is_an_error(planck_file, wanted):
    with pytest.raises(
        DatasetError, match=rf"no field '?{wanted}'?; the file has the columns I_STOKES, Q_STOKES"
    ):
        load(planck_file, fields=[wanted])


def test_columns_that_are_not_clear_must_be_chosen(path):
    write(path, {"FIRST": numbers()[0], "SECOND": numbers()[0]})
    with pytest.raises(
        DatasetError, match="columns FIRST, SECOND: which to read is not clear; state `fields:`"
    ):
        load(path)


def test_only_the_chosen_column_is_looked_at(path):
    values = numbers(3)
    values[1] = np.nan
    write_iqu(path, values)
    assert np.array_equal(load(path, fields="I").values, values[:1])


def test_columns_may_be_named(path):
    save(path, SkyMap(numbers(), "uK"), column_names=["STOKES_I"])
    assert fits.getheader(path, 1)["TTYPE1"] == "STOKES_I"
    assert load(path).stokes == "I"
    with pytest.raises(DatasetError, match="column_names A, B: the map has 1 fields"):
        save(path, SkyMap(numbers(), "uK"), column_names=["A", "B"])


def test_fields_keep_their_names(path):
    sky_map = load(save(path, SkyMap(numbers(3), "(K_CMB)^2", ("II", "QU", "HITS"))))
    assert sky_map.fields == ("II", "QU", "HITS")
    assert np.array_equal(sky_map.values, numbers(3))


# ---- HDUs and damage ------------------------------------------------------------------------


def test_another_hdu_is_found_by_number_and_name(path):
    write(path, {"I_STOKES": numbers()[0]}, IN_UK, EXTNAME="FIRST")
    with fits.open(path, mode="append") as hdus:
        column = fits.Column(name="I_STOKES", format="E", array=2 * numbers()[0], unit="K")
        second = fits.BinTableHDU.from_columns([column], name="SECOND")
        second.header.update({"ORDERING": "RING", "NSIDE": NSIDE})
        hdus.append(second)
    assert np.array_equal(load(path, hdu=2).values, 2 * numbers())
    assert np.array_equal(load(path, hdu="SECOND").values, 2 * numbers())
    assert np.array_equal(load(path).values, numbers())


@pytest.mark.parametrize("hdu", [2, "SKY"])
def test_an_hdu_that_is_not_there_is_an_error(path, hdu):
    write(path, {"I_STOKES": numbers()[0]}, IN_UK)
    with pytest.raises(DatasetError, match=rf"map\.fits: the file has no HDU '?{hdu}'?"):
        load(path, hdu=hdu)


def test_an_hdu_without_a_table_is_an_error(path):
    write(path, {"I_STOKES": numbers()[0]}, IN_UK)
    with pytest.raises(DatasetError, match=r"HDU 'PRIMARY' is no binary table"):
        load(path, hdu=0)


@pytest.mark.parametrize("content", [b"", b"<html>404 Not Found</html>", b"\0" * 5000])
def test_what_is_no_fits_file_is_an_error(path, content):
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"map\.fits: no FITS file, or a damaged one"):
        load(path)


def test_a_file_cut_short_says_how_much_is_missing(path):
    save(path, SkyMap(numbers(3, 16), "uK_CMB"))
    whole = path.read_bytes()
    with fits.open(path) as hdus:
        end = hdus[1].fileinfo()["datLoc"] + 3 * 3072 * 4
    for length in (20000, end - 1):
        path.write_bytes(whole[:length])
        message = rf"cut short: it has {length} bytes, its table ends at {end}; make it again"
        with pytest.raises(DatasetError, match=message):
            load(path)
    path.write_bytes(whole[:end])  # only padding is gone
    assert np.array_equal(load(path).values, numbers(3, 16))


# ---- Cards ------------------------------------------------------------------------------------


def test_facts_travel_with_the_map(path, tmp_path):
    facts = {"SEED": 123456789012, "FWHM": 20.6, "LENSED": True, "METHOD": "needlet ILC"}
    sky_map = load(save(path, SkyMap(numbers(), "uK_CMB", header=facts)))
    assert sky_map.header == facts
    assert load(save(tmp_path / "again.fits", sky_map)).header == facts


def test_the_catalog_adds_facts_and_the_map_goes_before_it(path):
    sky_map = SkyMap(numbers(), "uK_CMB", header={"SEED": 1})
    assert load(save(path, sky_map, header={"SEED": 2, "SPLIT": "test"})).header == {
        "SEED": 1,
        "SPLIT": "test",
    }


@pytest.mark.parametrize("key", ["TOO_LONG_KEY", "seed", "NSIDE", "TUNIT1", "ORDERING", "COMMENT", ""])
def test_a_key_that_fits_has_not_or_that_is_taken_is_an_error(path, key):
    with pytest.raises(DatasetError, match=f"header key '{key}': must be up to 8 of A-Z"):
        save(path, SkyMap(numbers(), "uK_CMB", header={key: 1}))


@pytest.mark.parametrize("value", ["µK", "two\nlines", np.nan, np.inf, [1], None])
def test_a_value_that_fits_has_not_is_an_error(path, value):
    with pytest.raises(
        DatasetError, match=r"header key FACT: .* must be ASCII text, a finite number or a truth value"
    ):
        save(path, SkyMap(numbers(), "uK_CMB", header={"FACT": value}))


# ---- Options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option, message",
    [
        ({"ordering": "ring"}, "ordering 'ring': must be one of RING, NESTED"),
        ({"polcconv": "HEALPIX"}, "polcconv 'HEALPIX': must be one of COSMO, IAU"),
        ({"nan": "zero"}, "nan 'zero': must be one of error, unseen"),
        ({"nside": 100}, "nside 100: must be a power of two"),
        ({"unit": "parsec"}, "unit 'parsec': not a unit of a sky map"),
    ],
)
def test_an_option_is_checked_when_the_catalog_is_read(option, message):
    with pytest.raises(DatasetError, match=f"^sky/map.fits: {message}"):
        HealpixMapDataset(filepath="sky/map.fits", **option)


@pytest.mark.parametrize("option", [{"ordering": "NESTED"}, {"polcconv": "IAU"}, {"hdu": 2}])
def test_an_entry_that_describes_a_foreign_layout_is_not_saved_to(path, option):
    with pytest.raises(DatasetError, match="maps are saved in RING order, COSMO convention and HDU 1"):
        save(path, SkyMap(numbers(), "uK_CMB"), **option)


# ---- Pictures -------------------------------------------------------------------------------------


def picture_of(sky_map, path, **arguments):
    dataset = HealpixMapDataset(filepath=save(path, sky_map))
    return dataset.preview(**arguments)


def test_the_picture_of_a_fine_noisy_map_is_small(path):
    values = np.random.default_rng(0).normal(size=(1, 12 * 128**2))
    assert len(picture_of(SkyMap(values, "uK_CMB"), path)) < 200_000


def test_the_picture_shows_the_field_that_is_asked_for(path):
    sky_map = SkyMap(numbers(3), "uK_CMB")
    assert len({picture_of(sky_map, path, field=field) for field in range(3)}) == 3


def test_the_picture_has_the_north_on_top_the_centre_in_the_middle_and_the_east_left(path):
    """Hot spots at the pole, and at longitude 90 on the equator, on a cold sky."""
    image = {}
    for name, (longitude, latitude) in {"north": (0, 88), "east": (90, 0), "centre": (0, 0)}.items():
        values = np.zeros((1, 12 * 16**2))
        values[0, hp.query_disc(16, hp.ang2vec(longitude, latitude, lonlat=True), 0.3)] = 1.0
        png = base64.b64decode(picture_of(SkyMap(values, "uK_CMB"), path))
        pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)
        red = (pixels[..., 0] - pixels[..., 2])[: int(0.85 * len(pixels))]  # without the colour bar
        rows, columns = np.nonzero(red > 60)
        image[name] = rows.mean() / red.shape[0], columns.mean() / red.shape[1]
    assert image["north"][0] < image["centre"][0] - 0.3
    assert image["north"][1] == pytest.approx(0.5, abs=0.02)
    assert image["centre"][1] == pytest.approx(0.5, abs=0.02)
    assert image["east"][1] < image["centre"][1] - 0.15
    assert image["east"][0] == pytest.approx(image["centre"][0], abs=0.02)


def test_a_sky_without_observed_pixels_has_a_picture(path):
    assert picture_of(SkyMap(np.full((1, NPIX), UNSEEN), "uK_CMB"), path)


# ---- Real files -------------------------------------------------------------------------------------

W_BAND = "wmap7_nside32/wmap_band_iqumap_r9_7yr_W_v4_udgraded32.fits"
MASK = "wmap7_nside32/wmap_temperature_analysis_mask_r9_7yr_v4_udgraded32.fits"


def test_wmaps_band_map_needs_its_unit(shared_file):
    with pytest.raises(DatasetError, match=r"W_v4_udgraded32\.fits: the file does not say its unit"):
        load(shared_file(W_BAND), polcconv="COSMO")


def test_wmaps_band_map_is_read(shared_file):
    sky_map = load(shared_file(W_BAND), unit="mK", polcconv="COSMO", nside=32)
    assert (sky_map.unit, sky_map.stokes, sky_map.values.shape) == ("mK_CMB", "IQU", (3, 12288))
    assert sky_map.values[0].mean(dtype=float) == pytest.approx(0.07097, abs=5e-6)  # five digits are given
    assert sky_map.values[0].std(dtype=float) == pytest.approx(0.24558, abs=5e-6)  # about the mean
    assert np.array_equal(sky_map.values, hp.read_map(shared_file(W_BAND), field=(0, 1, 2)))


def test_wmaps_mask_is_read(shared_file):
    mask = load(shared_file(MASK), fields=0, unit="1")
    assert mask.unit == ""
    assert mask.values.mean() == pytest.approx(0.6187, abs=5e-5)


def test_pysms_template_says_its_unit(shared_file):
    template = load(shared_file("pysm_nside64/pysm_2/synch_t_new.fits"))
    assert (template.unit, template.nside) == ("uK_RJ", 64)


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        (None, ("I",)),
        (["I_STOKES", "Q_STOKES", "U_STOKES"], ("I",)),
        (["II_COV", "IQ_COV", "QQ_COV"], ("II",)),
        ([0, 1], ("I", "Q")),
    ],
)
def test_fields_that_are_not_wanted_are_not_read(tmp_path, fields, kept):
    columns = {**stokes_columns(numbers(3)), "II_COV": numbers()[0], "IQ_COV": numbers()[0]}
    columns["QQ_COV"] = numbers()[0]
    units = {**IN_UK, **dict.fromkeys(("II_COV", "IQ_COV", "QQ_COV"), "uK_CMB^2")}
    path = write(tmp_path / "map.fits", columns, units, POLCCONV="COSMO")
    whole = HealpixMapDataset(filepath=path, fields=fields)
    part = whole.restricted(stokes="I")
    assert part.load().fields == kept
    np.testing.assert_array_equal(part.load().values, whole.load().values[: len(kept)])
    assert whole.restricted(stokes="IQU").load().fields == whole.load().fields
    with pytest.raises(DatasetError, match="read-only"):
        part.save(part.load())
