"""From what is asked for to files on disk, against a server with small files of the published formats."""

import hashlib
import io
import json
import tarfile
from dataclasses import replace

import healpy as hp
import numpy as np
import pandas as pd
import pytest
from kedro.io import DataCatalog, DatasetError, MemoryDataset
from kedro.runner import SequentialRunner

from cmbml.datasets import (
    DeferredDataset,
    HealpixMapDataset,
    ObservationsDataset,
    PowerSpectraDataset,
    RemoteFilesDataset,
    transfer,
)
from cmbml.pipelines.assets import catalogue, create_pipeline
from cmbml.pipelines.assets.templates import pysm_templates
from cmbml.pipelines.simulation.settings import ForegroundSettings, InstrumentSettings, Variation
from cmbml.science.bandpasses import Bandpass
from cmbml.science.instrument import Channel, Instrument
from tests.kedro_runs import run
from tests.local_server import Fault, LocalServer
from tests.pipelines.assets.test_settings import settings

TABLE = Instrument((Channel("100", 100.89, 43.0, "IQU"), Channel("545", 555.2, 21.5, "I")))
NSIDE = 8
COLUMNS = [
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
]
CHAIN = {"H0": b"      1   70.0133\n      2   69.8120\n", "a002": b"      1   2.4012\n      2   2.4123\n"}


@pytest.fixture
def server(monkeypatch):
    """A copy of the assets folder, with the maps' resolution and the archives' sizes scaled down."""
    monkeypatch.setattr(transfer, "sleep", lambda _: None)
    monkeypatch.setattr(catalogue, "_PIXELS", {1024: hp.nside2npix(NSIDE), 2048: hp.nside2npix(NSIDE)})
    monkeypatch.setattr(catalogue, "CHAIN_BYTES", {"lcdm": 300, "mnu": 300})
    with LocalServer() as running:
        yield running


def planck_fits(tmp_path, columns: int, seed: int = 1) -> bytes:
    """A map as Planck has them: NESTED, Galactic, Kelvin."""
    maps = np.random.default_rng(seed).normal(size=(columns, hp.nside2npix(NSIDE)))
    path = tmp_path / f"planck_{columns}.fits"
    hp.write_map(
        path,
        maps,
        nest=True,
        coord="G",
        dtype=np.float32,
        column_names=COLUMNS[:columns],
        column_units=["K_CMB"] * columns,
        extra_header=[("POLCCONV", "COSMO")],
        overwrite=True,
    )
    return path.read_bytes()


def tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def released(tmp_path, server, name: str) -> dict:
    """Serve one simulation of a small CMB-ML dataset, and return its record."""
    sky = np.zeros(hp.nside2npix(NSIDE))
    members = {}
    for channel in ("100", "545"):
        path = tmp_path / f"obs_{channel}.fits"
        hp.write_map(path, sky, dtype=np.float32, column_names=["I_STOKES"], column_units="uK_CMB", coord="G")
        members[f"Simulation/Test/sim0000/obs_{channel}_map.fits"] = path.read_bytes()
    content = tar(members)
    server.files[f"cmb_ml/{name}/Test_sim0000.tar.gz"] = content
    return {
        "Test_sim0000": {
            "tar_size": len(content),
            "archive_sha1": hashlib.sha1(content).hexdigest(),
            "file_name": "Test_sim0000.tar.gz",
            "box_id": "17",
            "token": "abc",
        }
    }


def foregrounds(*presets: str) -> ForegroundSettings:
    none = dict.fromkeys(
        ("brightness", "dust_index", "dust_temperature_kelvin", "synchrotron_index", "free_free_index"), 0
    )
    return ForegroundSettings(
        source="pysm",
        presets=list(presets),
        nside=64,
        vary=False,
        variation=Variation(morphology=False, **none),
        extragalactic={"cib": False, "radio": False, "radio_flux_cut_jy": 1.0},
    )


