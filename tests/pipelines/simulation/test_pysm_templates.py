import numpy as np
import pysm3.units as u
import pytest
from astropy.config import set_temp_cache
from pysm3.sky import PRESET_MODELS, create_components_from_config

from cmbml.pipelines.simulation.pysm_presets import check_presets, template_names
from cmbml.pipelines.simulation.pysm_templates import interpolated_templates

PLANCK = [(f, f) for f in (28.4, 44.1, 70.4, 100.89, 142.876, 221.156, 357.5, 555.2, 866.8)]
PUBLISHED = ["d9", "s4", "f1", "a1", "cib1", "ksz1", "tsz1", "rg1"]


def test_the_published_presets_read_these_templates():
    names = template_names(PUBLISHED, 2048, PLANCK)
    assert {name for name in names if "/cib/" not in name and "/radio/" not in name} == {
        "dust_gnilc/gnilc_dust_template_nside2048_2023.02.10.fits",
        "synch/synch_template_nside2048_2023.02.25.fits",
        "pysm_2/ff_t_new.fits",
        "pysm_2/ame_t_new.fits",
        "pysm_2/ame2_t_new.fits",
        "pysm_2/ame_nu_peak_0.fits",
        "pysm_2/emissivity.txt",
        "websky/0.4/ksz.fits",
        "websky/0.4/tsz_8192_hp.fits",
    }
    radio = [name.rsplit("_", 1)[1] for name in names if "/radio/" in name]
    assert radio == [
        f"{frequency:06.1f}.fits"
        for frequency in (
            27.3,
            30,
            44,
            47.4,
            70,
            73.7,
            100,
            111,
            129,
            143,
            217,
            232,
            353,
            375,
            545,
            584,
            857,
            906,
        )
    ]
    assert len(names) == len(set(names))


def maps_read(preset: str, frequencies: np.ndarray, monkeypatch) -> list[str]:
    """Names of the maps that PySM's model asks for, with maps of ones instead of the network."""
    read = []
    model = create_components_from_config({preset: PRESET_MODELS[preset]}, nside=4)[0]

    def note(_self, name: str) -> str:
        read.append(name)
        return name

    monkeypatch.setattr("pysm3.utils.data.RemoteData.get", note)
    monkeypatch.setattr(type(model), "read_map_file", lambda *_: np.ones((1, 192)))
    model.get_emission(frequencies * u.GHz)
    return sorted(read)


@pytest.mark.parametrize("band", [(28.4, 28.4), (100.0, 100.0), (94.0, 131.0), (353.0, 400.0)])
def test_they_are_those_that_pysm_reads_for_the_band(band, monkeypatch):
    frequencies = np.unique(np.linspace(*band, 5))
    names = list(interpolated_templates(PRESET_MODELS["cib1"], 4, [band]))
    assert names == maps_read("cib1", frequencies, monkeypatch)


def test_a_channel_outside_of_the_maps_needs_none():
    assert list(interpolated_templates(PRESET_MODELS["cib1"], 16, [(10.0, 10.0), (1100.0, 1200.0)])) == []


def test_of_a_band_that_leaves_the_maps_its_part_inside_is_served():
    names = list(interpolated_templates(PRESET_MODELS["cib1"], 16, [(950.0, 1200.0)]))
    assert [name.rsplit("_")[1] for name in names] == ["0906.0.fits", "0994.0.fits", "1080.0.fits"]


def test_maps_of_several_resolutions_are_those_of_the_nearest():
    names = list(interpolated_templates(PRESET_MODELS["rg3"], 512, [(100.0, 100.0)]))
    assert names == ["websky/0.4/radio_catalog/background/2048/100.0.fits"]


def test_the_dust_of_hensley_and_draine_reads_its_own_tables():
    names = template_names(["d8"], 64, PLANCK)
    assert "pysm_2/car_1.0.dat" in names
    assert not any("commander" in name for name in names)
    assert "pysm_2/COM_CompMap_dust-commander_0256_R2.00.fits" in template_names(["d7"], 64, PLANCK)


def test_templates_are_missing_also_where_nothing_was_ever_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSM_LOCAL_DATA", str(tmp_path))
    with (
        set_temp_cache(tmp_path),
        pytest.raises(FileNotFoundError, match="assets.fetch=pysm_templates fetches them"),
    ):
        check_presets(["d1"], 64)


def test_a_preset_that_cannot_take_part_is_named():
    with pytest.raises(ValueError, match="preset c1: it is a CMB map"):
        template_names(["d1", "c1"], 64, PLANCK)
