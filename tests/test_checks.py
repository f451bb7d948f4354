"""Parameters that contradict one another are named before anything runs."""

from types import SimpleNamespace

import pytest
from kedro.io import DataCatalog, MemoryDataset
from kedro.pipeline import Node, Pipeline

from cmbml.checks import (
    count_conflicts,
    foreground_conflicts,
    instrument_conflicts,
    read_only_conflicts,
    resolution_conflicts,
    resumption_conflicts,
    stokes_conflicts,
    unknown_keys,
    unused_groups,
)
from cmbml.pipelines.simulation.settings import InstrumentSettings, Maps, Simulations, Target
from tests.run_checks import TABLE, catalog, keep, pipeline, reading


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("nsidee", "parameter nsidee: not known; did you mean nside?"),
        ("xyz", "parameter xyz: not known; known are instrument, nside"),
    ],
)
def test_an_unknown_key_is_named_with_what_was_meant(key, message):
    assert unknown_keys({key, "nside"}, {"nside", "instrument"}) == [message]


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


@pytest.mark.parametrize("source", ["embedded", "pysm"])
def test_foregrounds_must_resolve_the_band_limit_of_the_maps(source):
    def conflicts(lmax: int) -> list[str]:
        foregrounds = SimpleNamespace(source=source, nside=128)
        return foreground_conflicts(
            {"foregrounds": foregrounds, "maps": Maps(nside=512, lmax=lmax)}, reading("foregrounds", "maps")
        )

    assert conflicts(383) == []
    (sentence,) = conflicts(1024)
    assert sentence.startswith("maps.lmax 1024: above 3 nside - 1 = 383 of the foregrounds")
    assert "set foregrounds.nside to 1024, or lower lmax" in sentence


def test_statistics_of_components_need_a_sky_that_is_made_of_them():
    parameters = {
        "foregrounds": SimpleNamespace(source="planck", nside=16),
        "maps": Maps(nside=512, lmax=1024),
    }
    assert foreground_conflicts(parameters, reading("foregrounds", "maps")) == []
    (sentence,) = foreground_conflicts(parameters, reading("foregrounds", "maps", "sky_statistics"))
    assert sentence.startswith("foregrounds.source planck: sky_statistics has no components")


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


def test_kedros_own_way_to_resume_is_refused_where_parameters_change():
    assert resumption_conflicts({"data", "n_jobs"}, only_missing=True) == []
    assert resumption_conflicts({"data", "seed"}, only_missing=False) == []
    (sentence,) = resumption_conflicts({"data", "seed", "noise.scale"}, only_missing=True)
    assert sentence.startswith("--only-missing-outputs with noise.scale, seed: it skips every product")


CHANNEL_FILES = {
    "type": "cmbml.datasets.ChannelFilesDataset",
    "path": "/absent",
    "files": {"100": "a.fits"},
    "dataset": {"type": "cmbml.datasets.HealpixMapDataset"},
}
PARTITIONS = {
    "type": "cmbml.datasets.ParallelPartitionedDataset",
    "path": "/absent",
    "dataset": {"type": "cmbml.datasets.JsonRecordDataset"},
}


@pytest.mark.parametrize(
    ("entry", "refused"),
    [
        (PARTITIONS, False),
        ({**PARTITIONS, "read_only": True}, True),
        (CHANNEL_FILES, True),
        ({**CHANNEL_FILES, "files": {}, "type": "cmbml.datasets.ChannelFoldersDataset"}, True),
        (
            {
                "type": "cmbml.datasets.AlternativesDataset",
                "dataset": {"type": "cmbml.datasets.JsonRecordDataset"},
                "alternatives": [{"filepath": "/absent"}],
            },
            True,
        ),
        ({"type": "cmbml.datasets.DeferredDataset", "dataset": {**PARTITIONS, "read_only": True}}, True),
    ],
    ids=["written", "partitions", "channel files", "channel folders", "alternatives", "deferred"],
)
def test_what_is_only_read_is_not_made(entry, refused):
    entry = {key: value for key, value in entry.items() if value != {}}
    entries = DataCatalog.from_config({"sky": {**entry, "metadata": {"only_read": "run that"}}})
    made = Pipeline([Node(keep, "params:maps", "sky", name="keep")])
    sentence = "sky: in this environment it is only read, and this run would make it; run that"
    assert read_only_conflicts(made, entries) == ([sentence] if refused else [])
    assert read_only_conflicts(Pipeline([Node(keep, "sky", "out", name="keep")]), entries) == []
