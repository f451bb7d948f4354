"""Files that a configuration needs and that are not there are named before anything runs."""

from types import SimpleNamespace

import numpy as np
import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from cmbml.input_checks import (
    cmb_conflicts,
    cosmology_conflicts,
    mask_conflicts,
    noise_conflicts,
    planck_conflicts,
    preset_conflicts,
)
from cmbml.pipelines.simulation.cosmology import TABLES, mean_cosmology
from cmbml.pipelines.simulation.settings import (
    CMBSettings,
    CosmologySettings,
    ForegroundSettings,
    InstrumentSettings,
    Maps,
    MaskSettings,
    Variation,
)
from cmbml.science.instrument import Channel, Instrument
from tests.pipelines.simulation.noise_inputs import noise_settings
from tests.run_checks import TABLE, keep, reading
from tests.wmap_chains import wmap_like, write_chain


def test_presets_that_cannot_be_built_are_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSM_LOCAL_DATA", str(tmp_path))
    variation = Variation(
        morphology=True,
        brightness=0,
        dust_index=0,
        dust_temperature_kelvin=0,
        synchrotron_index=0,
        free_free_index=0,
    )

    def chosen(**values) -> dict:
        given = {
            "source": "pysm",
            "presets": ["s7"],
            "nside": 16,
            "vary": True,
            "variation": variation,
            "extragalactic": {"cib": True, "radio": True, "radio_flux_cut_jy": 0.35},
            **values,
        }
        return {"foregrounds": ForegroundSettings(**given)}

    (sentence,) = preset_conflicts(chosen(), reading("foregrounds"))
    assert "templates not on this computer" in sentence and "PYSM_LOCAL_DATA" in sentence
    (sentence,) = preset_conflicts(chosen(presets=["d99"]), reading("foregrounds"))
    assert "preset 'd99'" in sentence
    assert preset_conflicts(chosen(source="embedded"), reading("foregrounds")) == []
    assert preset_conflicts(chosen(), reading("maps")) == []
    assert preset_conflicts(chosen(), reading("assets", "foregrounds")) == []
    both = reading("assets", "foregrounds") + Pipeline(
        [Node(keep, "params:foregrounds", "sky", name="build")]
    )
    assert len(preset_conflicts(chosen(), both)) == 1


def test_emission_in_lines_is_refused_for_delta_bandpasses_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSM_LOCAL_DATA", str(tmp_path))
    foregrounds = SimpleNamespace(source="pysm", presets=["co1"], nside=16)

    def conflicts(bandpass: str) -> list[str]:
        parameters = {"foregrounds": foregrounds, "instrument": SimpleNamespace(bandpass=bandpass)}
        return preset_conflicts(parameters, reading("foregrounds", "instrument"))

    (sentence,) = conflicts("delta")
    assert sentence.startswith("preset co1: it emits in lines, which a delta bandpass never meets")
    (sentence,) = conflicts("tabulated")
    assert "templates not on this computer: co/HFI_CompMap_CO-Type1_512_R2.00_ring.fits" in sentence


def masked(source: str, polarisation: dict | None = None) -> dict:
    cut = {"source": source, "latitude_deg": 20, "threshold": 0.9}
    shape = {"nside": 16, "apodisation_deg": 5, "taper": "C1", "polarisation": polarisation}
    return {"mask": MaskSettings(**cut, **shape)}


def test_a_mask_file_that_is_not_there_is_named_before_any_work(tmp_path):
    leaf = {"type": "cmbml.datasets.HealpixMapDataset", "filepath": str(tmp_path / "mask.fits")}
    entry = {"type": "cmbml.datasets.DeferredDataset", "dataset": leaf, "purpose": "assets fetches it."}
    inputs = DataCatalog.from_config({"mask_input": entry})
    planck = {"source": "planck", "latitude_deg": 20, "threshold": 0.9}
    expected = [f"mask.source planck: mask_input: {tmp_path}/mask.fits: not there. assets fetches it."]
    assert mask_conflicts(masked("planck"), reading("mask"), inputs) == expected
    assert mask_conflicts(masked("galactic", planck), reading("mask"), inputs) == expected
    assert mask_conflicts(masked("galactic"), reading("mask"), inputs) == []
    assert mask_conflicts(masked("planck"), reading("analysis"), inputs) == []
    (tmp_path / "mask.fits").touch()
    assert mask_conflicts(masked("planck"), reading("mask"), inputs) == []


def planck_sentences(folder, source: str, channels: str = "all", groups=("foregrounds",)) -> list[str]:
    leaf = {"type": "cmbml.datasets.HealpixMapDataset"}
    entries = {
        "planck_maps": {
            "type": "cmbml.datasets.ChannelFilesDataset",
            "path": str(folder),
            "files": {"30": "map_030.fits", "545": "map_545.fits"},
            "dataset": leaf,
            "purpose": "assets fetches it.",
        },
        "planck_nilc": {
            "type": "cmbml.datasets.DeferredDataset",
            "purpose": "assets fetches it.",
            "dataset": {**leaf, "filepath": f"{folder}/nilc.fits"},
        },
    }
    instrument = SimpleNamespace(channels=channels)
    parameters = {"foregrounds": SimpleNamespace(source=source), "instrument": instrument}
    return planck_conflicts(parameters, reading(*groups), DataCatalog.from_config(entries))