def fetch(folder, server, *, record=None, presets=("f1",), **values) -> pd.DataFrame:
    """Run the pipeline and return its report."""
    given = {
        "mirror": server.url,
        "channels": "100+545",
        "noise_simulations": 2,
        "dataset_name": "small",
        **values,
    }
    place = folder.parent / "record.json"
    leaf = {"type": "cmbml.datasets.JsonRecordDataset", "filepath": str(place), "read_only": True}
    if record:
        place.write_text(json.dumps(record))
    catalog = DataCatalog(
        {
            "params:assets": MemoryDataset(settings(**given)),
            "params:foregrounds": MemoryDataset(foregrounds(*presets)),
            "params:instrument": MemoryDataset(
                InstrumentSettings(
                    channels="all", stokes="IQU", beam_scale=1, fwhm_floor_arcmin=0, bandpass="delta"
                )
            ),
            "instrument_table": MemoryDataset(TABLE),
            "bandpass_table": MemoryDataset(None),
            "dataset_record": DeferredDataset(dataset=leaf, purpose="take it from CMB-ML"),
            "raw_assets": RemoteFilesDataset(path=str(folder)),
        }
    )
    return SequentialRunner().run(create_pipeline(), catalog)["report_assets"].load()


def test_every_group_lands_where_other_pipelines_read_it(server, tmp_path):
    full, intensity = planck_fits(tmp_path, 10), planck_fits(tmp_path, 3)
    noise = {"100": planck_fits(tmp_path, 3, 4), "545": planck_fits(tmp_path, 1, 4)}
    theory = b"# L TT TE EE BB PP\n" + b"2 1016.73 2.61 0.03 1.8e-6 5e-8\n" * 3
    server.files |= {
        "planck/maps/HFI_SkyMap_100_2048_R3.01_full.fits": full,
        "planck/maps/HFI_SkyMap_545_2048_R3.01_full.fits": intensity,
        f"planck/nilc/{catalogue.NILC}": planck_fits(tmp_path, 8),
        f"planck/theory/{catalogue.THEORY}": theory,
        "wmap_chains/wmap_lcdm_wmap9_chains_v5.tar.gz": tar({f"v5/{k}": v for k, v in CHAIN.items()}),
        "wmap_chains/wmap_lcdm_mnu_wmap9_chains_v5.tar.gz": tar(CHAIN),
        "pysm/pysm_2/ff_t_new.fits": intensity,
        **{
            f"planck/noise/{channel}/ffp10_noise_{channel}_full_map_mc_{number:05d}.fits": content
            for channel, content in noise.items()
            for number in range(2)
        },
    }
    record = released(tmp_path, server, "small")
    raw = tmp_path / "raw"
    report = fetch(raw, server, fetch="all", chains="lcdm+mnu", record=record)
    assert set(report["state"]) == {"fetched"}
    assert set(report["group"]) == set(catalogue.GROUPS)
    assert {file.name for file in raw.rglob("*.tar.gz")} == set()
    for chain in ("lcdm", "mnu"):
        assert {path.name: path.read_bytes() for path in (raw / "wmap_chains" / chain).iterdir()} == CHAIN
    observed = ObservationsDataset(filepath=str(raw / "cmb_ml/small/Simulation/Test/sim0000")).load()
    assert observed.nside == NSIDE and list(observed.maps) == ["100", "545"]
    sky = HealpixMapDataset(filepath=str(raw / "planck/maps/HFI_SkyMap_100_2048_R3.01_full.fits")).load()
    assert sky.fields == ("I", "Q", "U")
    spectra = PowerSpectraDataset(
        filepath=str(raw / "planck/theory" / catalogue.THEORY),
        columns=["L", "TT", "TE", "EE", "BB", "PP"],
        scaling="dl",
        lensed=True,
        unit="uK_CMB2",
    )
    assert spectra.exists()
    asked = len(server.requests)
    assert set(fetch(raw, server, fetch="all", chains="lcdm+mnu", record=record)["state"]) == {"here"}
    assert len(server.requests) == asked


