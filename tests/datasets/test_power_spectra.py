"""Spectra as text and arrays, ours and those of CAMB and Planck."""

import io

import numpy as np
import pytest
from kedro.io.core import DatasetError

from cmbml.datasets import PowerSpectraDataset
from cmbml.science.spectra import PowerSpectra

FOREIGN = {"scaling": "dl", "lensed": True, "unit": "uK_CMB2"}
PLANCK = """#    L    TT             TE             EE             BB             PP
     2   0.101673E+04   0.261753E+01   0.308827E-01   0.181847E-05   0.501352E-07
     3   0.963727E+03   0.293806E+01   0.396903E-01   0.363619E-05   0.611641E-07
     4   0.912608E+03   0.275866E+01   0.344962E-01   0.606250E-05   0.698142E-07
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cl.txt"


def load(path, **options):
    return PowerSpectraDataset(filepath=path, **options).load()


def save(path, spectra, **options):
    PowerSpectraDataset(filepath=path, **options).save(spectra)
    return path


def write(path, text):
    path.write_text(text)
    return path


def awkward(lmax=30):
    """Numbers whose decimal form is long, over many orders of magnitude."""
    generator = np.random.default_rng(1)
    return generator.normal(size=lmax + 1) * 10.0 ** generator.integers(-300, 300, lmax + 1)


# ---- Our text ---------------------------------------------------------------------------


def test_numbers_come_back_to_the_last_bit(path):
    values = {"TT": awkward(), "TE": -awkward() / 3}
    loaded = load(save(path, PowerSpectra(values, "cl", lensed=False, unit="K_CMB2")))
    assert all(np.array_equal(loaded.values[name], values[name]) for name in values)
    assert all(loaded.values[name].dtype == np.float64 for name in values)


@pytest.mark.parametrize("scaling", ["cl", "dl"])
@pytest.mark.parametrize("lensed", [True, False])
@pytest.mark.parametrize("unit", ["uK_CMB2", "K_CMB2", ""])
def test_a_file_of_ours_says_what_it_holds(path, scaling, lensed, unit):
    loaded = load(save(path, PowerSpectra({"TT": np.ones(4)}, scaling, lensed, unit)))
    assert (loaded.scaling, loaded.lensed, loaded.unit, loaded.fields) == (scaling, lensed, unit, "T")


def test_numpy_reads_our_text(path):
    save(path, PowerSpectra({"TT": awkward(5), "PP": awkward(5)}, "dl", lensed=False))
    table = np.loadtxt(path)
    assert np.array_equal(table, np.column_stack([np.arange(6), awkward(5), awkward(5)]))


def test_the_header_names_the_columns_first(path):
    save(path, PowerSpectra({"TT": np.ones(3), "PT": np.ones(3)}, "dl", lensed=False))
    first, second = path.read_text().splitlines()[:2]
    assert first.split() == ["#", "L", "TT", "PT"]
    assert second == "# scaling=dl lensed=false unit=uK_CMB2 lmax=2"


def test_rows_that_are_gone_are_missed(path):
    save(path, PowerSpectra({"TT": np.ones(10)}, "cl", lensed=False))
    write(path, "".join(path.read_text().splitlines(keepends=True)[:-3]))
    with pytest.raises(DatasetError, match=r"cl\.txt: rows end at l = 6, the header says lmax=9: cut short"):
        load(path)


def test_file_and_catalog_must_agree(path):
    save(path, PowerSpectra({"TT": np.ones(4)}, "cl", lensed=False))
    assert load(path, scaling="cl", lensed=False, unit="uK_CMB2", columns=["L", "TT"]).lmax == 3
    for option, message in {
        "scaling": ("dl", "scaling is 'cl' in the file, but 'dl' in the catalog entry"),
        "lensed": (True, "lensed is False in the file, but True in the catalog entry"),
        "unit": ("K_CMB2", "unit is 'uK_CMB2' in the file, but 'K_CMB2' in the catalog entry"),
        "columns": (["L", "EE"], r"columns is \('L', 'TT'\) in the file, but \('L', 'EE'\)"),
    }.items():
        value, text = message
        with pytest.raises(DatasetError, match=text):
            load(path, **{option: value})
        with pytest.raises(DatasetError, match=r"not saved: .* in the catalog entry"):
            save(path, PowerSpectra({"TT": np.ones(4)}, "cl", lensed=False), **{option: value})


def test_a_header_that_was_tampered_with_is_an_error(path):
    write(path, "# L TT\n# scaling=bl lensed=true unit=uK_CMB2\n0 0\n1 0\n")
    with pytest.raises(DatasetError, match="scaling 'bl' in the header: must be cl or dl"):
        load(path)
    write(path, "# L TT\n# scaling=cl lensed=perhaps unit=uK_CMB2\n0 0\n1 0\n")
    with pytest.raises(DatasetError, match="the file does not say its lensed"):
        load(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_not_saved(path, value):
    with pytest.raises(DatasetError, match=r"spectrum EE: not finite in row 2 \(from 0\)"):
        save(path, PowerSpectra({"TT": np.ones(3), "EE": np.array([0, 0, value])}, "cl", lensed=False))
    assert not path.exists()


# ---- Foreign text -----------------------------------------------------------------------


def test_columns_are_found_by_name_whatever_their_order(path):
    spectra = load(write(path, PLANCK), **FOREIGN)
    assert spectra.lmax == 4
    assert spectra.fields == "TEBP"
    assert spectra.values["TT"].tolist() == [0, 0, 1016.73, 963.727, 912.608]
    assert spectra.values["TE"][2] == 2.61753
    assert spectra.values["EE"][2] == 0.0308827
    assert spectra.values["PP"][4] == 0.698142e-07


@pytest.mark.parametrize("left_out", ["scaling", "lensed", "unit"])
def test_what_a_foreign_file_does_not_say_is_not_guessed(path, left_out):
    options = {key: value for key, value in FOREIGN.items() if key != left_out}
    with pytest.raises(DatasetError, match=f"the file does not say its {left_out}; state `{left_out}:`"):
        load(write(path, PLANCK), **options)


def test_a_file_without_header_needs_its_columns_stated(path):
    write(path, "\n".join(PLANCK.splitlines()[1:]) + "\n")
    with pytest.raises(DatasetError, match="the file does not say its columns; state `columns:`"):
        load(path, **FOREIGN)
    spectra = load(path, columns=["L", "TT", "TE", "EE", "BB", "PP"], **FOREIGN)
    assert spectra.values["EE"][2] == 0.0308827


def test_a_header_in_words_is_no_header(path):
    write(path, "# multipole, temperature\n2 1.0\n3 2.0\n")
    assert load(path, columns=["l", "TT"], **FOREIGN).values["TT"].tolist() == [0, 0, 1.0, 2.0]


def test_a_file_from_l_0_is_read_from_l_0(path):
    assert load(write(path, "# L TT\n0 5\n1 6\n2 7\n"), **FOREIGN).values["TT"].tolist() == [5, 6, 7]


@pytest.mark.parametrize("camb, ours", [("TP", "PT"), ("EP", "PE"), ("ET", "TE")])
def test_the_letters_of_a_cross_spectrum_get_one_order(path, camb, ours):
    assert list(load(write(path, f"# L TT {camb}\n0 1 2\n1 1 2\n"), **FOREIGN).values) == ["TT", ours]


DAMAGED = {
    "gap": ("# L TT\n2 1\n3 1\n5 1\n", "l goes from 3 to 5: every multipole needs one row"),
    "twice": ("# L TT\n2 1\n2 1\n", "l goes from 2 to 2: every multipole needs one row"),
    "fraction": ("# L TT\n2 1\n2.5 1\n", r"l = 2\.5 is no whole number"),
    "late start": ("# L TT\n5 1\n6 1\n", "rows begin at l = 5, must begin at 0, 1 or 2"),
    "negative start": ("# L TT\n-1 1\n0 1\n", "rows begin at l = -1, must begin at 0, 1 or 2"),
    "nan": ("# L TT EE\n2 1 1\n3 1 nan\n", r"spectrum EE: not finite in row 1 \(from 0\)"),
    "too many numbers": ("# L TT\n2 1\n3 1 4\n", r"line 3 has 3 numbers, expected 2 \(L, TT\)"),
    "last row cut": ("# L TT EE\n2 1 1\n3 1\n", r"line 3 has 2 numbers, expected 3 \(L, TT, EE\)"),
    "last number cut": ("# L TT\n2 1.5\n3 1.", "the last row has no line end: the file is cut short"),
    "no rows": ("# L TT\n", "the file has no rows"),
    "empty": ("", "the last row has no line end"),
    "words": ("# L TT\n2 one\n", "could not convert string to float: 'one'"),
    "twice the name": ("# L TT TT\n2 1 1\n", "columns L, TT, TT: must be L first"),
}


@pytest.mark.parametrize("text, message", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_is_an_error_that_says_where(path, text, message):
    with pytest.raises(DatasetError, match=rf"cl\.txt: {message}"):
        load(write(path, text), **FOREIGN)


def test_a_text_file_has_a_column_of_multipoles(path):
    with pytest.raises(DatasetError, match="columns TT, EE: the first column of a text file must be L"):
        load(write(path, "1 2\n"), columns=["TT", "EE"], **FOREIGN)


def test_a_file_that_is_no_text_is_an_error(path):
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"cl\.txt: 'utf-8' codec can't decode"):
        load(path, **FOREIGN)


@pytest.mark.parametrize(
    "option, message",
    [
        ({"scaling": "Dl"}, "scaling 'Dl': must be 'cl' or 'dl'"),
        ({"lensed": "yes"}, "lensed 'yes': must be true or false"),
        ({"unit": "uK_CMB"}, "unit 'uK_CMB': spectra have the square of a map's unit"),
        ({"unit": "bananas"}, "unit 'bananas': not a unit of a sky map"),
        ({"columns": ["L", "XX"]}, "columns L, XX: must be L first, and then different spectra"),
        ({"columns": ["TT", "L"]}, "columns TT, L: must be L first, and then different spectra"),
    ],
)
def test_an_option_is_checked_when_the_catalog_is_read(option, message):
    with pytest.raises(DatasetError, match=f"^cl.txt: {message}"):
        PowerSpectraDataset(filepath="cl.txt", **option)


# ---- Arrays -----------------------------------------------------------------------------

STATED = {"columns": ["TT", "EE"], **FOREIGN}


def test_an_array_is_what_numpy_loads(tmp_path):
    path = save(
        tmp_path / "cl.npy",
        PowerSpectra({"TT": awkward(), "EE": awkward()[::-1]}, "dl", lensed=True),
        **STATED,
    )
    assert np.array_equal(np.load(path), [awkward(), awkward()[::-1]])
    assert np.array_equal(load(path, **STATED).values["EE"], awkward()[::-1])


def test_one_spectrum_may_be_a_vector(tmp_path):
    np.save(tmp_path / "ps_real.npy", np.arange(7.0))
    spectra = load(tmp_path / "ps_real.npy", columns=["TT"], **FOREIGN)
    assert spectra.lmax == 6
    assert spectra.dl("TT").tolist() == list(range(7))


@pytest.mark.parametrize("left_out", STATED)
def test_an_array_says_nothing_so_the_catalog_has_to(tmp_path, left_out):
    options = {key: value for key, value in STATED.items() if key != left_out}
    with pytest.raises(DatasetError, match=rf"a \.npy file cannot say what it holds; state `{left_out}:`"):
        save(
            tmp_path / "cl.npy",
            PowerSpectra({"TT": np.ones(3), "EE": np.ones(3)}, "dl", lensed=True),
            **options,
        )
    np.save(tmp_path / "cl.npy", np.ones((2, 3)))
    with pytest.raises(DatasetError, match=f"the file does not say its {left_out}; state `{left_out}:`"):
        load(tmp_path / "cl.npy", **options)


@pytest.mark.parametrize("shape", [(3, 4), (2, 4, 1), (4,)])
def test_an_array_has_a_row_per_spectrum(tmp_path, shape):
    np.save(tmp_path / "cl.npy", np.ones(shape))
    with pytest.raises(
        DatasetError, match=r"array of shape \(.*\) does not hold the spectra TT, EE, one per row"
    ):
        load(tmp_path / "cl.npy", **STATED)


def test_an_array_is_finite(tmp_path):
    np.save(tmp_path / "cl.npy", np.full((2, 3), np.nan))
    with pytest.raises(DatasetError, match=r"spectrum TT: not finite in row 0"):
        load(tmp_path / "cl.npy", **STATED)


def test_an_array_of_objects_is_not_unpickled(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}]), allow_pickle=True)
    (tmp_path / "cl.npy").write_bytes(buffer.getvalue())
    with pytest.raises(DatasetError, match="Object arrays cannot be loaded when allow_pickle=False"):
        load(tmp_path / "cl.npy", **STATED)


# ---- Real files ---------------------------------------------------------------------------


def test_cambs_own_text_is_read(shared_file):
    spectra = load(shared_file("reference/cmbml/camb_spectrum_first50rows.txt"), **FOREIGN)
    assert spectra.lmax == 49
    assert list(spectra.values) == ["TT", "EE", "BB", "TE", "PP", "PT", "PE"]
    assert spectra.values["TT"][2] == 1004.4681
    assert spectra.values["PE"][49] == -1.4461140e-06
    assert spectra.cl("TT")[2] == pytest.approx(1004.4681 * 2 * np.pi / 6)


def test_pysms_spectra_are_read(shared_file):
    options = {**FOREIGN, "lensed": False}
    spectra = load(shared_file("pysm_nside64/pysm_2/camb_lenspotentialCls.dat"), **options)
    assert spectra.lmax == 2200
    assert list(spectra.values) == ["TT", "EE", "BB", "TE", "PP", "PT", "PE"]
    assert spectra.values["PT"][2] == 0.32326e-02
    assert not spectra.values["TT"][:2].any()
    assert spectra.require_unlensed() is spectra