def test_maps_of_planck_that_are_needed_are_asked_for_before_the_run(tmp_path):
    maps, nilc = (
        f"{tmp_path}/{name}: not there. assets fetches it." for name in ("map_545.fits", "nilc.fits")
    )
    (tmp_path / "map_030.fits").touch()
    assert planck_sentences(tmp_path, "planck") == [f"planck_maps: {maps}", f"planck_nilc: {nilc}"]
    assert planck_sentences(tmp_path, "planck", "30") == [f"planck_nilc: {nilc}"]
    assert planck_sentences(tmp_path, "embedded") == []
    assert planck_sentences(tmp_path, "planck", groups=("analysis",)) == []
    assert "planck_maps: channels '31': no channel fits" in planck_sentences(tmp_path, "planck", "31")[0]


class Stored:
    """A loader of loaders by channel, as `DeferredDataset` hands it on."""

    purpose = "Make it."

    def __init__(self, *channels: str, exists: bool = True) -> None:
        self.exists, self._channels = exists, channels

    def __call__(self) -> dict:
        return dict.fromkeys(self._channels, Stored())


def noise_catalog(parameters: dict, **stored) -> DataCatalog:
    absent = {"planck_variances": {}, "noise_models": Stored(exists=False), "noise_averages": Stored()}
    absent["instrument_table"] = TABLE
    inputs = {name: MemoryDataset(value, copy_mode="assign") for name, value in {**absent, **stored}.items()}
    return DataCatalog(inputs)


def noise_sentences(stored: dict | None = None, stokes: str = "IQU", **changed) -> list[str]:
    parameters = {
        "noise": noise_settings(**changed),
        "instrument": InstrumentSettings(
            channels="all", stokes=stokes, beam_scale=1, fwhm_floor_arcmin=0, bandpass="delta"
        ),
    }
    inputs = ["params:noise", "instrument_table", "planck_variances", "noise_models", "noise_averages"]
    run = Pipeline([Node(keep, inputs, "out", name="keep")])
    return noise_conflicts(parameters, run, noise_catalog(parameters, **(stored or {})))


def test_channels_without_a_noise_model_are_named_before_any_work():
    (sentence,) = noise_sentences(kind="correlated")
    assert sentence == "noise.kind correlated: noise_models of 30, 100, 545 not there. Make it."
    (sentence,) = noise_sentences({"noise_models": Stored("30", "545")}, kind="correlated")
    assert sentence == "noise.kind correlated: noise_models of 100 not there. Make it."
    everything = Stored("30", "100", "545")
    assert noise_sentences({"noise_models": everything}, kind="correlated") == []
    (sentence,) = noise_sentences({"noise_models": everything}, kind="correlated", average_map=True)
    assert "noise_averages of 30, 100, 545" in sentence


def test_variance_maps_that_are_not_there_are_named():
    files = {"30": Stored(), "100": Stored(exists=False), "545": Stored()}
    (sentence,) = noise_sentences({"planck_variances": files}, kind="variance")
    assert sentence == "noise.kind variance: planck_variances of 100 not there. Make it."
    models = {"planck_variances": files, "noise_models": Stored("30", "100", "545")}
    assert len(noise_sentences(models, kind="correlated", pattern="variance")) == 1
    assert noise_sentences(models, kind="correlated", pattern="scan") == []


def test_the_references_noise_has_no_polarisation():
    stored = {"noise_models": Stored("30", "100", "545")}
    stored["planck_variances"] = dict.fromkeys(("30", "100", "545"), Stored())
    reference = {"kind": "correlated", "recipe": "reference", "pattern": "variance"}
    (sentence,) = noise_sentences(stored, **reference)
    assert "noise.recipe reference: has intensity only" in sentence
    assert noise_sentences(stored, stokes="I", **reference) == []


def test_channels_without_noise_levels_are_named_before_any_work():
    unknown = Instrument(
        (
            Channel("30", 28.4, 75.0, "IQU", 150.0, np.nan),
            Channel("100", 100.89, 43.0, "IQU", np.nan, np.nan),
            Channel("217", 221.2, 22.0, "IQU", 1.0, 2.0),
            Channel("545", 555.2, 21.5, "I", np.nan, np.nan, noise_brightness_kjy_sr_arcmin=46.8),
        )
    )
    stored = {"instrument_table": unknown}
    (sentence,) = noise_sentences(stored, kind="sensitivity")
    assert "noise levels of 30 (QU), 100 (IQU) are not in the instrument table" in sentence
    (sentence,) = noise_sentences(stored, stokes="I", kind="sensitivity")
    assert "noise levels of 100 (I) are" in sentence
    assert noise_sentences(stored, kind="sensitivity", scale=0) == []
    assert noise_sentences(stored, kind="none") == []


