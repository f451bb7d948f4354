from types import SimpleNamespace

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from cmbml.hooks import (
    CheckHooks,
    ReportHooks,
    cmb_conflicts,
    cosmology_conflicts,
    count_conflicts,
    instrument_conflicts,
    mask_conflicts,
    noise_conflicts,
    planck_conflicts,
    preset_conflicts,
    resolution_conflicts,
    stokes_conflicts,
    unknown_keys,
    unused_groups,
)
from cmbml.pipelines.simulation.cosmology import TABLES, mean_cosmology
from cmbml.pipelines.simulation.settings import (
    CMBSettings,
    CosmologySettings,
    ForegroundSettings,
    InstrumentSettings,
    Maps,
    MaskSettings,
    Simulations,
    Target,
    Variation,
)
from cmbml.science.instrument import Channel, Instrument
from tests.pipelines.simulation.noise_inputs import noise_settings

TABLE = Instrument(
    (Channel("30", 28.4, 75.0, "IQU"), Channel("100", 100.89, 43.0, "IQU"), Channel("545", 555.2, 21.5, "I"))
)


def keep(*values):
    return values


def pipeline() -> Pipeline:
    return Pipeline(
        [Node(keep, ["instrument_table", "params:instrument", "params:pyilc"], "cleaned", name="keep")]
    )


def catalog(parameters: dict) -> DataCatalog:
    return DataCatalog({"parameters": MemoryDataset(parameters), "instrument_table": MemoryDataset(TABLE)})


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("nsidee", "parameter nsidee: not known; did you mean nside?"),
        ("xyz", "parameter xyz: not known; known are instrument, nside"),
    ],
)
def test_an_unknown_key_is_named_with_what_was_meant(key, message):
    assert unknown_keys({key, "nside"}, {"nside", "instrument"}) == [message]


def reading(*groups: str) -> Pipeline:
    return Pipeline([Node(keep, [f"params:{group}" for group in groups], "out", name="keep")])


def test_a_group_that_no_node_reads_is_named():
    (sentence,) = unused_groups({"maps", "mask"}, reading("maps"))
    assert sentence.startswith("parameter mask: no part of this run reads it")


def test_numbers_that_groups_share_must_agree():
    parameters = {
        "maps": Maps(nside=64, lmax=128),
        "target": Target(nside=64, lmax=120, fwhm_arcmin=60),
        "pyilc": Target(nside=64, lmax=128, fwhm_arcmin=80),
    }
    assert resolution_conflicts(parameters, reading("maps", "target", "pyilc")) == [
        "maps.lmax 128, target.lmax 120, pyilc.lmax 128: must be the same; set the number they share in globals.yml",
        "target.fwhm_arcmin 60.0, pyilc.fwhm_arcmin 80.0: must be the same; set the number they share in globals.yml",
    ]
    assert resolution_conflicts(parameters, reading("maps", "pyilc")) == []


