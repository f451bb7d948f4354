import numpy as np
import pytest

from cmbml.pipelines.simulation.cib import cib_spectrum
from cmbml.pipelines.simulation.foregrounds import component_map, fixed_sky
from cmbml.pipelines.simulation.settings import ForegroundSettings, Maps, SkyStatistics
from cmbml.pipelines.simulation.sky_nodes import measure_sky
from cmbml.science.units import unit_factor
from tests.pipelines.simulation.test_one_sky import FOREGROUNDS, TABLE

MAPS = Maps(nside=16, lmax=24)


@pytest.fixture(scope="module")
def table():
    return measure_sky(FOREGROUNDS, TABLE, MAPS, SkyStatistics(presets=[]))


def test_there_is_a_row_for_every_component_channel_and_field(table):
    fields = sum(len(channel.stokes) for channel in TABLE)
    assert len(table) == 6 * fields
    assert table.groupby("component").size().to_dict() == dict.fromkeys(
        ["dust", "synchrotron", "free_free", "ame", "cib", "radio"], fields
    )
    assert set(table[table["channel"] == "857"]["stokes"]) == {"I"}


def test_the_numbers_are_those_of_the_pixels(table):
    dust = fixed_sky(FOREGROUNDS.model_copy(update={"vary": False}), TABLE, MAPS.lmax)["dust"]()
    emission = component_map(dust, TABLE["143"], 16, fields=3, lmax=MAPS.lmax)
    rows = table[(table["component"] == "dust") & (table["channel"] == "143")].set_index("stokes")
    for stokes, values in zip("IQU", np.sort(emission.astype(np.float64)), strict=True):
        row = rows.loc[stokes]
        assert (row["minimum"], row["maximum"]) == (values[0], values[-1])
        assert row["mean"] == pytest.approx(values.mean())
        assert row["standard_deviation"] == pytest.approx(values.std())
        # 3072 pixels: the median lies between the two in the middle
        assert values[1535] <= row["median"] <= values[1536]
        assert values[766] <= row["first_quartile"] <= values[769]
        assert values[2302] <= row["third_quartile"] <= values[2305]
    assert (table["unit"] == "uK_CMB").all()
    assert (table[["seconds", "build_seconds"]] > 0).all(axis=None)


def test_spectra_show_in_the_table(table):
    spread = table[table["stokes"] == "I"].set_index(["component", "channel"])["standard_deviation"]
    in_kelvin_rj = {c.name: unit_factor("uK_CMB", "uK_RJ", frequency_ghz=c.frequency_ghz) for c in TABLE}
    ratio = (
        spread["free_free", "143"] * in_kelvin_rj["143"] / (spread["free_free", "30"] * in_kelvin_rj["30"])
    )
    assert ratio == pytest.approx((142.876 / 28.4) ** -2.14, rel=1e-4)
    ell = np.arange(MAPS.lmax + 1)
    variance = ((2 * ell + 1) * cib_spectrum(TABLE["857"], TABLE["857"], MAPS.lmax)).sum() / (4 * np.pi)
    # 624 modes, of which the lowest have the most power: a standard deviation is known to 10 per cent
    assert spread["cib", "857"] == pytest.approx(variance**0.5, rel=0.4)


def test_components_without_polarisation_have_none(table):
    polarised = table[table["stokes"] != "I"].groupby("component")["standard_deviation"].max()
    assert polarised[["free_free", "ame", "cib"]].max() == 0
    assert polarised[["dust", "synchrotron", "radio"]].min() > 0


def test_presets_are_measured_besides_and_each_once(shared_file, monkeypatch):
    monkeypatch.setenv("PYSM_LOCAL_DATA", str(shared_file("pysm_nside64")))
    settings: ForegroundSettings = FOREGROUNDS.model_copy(update={"source": "pysm", "presets": ["f1"]})
    table = measure_sky(settings, TABLE.with_stokes("I"), MAPS, SkyStatistics(presets=["s1", "f1"]))
    assert table["component"].drop_duplicates().tolist() == ["f1", "s1"]
    assert len(table) == 6