def test_if_nothing_is_named_all_is_listed_and_nothing_fetched(server, tmp_path, capsys):
    report = fetch(tmp_path / "raw", server)
    assert set(report["state"]) == {"missing"}
    assert set(report["group"]) == set(catalogue.GROUPS) - {"cmbml_dataset"}
    assert server.requests == []
    shown = capsys.readouterr().out
    assert "planck/maps/HFI_SkyMap_545_2048_R3.01_full.fits" in shown and "all together" in shown


def test_a_dry_run_lists_what_is_named(server, tmp_path):
    report = fetch(tmp_path / "raw", server, fetch="ffp10_noise", dry_run=True)
    assert len(report) == 4
    assert server.requests == []


def test_a_part_can_be_fetched(server, tmp_path):
    name = "planck/noise/545/ffp10_noise_545_full_map_mc_00012.fits"
    server.files[name] = planck_fits(tmp_path, 1)
    report = fetch(tmp_path / "raw", server, fetch="ffp10_noise", channels="545", noise_simulations="12-12")
    assert list(report["path"]) == [name]


def test_a_transfer_that_breaks_is_taken_up(server, tmp_path):
    name = "planck/maps/HFI_SkyMap_545_2048_R3.01_full.fits"
    server.files[name] = planck_fits(tmp_path, 3)
    server.faults[name] = [Fault(status=503), Fault(cut=100)]
    report = fetch(tmp_path / "raw", server, fetch="planck_maps", channels="545", retries=2)
    assert list(report["state"]) == ["fetched"]
    assert (tmp_path / "raw" / name).read_bytes() == server.files[name]


def test_templates_are_those_of_the_presets(server, tmp_path):
    report = fetch(tmp_path / "raw", server, fetch="pysm_templates", presets=("f1", "cib1"), dry_run=True)
    assert list(report["path"]) == [
        "pysm/pysm_2/ff_t_new.fits",
        *(
            f"pysm/websky/0.4/cib/cib_{frequency}.fits"
            for frequency in ("0100.0", "0111.0", "0545.0", "0584.0")
        ),
    ]


def test_a_bandpass_widens_what_is_needed():
    wide = replace(TABLE["545"], bandpass=Bandpass((480.0, 640.0), (1.0, 1.0)))
    paths = [file.path for file in pysm_templates(["cib1"], 64, Instrument((wide,)), mirror="irsa")]
    names = ("0467.0", "0525.0", "0545.0", "0584.0", "0643.0")
    assert paths == [f"pysm/websky/0.4/cib/cib_{name}.fits" for name in names]


def test_a_released_dataset_without_its_record_is_an_error_with_the_remedy(server, tmp_path):
    with pytest.raises(DatasetError, match=r"record\.json: not there\. take it from CMB-ML"):
        fetch(tmp_path / "raw", server, fetch="cmbml_dataset")


@pytest.mark.slow
def test_the_command_fetches_what_its_parameters_name(tmp_path):
    with LocalServer() as server:
        record = released(tmp_path, server, "small")
        theory = f"planck/theory/{catalogue.THEORY}"
        server.files[theory] = b"# L TT TE EE BB PP\n2 1016.73 2.61 0.03 1.8e-6 5e-8\n"
        (tmp_path / "record.json").write_text(json.dumps(record))
        given = {
            "assets.fetch": "planck_theory+cmbml_dataset",
            "assets.dataset_simulations": "test:0-9",
            "assets.dataset_name": "small",
            "assets.mirror": server.url,
            "assets_folder": tmp_path / "raw",
            "dataset_record": tmp_path / "record.json",
            "foregrounds.source": "pysm",
        }
        text = run("--pipelines=assets", data=tmp_path / "data", **given)
    assert f"assets: {tmp_path}/raw/assets.csv" in text
    assert (tmp_path / "raw" / theory).read_bytes() == server.files[theory]
    assert (tmp_path / "raw/cmb_ml/small/Simulation/Test/sim0000/obs_545_map.fits").exists()
    assert set(pd.read_csv(tmp_path / "raw" / "assets.csv")["state"]) == {"fetched"}
