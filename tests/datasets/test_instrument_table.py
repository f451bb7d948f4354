"""Tables of channels, ours and those of others."""

from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.table import QTable, Table
from kedro.io.core import DatasetError

from cmbml.datasets import InstrumentTableDataset
from cmbml.science.bandpasses import Bandpass
from cmbml.science.instrument import Channel, Instrument
from cmbml.science.units import unit_factor

PLANCK_LIKE = Path(__file__).resolve().parents[2] / "conf" / "base" / "instruments" / "planck_like.ecsv"

IPAC = """|band |center_frequency|fwhm  |
|char |double          |double|
|     |GHz             |arcmin|
|null |null            |null  |
 857   866.8            20.6
 030   28.4             75.0
 545   555.2            21.5
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.ecsv"


def load(path, **options):
    return InstrumentTableDataset(filepath=path, **options).load()


def write(path, **columns):
    """Write a foreign table: {column: values, or values with a unit}."""
    complete = {
        "band": ["30", "545"],
        "center_frequency": [28.4, 555.2] * u.GHz,
        "fwhm": [75, 21.5] * u.arcmin,
    }
    kept = {name: values for name, values in (complete | columns).items() if values is not None}
    QTable(kept).write(path, format="ascii.ecsv", overwrite=True)
    return path


# ---- The table of conf ----------------------------------------------------------------------


def test_our_table_holds_the_published_channels():
    instrument = load(PLANCK_LIKE)
    assert {channel.name: (channel.frequency_ghz, channel.fwhm_arcmin) for channel in instrument} == {
        "30": (28.4, 75.0),
        "44": (44.1, 65.0),
        "70": (70.4, 55.0),
        "100": (100.89, 43.0),
        "143": (142.876, 32.4),
        "217": (221.156, 22.3),
        "353": (357.5, 22.0),
        "545": (555.2, 21.5),
        "857": (866.8, 20.6),
    }
    assert [channel.stokes for channel in instrument] == ["IQU"] * 7 + ["I"] * 2


def test_our_tables_noise_is_plancks():
    """Planck 2018 results I, Table 4: uK_CMB deg, and kJy/sr deg at 545 and 857 GHz."""
    instrument = load(PLANCK_LIKE)
    temperature = [2.5, 2.7, 3.5, 1.29, 0.55, 0.78, 2.56]
    temperature += [
        level * unit_factor("kJy/sr", "uK_CMB", frequency_ghz=instrument[name].frequency_ghz)
        for name, level in {"545": 0.78, "857": 0.72}.items()
    ]
    polarisation = [3.5, 4.0, 5.0, 1.96, 1.17, 1.75, 7.31]
    levels = [channel.noise_level("I") for channel in instrument]
    assert levels == pytest.approx(60 * np.array(temperature), rel=1e-12)
    assert [channel.noise_level("Q") for channel in instrument if channel.stokes == "IQU"] == pytest.approx(
        60 * np.array(polarisation), rel=1e-12
    )


# ---- Formats ----------------------------------------------------------------------------------


def test_a_published_ipac_table_is_read(tmp_path):
    path = tmp_path / "deltabandpass.tbl"
    path.write_text(IPAC)
    instrument = load(path, intensity_only=[545, "857"])
    assert instrument.names == ("30", "545", "857")
    assert [channel.stokes for channel in instrument] == ["IQU", "I", "I"]
    coarsest = instrument["857"]
    assert (coarsest.frequency_ghz, coarsest.fwhm_arcmin) == (866.8, 20.6)
    assert np.isnan(instrument["857"].noise_temperature_uk_arcmin)


@pytest.mark.parametrize(
    "suffix, first", [("ecsv", "# %ECSV 1.0"), ("tbl", "\\ noise"), ("ipac", "\\ noise")]
)
def test_the_suffix_tells_the_format(tmp_path, suffix, first):
    path = tmp_path / f"table.{suffix}"
    InstrumentTableDataset(filepath=path).save(load(PLANCK_LIKE))
    assert path.read_text().startswith(first)


def test_astropy_reads_our_table(path):
    InstrumentTableDataset(filepath=path).save(load(PLANCK_LIKE))
    table = QTable.read(path)
    assert table["center_frequency"].unit == u.GHz
    assert table["noise_temperature"].unit == u.uK * u.arcmin
    assert list(table["band"]) == [30, 44, 70, 100, 143, 217, 353, 545, 857]


def test_another_suffix_needs_a_format(tmp_path):
    path = tmp_path / "table.txt"
    with pytest.raises(DatasetError, match=r"table\.txt: not saved: the suffix tells no format"):
        InstrumentTableDataset(filepath=path).save(load(PLANCK_LIKE))
    InstrumentTableDataset(filepath=path, format="ipac").save(load(PLANCK_LIKE))
    assert load(path, format="ipac").names == load(PLANCK_LIKE).names
    with pytest.raises(DatasetError, match=r"table\.txt: the suffix tells no format"):
        load(path)


def test_an_unknown_format_is_an_error():
    with pytest.raises(DatasetError, match=r"x\.ecsv: format 'csv': must be ecsv or ipac"):
        InstrumentTableDataset(filepath="x.ecsv", format="csv")


@pytest.mark.parametrize("text", ["", "# %ECSV 1.0\n# ---\n", "band,fwhm\n30,1\n"])
def test_a_damaged_table_is_an_error_that_names_it(path, text):
    path.write_text(text)
    with pytest.raises(DatasetError, match=r"table\.ecsv"):
        load(path)


def test_a_last_row_that_is_cut_is_an_error(path):
    path.write_text(PLANCK_LIKE.read_text().rstrip().rsplit(" ", 2)[0])
    with pytest.raises(DatasetError, match=r"table\.ecsv: .*columns"):
        load(path)


# ---- Columns and units ----------------------------------------------------------------------------


def test_other_units_are_converted(path):
    write(
        path,
        center_frequency=[2.84e10, 5.552e11] * u.Hz,
        fwhm=[1.25, 0.5] * u.deg,
        noise_temperature=[2.5e-6, 1e-6] * u.K * u.deg,
    )
    channel = load(path, intensity_only=[])["30"]
    assert channel.frequency_ghz == pytest.approx(28.4)
    assert channel.fwhm_arcmin == pytest.approx(75.0)
    assert channel.noise_level("I") == pytest.approx(150.0)


@pytest.mark.parametrize("column", ["center_frequency", "fwhm", "noise_temperature", "noise_polarisation"])
def test_a_number_without_unit_is_not_taken(path, column):
    write(path, **{column: [1.0, 2.0]})
    with pytest.raises(DatasetError, match=f"column {column} has no unit; give it one that converts to"):
        load(path, intensity_only=[])


def test_a_unit_of_something_else_is_an_error(path):
    write(path, fwhm=[1.0, 2.0] * u.GHz)
    with pytest.raises(DatasetError, match="column fwhm: unit GHz does not convert to arcmin"):
        load(path, intensity_only=[])


@pytest.mark.parametrize("column", ["band", "center_frequency", "fwhm"])
def test_a_missing_column_is_an_error(path, column):
    write(path, **{column: None})
    with pytest.raises(DatasetError, match=f"column {column} is missing; the table has "):
        load(path, intensity_only=[])


def test_an_empty_cell_is_an_error_where_a_number_is_needed(path):
    table = Table({"band": [30, 44]}, masked=True)
    table["center_frequency"] = np.ma.array([28.4, 44.1], mask=[False, True])
    table["center_frequency"].unit = u.GHz
    table["fwhm"] = [1.0, 2.0] * u.arcmin
    table.write(path, format="ascii.ecsv")
    with pytest.raises(DatasetError, match=r"column center_frequency: row 1 \(from 0\) is empty"):
        load(path, intensity_only=[])


def test_a_band_is_a_whole_number_of_ghz(path):
    write(path, band=["30", "K"])
    with pytest.raises(DatasetError, match="band 'K': must be the nominal frequency in whole GHz"):
        load(path, intensity_only=[])


def test_an_impossible_channel_names_itself_and_the_file(path):
    write(path, fwhm=[-1.0, 2.0] * u.arcmin)
    with pytest.raises(
        DatasetError, match=r"table\.ecsv: channel 30: fwhm -1\.0 arcmin must not be negative"
    ):
        load(path, intensity_only=[])


def test_a_table_without_noise_has_noise_that_is_not_known(path):
    channel = load(write(path), intensity_only=[])["30"]
    with pytest.raises(ValueError, match="channel 30: noise level of I is not known"):
        channel.noise_level("I")


# ---- Polarisation -----------------------------------------------------------------------------------


def test_which_channels_have_polarisation_is_not_guessed(path):
    with pytest.raises(DatasetError, match="the table has no column stokes; state `intensity_only:`"):
        load(write(path))
    assert [channel.stokes for channel in load(path, intensity_only=[])] == ["IQU", "IQU"]


def test_a_channel_that_is_not_there_cannot_lack_polarisation(path):
    with pytest.raises(DatasetError, match="intensity_only 857: not in the table, which has 30, 545"):
        load(write(path), intensity_only=[857])


def test_table_and_catalog_must_agree_on_polarisation(path):
    write(path, stokes=["IQU", "I"])
    assert load(path, intensity_only=["545"])["545"].stokes == "I"
    with pytest.raises(
        DatasetError, match=r"stokes is \('IQU', 'I'\) in the file, but \('I', 'IQU'\) in the catalog"
    ):
        load(path, intensity_only=[30])


# ---- Bandpasses ----------------------------------------------------------------------------------------


BAND = Bandpass((25.0, 1 / 0.035, 32.0), (1e-7, 1 / 3, 0.0))


def banded() -> Instrument:
    """The same number of frequencies as channels, and a channel without."""
    channels = [Channel(name, ghz, 1.0, "I", bandpass=BAND) for name, ghz in (("28", 28.0), ("30", 30.0))]
    return Instrument((*channels, Channel("545", 545.0, 1.0, "I")))


def test_bandpasses_are_saved_to_the_last_digit(path):
    InstrumentTableDataset(filepath=path).save(banded())
    assert load(path) == banded()


def test_a_table_of_bandpasses_may_be_in_another_unit(path):
    InstrumentTableDataset(filepath=path).save(banded())
    path.write_text(
        path.read_text().replace("bandpass_frequency, unit: GHz", "bandpass_frequency, unit: 1e9 Hz")
    )
    assert load(path)["30"].bandpass.frequencies_ghz == pytest.approx(BAND.frequencies_ghz)


def test_a_format_without_room_for_bandpasses_refuses_them(tmp_path):
    with pytest.raises(
        DatasetError, match="format ipac: has no place for bandpasses; save the table as ecsv"
    ):
        InstrumentTableDataset(filepath=tmp_path / "table.tbl").save(banded())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "bandpass_weight",
            "response",
            "column bandpass_weight is missing, but there is a column bandpass_freq",
        ),
        ("bandpass_frequency, unit: GHz", "bandpass_frequency", "column bandpass_frequency has no unit"),
        ("25.0,", "35.0,", "bandpass from 35 to 32 GHz: frequencies must be above 0 and ascending"),
    ],
)
def test_damaged_bandpasses_are_errors(path, old, new, message):
    InstrumentTableDataset(filepath=path).save(banded())
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=message):
        load(path)


# ---- Saving --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["ecsv", "tbl"])
def test_noise_that_is_not_known_stays_so(tmp_path, suffix):
    path = tmp_path / f"table.{suffix}"
    InstrumentTableDataset(filepath=path).save(Instrument((Channel("30", 28.4, 1 / 3, "I", np.nan, np.nan),)))
    channel = load(path)["30"]
    assert channel.fwhm_arcmin == 1 / 3
    assert np.isnan([channel.noise_temperature_uk_arcmin, channel.noise_polarisation_uk_arcmin]).all()


@pytest.mark.parametrize("suffix", ["ecsv", "tbl"])
def test_noise_stated_as_brightness_stays_so(tmp_path, suffix):
    path = tmp_path / f"table.{suffix}"
    bright = Channel("857", 866.8, 20.6, "I", np.nan, np.nan, noise_brightness_kjy_sr_arcmin=43.2)
    InstrumentTableDataset(filepath=path).save(Instrument((Channel("30", 28.4, 30.0, "I", 1.0), bright)))
    assert load(path)["857"].noise_brightness_kjy_sr_arcmin == pytest.approx(43.2, rel=1e-12)
    assert np.isnan(load(path)["30"].noise_brightness_kjy_sr_arcmin)


def test_the_preview_lists_the_channels():
    preview = InstrumentTableDataset(filepath=PLANCK_LIKE).preview()
    assert preview["columns"][:3] == ["band", "center_frequency", "fwhm"]
    assert preview["data"][0] == ["30", 28.4, 75.0, 150.0, 210.0, "", "IQU"]
    assert preview["data"][-1][-2:] == [pytest.approx(43.2), "I"]
    assert preview["index"] == list(range(9))
