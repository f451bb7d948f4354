"""Bandpasses in our table, and in small files of Planck's format."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from kedro.io.core import DatasetError

from cmbml.datasets import BandpassTableDataset, InstrumentTableDataset
from cmbml.science.bandpasses import Bandpass, band_average, brightness_response
from cmbml.science.units import unit_factor

INSTRUMENTS = Path(__file__).resolve().parents[2] / "conf" / "base" / "instruments"
GHZ_PER_WAVENUMBER = 29.9792458  # the speed of light in cm/ns

ECSV = """# %ECSV 1.0
# ---
# datatype:
# - {name: band, datatype: int64}
# - {name: frequency, unit: GHz, datatype: float64}
# - {name: weight, datatype: float64}
# meta: !!omap
# - response: Jy/sr
# schema: astropy-2.0
band frequency weight
143 160.0 0.5
143 120.0 1.0
143 140.0 2.0
30 25.0 1.0
30 30.0 1.0
"""


def load(path, **options):
    return BandpassTableDataset(filepath=path, **options).load()


def write(folder, text=ECSV, name="bands.ecsv"):
    path = folder / name
    path.write_text(text)
    return path


def write_hfi(folder, **bands):
    """An instrument model as HFI has it: {extension: (wavenumbers in 1/cm, transmission)}."""
    return _write_model(folder / "HFI_RIMO_R3.00.fits", "cm^-1", bands, error=True)


def write_lfi(folder, **bands):
    """An instrument model as LFI has it: {extension: (frequencies in GHz, transmission)}."""
    return _write_model(folder / "LFI_RIMO_R3.31.fits", "GHz", bands, error=False)


def _write_model(path, unit, bands, *, error):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 2)), name="CORRELATION")]
    for name, (place, transmission) in bands.items():
        columns = [
            fits.Column("WAVENUMBER", "D", unit, array=np.asarray(place, float)),
            fits.Column("TRANSMISSION", "E", array=np.asarray(transmission, float)),
        ]
        if error:
            columns.append(fits.Column("ERROR", "E", array=np.zeros(len(place))))
        hdus.append(fits.BinTableHDU.from_columns(columns, name=name))
    fits.HDUList(hdus).writeto(path)
    return path


# ---- Our table ------------------------------------------------------------------------------


def test_rows_become_bandpasses_in_order_of_frequency(tmp_path):
    bands = load(write(tmp_path))
    assert bands == {
        "30": Bandpass((25.0, 30.0), (1.0, 1.0)),
        "143": Bandpass((120.0, 140.0, 160.0), (1.0, 2.0, 0.5)),
    }
    assert list(bands) == ["30", "143"]


def test_frequencies_may_be_in_another_unit(tmp_path):
    hertz = ECSV.replace("unit: GHz", "unit: MHz").replace(".0 ", "000.0 ")
    assert load(write(tmp_path, hertz)) == load(write(tmp_path))


def test_the_table_of_conf_has_top_hats_around_the_centres_of_the_instrument():
    bands = load(INSTRUMENTS / "planck_like_bandpasses.ecsv")
    instrument = InstrumentTableDataset(filepath=INSTRUMENTS / "planck_like.ecsv").load()
    assert tuple(bands) == instrument.names
    for channel in instrument.with_bandpasses(bands):
        low, *_, high = channel.bandpass.frequencies_ghz
        assert (low + high) / 2 == pytest.approx(channel.frequency_ghz, rel=1e-6)
        expected = 0.20 if channel.nominal_ghz < 100 else 0.33
        assert (high - low) / channel.frequency_ghz == pytest.approx(expected, rel=1e-5)
        assert set(channel.bandpass.weights) == {1.0}


@pytest.mark.parametrize(("name", "published"), [("545", 58.04), ("857", 2.27)])
def test_noise_stated_as_brightness_is_calibrated_as_the_sky_of_its_channel_is(name, published):
    bands = load(INSTRUMENTS / "planck_like_bandpasses.ecsv")
    instrument = InstrumentTableDataset(filepath=INSTRUMENTS / "planck_like.ecsv").load()
    delta, wide = instrument[name], instrument.with_bandpasses(bands)[name]

    def ratio(channel, index):
        """Noise over an emission that is 1 kJy/sr at the centre frequency, in uK_CMB both."""

        def sed(ghz):
            return (ghz / channel.frequency_ghz) ** index * unit_factor("kJy/sr", "uK_RJ", frequency_ghz=ghz)

        return channel.noise_level("I") / band_average(channel, sed)

    # the spectrum for which brightness is quoted, nu I_nu = const, is as far above the noise in every band
    assert ratio(wide, -1) == pytest.approx(ratio(delta, -1), rel=1e-12)
    assert ratio(delta, -1) == pytest.approx({"545": 0.78, "857": 0.72}[name] * 60, rel=1e-12)
    # Planck's own response, MJy/sr per K_CMB (2013 results IX): its bands are no top-hats
    assert brightness_response(wide) == pytest.approx(published, rel=0.1)
    assert brightness_response(delta) < 0.9 * published


@pytest.mark.parametrize("sed", [lambda ghz: ghz**-3.1, lambda ghz: ghz**2.54 / np.expm1(0.04799 * ghz / 20)])
def test_the_table_of_conf_is_fine_enough(sed):
    bands = load(INSTRUMENTS / "planck_like_bandpasses.ecsv")
    instrument = InstrumentTableDataset(filepath=INSTRUMENTS / "planck_like.ecsv").load()
    fine = {}
    for name, band in bands.items():
        grid = np.linspace(band.frequencies_ghz[0], band.frequencies_ghz[-1], 401)
        fine[name] = Bandpass(tuple(grid), (1.0,) * 401)
    coarse = [band_average(channel, sed) for channel in instrument.with_bandpasses(bands)]
    exact = [band_average(channel, sed) for channel in instrument.with_bandpasses(fine)]
    np.testing.assert_allclose(coarse, exact, rtol=1.1e-3)


def test_what_is_saved_is_loaded(tmp_path):
    bands = {
        "44": Bandpass((1 / 3, 44.0, 50.0), (1e-7, 0.0, 2 / 3)),
        "857": Bandpass((700.0, 900.0), (1.0, 0.1)),
    }
    dataset = BandpassTableDataset(filepath=tmp_path / "saved.ecsv")
    dataset.save(bands)
    assert dataset.load() == bands


def test_the_preview_lists_the_bands(tmp_path):
    preview = BandpassTableDataset(filepath=write(tmp_path)).preview()
    assert preview["columns"] == ["band", "lowest_ghz", "highest_ghz", "frequencies"]
    assert preview["data"] == [[30, 25.0, 30.0, 2], [143, 120.0, 160.0, 3]]


def test_only_bandpasses_are_saved(tmp_path):
    with pytest.raises(
        DatasetError, match="saved.ecsv: not saved: a dict cannot be saved; give {channel: Bandpass}"
    ):
        BandpassTableDataset(filepath=tmp_path / "saved.ecsv").save({"44": 1.0})


# ---- Planck's instrument models ----------------------------------------------------------------


def test_hfis_model_is_read_by_wavenumber(tmp_path):
    wavenumbers = np.array([0.0, 4.0, 4.5, 5.0, 9.0])
    path = write_hfi(tmp_path, BANDPASS_F143=(wavenumbers, [0.0, 0.2, 1.0, 0.6, -1e-5]))
    band = load(path)["143"]
    np.testing.assert_allclose(band.frequencies_ghz, wavenumbers[1:4] * GHZ_PER_WAVENUMBER, rtol=1e-12)
    np.testing.assert_allclose(band.weights, [0.2, 1.0, 0.6], rtol=1e-6)


def test_lfis_model_responds_to_brightness_temperature(tmp_path):
    path = write_lfi(tmp_path, BANDPASS_030=([25.0, 30.0, 35.0], [1.0, 2.0, 1.0]))
    band = load(path)["30"]
    np.testing.assert_allclose(band.weights, np.array([1.0, 2.0, 1.0]) / np.array(band.frequencies_ghz) ** 2)


def test_both_models_make_one_instrument(tmp_path):
    hfi = write_hfi(tmp_path, BANDPASS_F100=([3.0, 3.5], [1, 1]), BANDPASS_F857=([28.0, 29.0], [1, 1]))
    lfi = write_lfi(tmp_path, BANDPASS_070=([60.0, 80.0], [1, 1]))
    assert list(load(lfi, further_files=[str(hfi)])) == ["70", "100", "857"]
    with pytest.raises(
        DatasetError, match="HFI_RIMO.*: channels 100, 857 are in .*HFI_RIMO.* too; leave out a file"
    ):
        load(hfi, further_files=[str(hfi)])


def test_detectors_are_not_channels(tmp_path):
    detector = {"BANDPASS_143-1A": ([4.0, 5.0], [1, 1]), "BANDPASS_27M": ([4.0, 5.0], [1, 1])}
    path = write_hfi(tmp_path, BANDPASS_F143=([4.0, 5.0], [1, 2]), **detector)
    assert list(load(path)) == ["143"]


def test_a_cut_leaves_out_the_wings_and_keeps_what_lies_between(tmp_path):
    transmission = [1e-4, 0.5, 1e-5, -1e-3, 1.0, 1e-4, 2e-3, 1e-5]
    path = write_hfi(tmp_path, BANDPASS_F143=(np.linspace(4, 5.4, 8), transmission))
    np.testing.assert_allclose(load(path)["143"].weights, np.maximum(transmission, 0), rtol=1e-6)
    cut = load(path, cut=1e-3)["143"]
    np.testing.assert_allclose(cut.weights, [0.5, 1e-5, 0, 1.0, 1e-4, 2e-3], rtol=1e-6)


def test_fine_tables_are_reduced_with_integral_and_mean_frequency_kept(tmp_path):
    wavenumbers = np.linspace(24, 33, 500)
    transmission = np.exp(-0.5 * ((wavenumbers - 28) / 2) ** 2) * (1 + 0.2 * np.sin(20 * wavenumbers))
    path = write_hfi(tmp_path, BANDPASS_F857=(wavenumbers, transmission))
    fine, reduced = (load(path, frequencies=n)["857"] for n in (None, 24))
    assert (len(fine.weights), len(reduced.weights)) == (500, 24)
    for power in (0, 1):
        moments = [
            np.sum(band.steps_ghz * np.array(band.weights) * np.array(band.frequencies_ghz) ** power)
            for band in (fine, reduced)
        ]
        assert moments[1] == pytest.approx(moments[0], rel=1e-12)
    assert load(path, frequencies=1000)["857"] == fine


# ---- Errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["band", "frequency", "weight"])
def test_a_missing_column_is_an_error(tmp_path, column):
    path = write(tmp_path, ECSV.replace(column, "other"))
    with pytest.raises(DatasetError, match=f"bands.ecsv: column {column} is missing; the table has "):
        load(path)


def test_a_missing_column_of_a_model_names_the_extension(tmp_path):
    path = tmp_path / "model.fits"
    table = fits.BinTableHDU.from_columns([fits.Column("WAVENUMBER", "D", array=[1.0])], name="BANDPASS_F143")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
    with pytest.raises(DatasetError, match="HDU BANDPASS_F143: column TRANSMISSION is missing"):
        load(path)


def test_a_model_without_channels_is_an_error(tmp_path):
    with pytest.raises(
        DatasetError, match="the file has no bandpass of a channel; of a FITS file the extensions"
    ):
        load(write_hfi(tmp_path))


def test_frequencies_without_a_unit_are_not_taken(tmp_path):
    with pytest.raises(DatasetError, match="column frequency has no unit; give it one that converts to GHz"):
        load(write(tmp_path, ECSV.replace("unit: GHz, ", "")))


def test_what_the_response_is_to_is_not_guessed(tmp_path):
    silent = write(tmp_path, ECSV.replace("# meta: !!omap\n# - response: Jy/sr\n", ""))
    with pytest.raises(DatasetError, match="the file does not say its response; state `response:`"):
        load(silent)
    assert load(silent, response="Jy/sr")["30"].weights == (1.0, 1.0)
    assert load(silent, response="K_RJ")["30"].weights == (1 / 25.0**2, 1 / 30.0**2)
    with pytest.raises(
        DatasetError, match="response is 'Jy/sr' in the file, but 'K_RJ' in the catalog entry"
    ):
        load(write(tmp_path), response="K_RJ")
    with pytest.raises(DatasetError, match="response 'K': must be Jy/sr or K_RJ"):
        load(write(tmp_path, ECSV.replace("response: Jy/sr", "response: K")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"response": "K"}, "x.ecsv: response 'K': must be Jy/sr or K_RJ"),
        ({"cut": 1.0}, "x.ecsv: cut 1.0: must be from 0 to below 1"),
        ({"frequencies": 1}, "x.ecsv: frequencies 1: a bandpass needs at least two"),
    ],
)
def test_options_that_make_no_sense_are_errors(options, message):
    with pytest.raises(DatasetError, match=message):
        BandpassTableDataset(filepath="x.ecsv", **options)


@pytest.mark.parametrize("content", [b"", b"SIMPLE  = nonsense", b"# %ECSV 1.0\n# ---\n"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, content):
    path = tmp_path / "damaged.ecsv"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match="damaged.ecsv"):
        load(path)


def test_a_band_without_response_is_an_error(tmp_path):
    with pytest.raises(DatasetError, match="bandpass from .* weights must be finite .* one must be above 0"):
        load(write_hfi(tmp_path, BANDPASS_F143=([4.0, 5.0], [0, 0])))
    with pytest.raises(DatasetError, match="bandpass of 0 frequencies and 0 weights: needs at least two"):
        load(write_lfi(tmp_path, BANDPASS_030=([25.0, 35.0], [-1, -1])))