@pytest.mark.parametrize(
    "changed", [{"kind": "sensitivity"}, {"kind": "none"}, {"kind": "variance", "scale": 0}]
)
def test_noise_that_needs_no_input_is_not_checked(changed):
    assert noise_sentences(**changed) == []


def cosmology(lmax: int = 32, kind: str = "lensed", **changes) -> dict:
    settings = {"source": "table", "table": "wmap9", "correlated": True, "vary": True, "chains": "lcdm"}
    splits = {"fixed": [], "one_per_split": [], "given_spectrum": []}
    parameters = mean_cosmology(TABLES["planck2018"])
    return {
        "cosmology": CosmologySettings(**{**settings, "parameters": parameters, **splits, **changes}),
        "cmb": CMBSettings(kind=kind, spectra="camb", lmax=lmax, lens_potential_accuracy=1),
        "maps": Maps(nside=16, lmax=32),
    }


def drawing(*splits: str) -> Pipeline:
    inputs = ["params:cosmology", "params:cmb"]
    return Pipeline([Node(keep, inputs, f"{split}_cosmology", name=f"draw_{split}") for split in splits])


def test_chains_and_given_spectra_that_are_not_there_are_named_before_any_work(tmp_path):
    folder, file = tmp_path / "wmap_chains", tmp_path / "theory.txt"
    leaves = {
        f"wmap_chains_{name}": {
            "type": "cmbml.datasets.WmapChainsDataset",
            "path": f"{folder}/{name}",
            "parameters": ["tau"],
        }
        for name in ("lcdm", "mnu")
    } | {"given_theory": {"type": "cmbml.datasets.PowerSpectraDataset", "filepath": str(file)}}
    inputs = DataCatalog.from_config(
        {
            name: {"type": "cmbml.datasets.DeferredDataset", "dataset": leaf, "purpose": "assets fetches it."}
            for name, leaf in leaves.items()
        }
    )
    chains, given = cosmology(source="chains", chains="mnu"), cosmology(given_spectrum="test")
    absent = [f"cosmology.source chains: wmap_chains_mnu: {folder}/mnu: not there. assets fetches it."]
    unknown = [f"cosmology.given_spectrum: given_theory: {file}: not there. assets fetches it."]
    assert cosmology_conflicts(chains, drawing("train", "test"), inputs) == absent
    assert cosmology_conflicts(given, drawing("train", "test"), inputs) == unknown
    # only what the run makes counts
    assert cosmology_conflicts(given, drawing("train"), inputs) == []
    assert cosmology_conflicts(chains, reading("maps"), inputs) == []
    assert cosmology_conflicts(cosmology(), drawing("test"), inputs) == []
    write_chain(folder / "mnu", wmap_like(3, mnu=True))
    file.touch()
    assert cosmology_conflicts(chains, drawing("test"), inputs) == []
    assert cosmology_conflicts(given, drawing("test"), inputs) == []


def test_a_cmb_that_ends_before_the_maps_is_a_conflict():
    assert cmb_conflicts(cosmology(lmax=32), drawing("test")) == []
    assert cmb_conflicts(cosmology(lmax=40), drawing("test")) == []
    assert cmb_conflicts(cosmology(lmax=31), reading("maps")) == []
    assert cmb_conflicts(cosmology(lmax=31), drawing("test")) == [
        "cmb.lmax 31: below maps.lmax 32, the maps would have no CMB above it; raise it"
    ]


def test_without_a_cmb_nothing_is_compared():
    comparing = drawing("test") + reading("analysis")
    (sentence,) = cmb_conflicts(cosmology(kind="empty"), comparing)
    assert sentence.startswith("cmb.kind empty: the analysis has no CMB to compare with; run the other")
    assert cmb_conflicts(cosmology(kind="empty"), drawing("test")) == []
    assert cmb_conflicts(cosmology(), comparing) == []


def test_a_split_with_given_spectra_cannot_be_unlensed():
    (sentence,) = cmb_conflicts(cosmology(kind="unlensed", given_spectrum="test"), drawing("test", "valid"))
    assert sentence.startswith(
        "cmb.kind unlensed: only lensed spectra are known of test, which cosmology.given"
    )
    assert cmb_conflicts(cosmology(kind="unlensed", given_spectrum="test"), drawing("valid")) == []
    assert cmb_conflicts(cosmology(kind="gaussian", given_spectrum="test"), drawing("test")) == []


def test_further_presets_are_checked_where_they_are_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSM_LOCAL_DATA", str(tmp_path))
    parameters = {
        "foregrounds": SimpleNamespace(source="embedded", presets=["d1"], nside=16),
        "sky_statistics": SimpleNamespace(presets=["d98"]),
    }
    (sentence,) = preset_conflicts(parameters, reading("foregrounds", "sky_statistics"))
    assert "preset 'd98'" in sentence
    assert preset_conflicts(parameters, reading("foregrounds")) == []