def test_presets_that_cannot_be_built_are_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setenv("PYSM_LOCAL_DATA", str(tmp_path))
    variation = Variation(
        brightness=0, dust_index=0, dust_temperature_kelvin=0, synchrotron_index=0, free_free_index=0
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
    inputs = {name: MemoryDataset(value, copy_mode="assign") for name, value in {**absent, **stored}.items()}
    return DataCatalog({"instrument_table": MemoryDataset(TABLE), **inputs})


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
    models = {"noise_models": Stored("30", "100", "545")}
    (sentence,) = noise_sentences(models, kind="correlated", recipe="reference")
    assert "noise.recipe reference: has intensity only" in sentence
    assert noise_sentences(models, stokes="I", kind="correlated", recipe="reference") == []


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
    (folder / "mnu").mkdir(parents=True)
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


def test_validated_groups_are_checked_like_plain_ones():
    settings = InstrumentSettings(
        channels="44", stokes="I", beam_scale=1, fwhm_floor_arcmin=0, bandpass="delta"
    )
    parameters = {"instrument": settings}
    (sentence,) = instrument_conflicts(parameters, pipeline(), catalog(parameters))
    assert sentence.startswith("instrument.channels: channels '44'")


def test_channels_that_fit_are_no_conflict():
    parameters = {"instrument": {"channels": "all"}, "pyilc": {"channels": "all"}}
    assert instrument_conflicts(parameters, pipeline(), catalog(parameters)) == []


def test_a_channel_outside_the_table_is_a_conflict():
    parameters = {"instrument": {"channels": "44"}}
    (sentence,) = instrument_conflicts(parameters, pipeline(), catalog(parameters))
    assert sentence.startswith("instrument.channels: channels '44'")


def test_a_method_that_wants_a_channel_that_is_not_simulated_is_a_conflict():
    parameters = {"instrument": {"channels": "30-100"}, "pyilc": {"channels": ["100", "545"]}}
    (sentence,) = instrument_conflicts(parameters, pipeline(), catalog(parameters))
    assert "pyilc.channels" in sentence and "545 is not simulated" in sentence


def test_a_method_that_does_not_run_is_not_checked():
    parameters = {"instrument": {"channels": "30-100"}, "other": {"channels": ["545"]}}
    assert instrument_conflicts(parameters, pipeline(), catalog(parameters)) == []


class Method(Maps):
    stokes: str


@pytest.mark.parametrize(
    ("simulated", "wanted", "refused"),
    [("IQU", "IQU", False), ("IQU", "I", False), ("I", "IQU", True), ("I", "I", False)],
)
@pytest.mark.parametrize("together", [True, False])
def test_polarisation_is_cleaned_only_where_it_is_simulated(simulated, wanted, refused, together):
    parameters = {
        "instrument": InstrumentSettings(
            channels="all", stokes=simulated, beam_scale=1, fwhm_floor_arcmin=0, bandpass="delta"
        ),
        "pyilc": Method(nside=16, lmax=32, stokes=wanted),
    }
    inputs = ["params:instrument", "params:pyilc"] if together else ["instrument", "params:pyilc"]
    made = Pipeline([Node(keep, inputs, "out", name="keep")])
    entries = {"instrument": MemoryDataset(TABLE.with_stokes(simulated))}
    sentences = stokes_conflicts(parameters, made, DataCatalog(entries))
    assert bool(sentences) == refused
    if refused:
        assert sentences[0].startswith("pyilc.stokes IQU: the simulations hold only I; set pyilc.stokes to I")


def test_no_more_simulations_are_compared_than_there_are():
    parameters = {"simulations": Simulations(seed=1, train=2, valid=2, test=4)}
    assert count_conflicts(parameters, reading("simulations"), {"compared": "all"}) == []
    assert count_conflicts(parameters, reading("simulations"), {"compared": 4}) == []
    assert count_conflicts(parameters, reading("pyilc"), {"compared": 5}) == []
    (sentence,) = count_conflicts(parameters, reading("simulations"), {"compared": 5})
    assert sentence.startswith("compared 5: more than the 4 simulations of the test split")


def test_what_is_fetched_need_not_be_simulated():
    parameters = {"instrument": {"channels": "30-100"}, "assets": {"channels": ("545",)}}
    read = ["instrument_table", "params:instrument", "params:assets"]
    fetching = Pipeline([Node(keep, read, "raw", name="keep")])
    assert instrument_conflicts(parameters, fetching, catalog(parameters)) == []


def test_all_conflicts_come_in_one_message():
    parameters = {"instrument": {"channels": "44"}, "extra": 1}
    with pytest.raises(
        ValueError, match=r"(?s)the configuration cannot work:\n- parameter extra.*- instrument.channels"
    ):
        CheckHooks().before_pipeline_run(run_params={}, pipeline=pipeline(), catalog=catalog(parameters))


def test_reports_are_named_with_their_place(tmp_path, caplog):
    made = Pipeline([Node(keep, "params:a", "report_table", name="keep")])
    entries = {
        "report_table": {"type": "cmbml.datasets.JsonRecordDataset", "filepath": str(tmp_path / "table.json")}
    }
    with caplog.at_level("INFO"):
        ReportHooks().after_pipeline_run(pipeline=made, catalog=DataCatalog.from_config(entries))
    assert f"table: {tmp_path}/table.json" in caplog.text
