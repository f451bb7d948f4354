"""What every dataset of this project promises, whatever it stores."""

import base64
import inspect
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from kedro.io import DataCatalog
from kedro.io.core import DatasetError, Version
from kedro_datasets.partitions import PartitionedDataset
from matplotlib.figure import Figure

import cmbml.datasets
from cmbml.datasets import (
    AlmDataset,
    ArrayArchiveDataset,
    ArrayDataset,
    BandpassTableDataset,
    CheckpointDataset,
    ComponentsDataset,
    FigureDataset,
    Hdf5ObservationsDataset,
    HealpixMapDataset,
    InstrumentTableDataset,
    JsonRecordDataset,
    ObservationsDataset,
    PowerSpectraDataset,
    TheorySpectraDataset,
)
from cmbml.science.bandpasses import Bandpass
from cmbml.science.instrument import Channel, Instrument, Observations
from cmbml.science.skymap import SkyMap
from cmbml.science.spectra import PowerSpectra, TheorySpectra

PNG = b"\x89PNG\r\n\x1a\n"


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def sky_map() -> SkyMap:
    return SkyMap(numbers(3, 768), "uK_CMB", header={"SEED": 5})


def observations() -> Observations:
    return Observations({"100": numbers(3, 768), "545": numbers(1, 768)}, {"100": "uK_CMB", "545": "MJy/sr"})


def components() -> dict[str, Observations]:
    channels = observations()
    doubled = {name: 2 * values for name, values in channels.maps.items()}
    return {"dust": Observations(doubled, channels.units), "free_free": channels}


def spectra() -> PowerSpectra:
    return PowerSpectra({"TT": np.arange(20) * 0.1, "EE": np.arange(20) / 3}, "dl", lensed=True)


def theory() -> TheorySpectra:
    unlensed = {"TT": np.arange(20) * 0.1, "PP": np.arange(20) / 7}
    return TheorySpectra(PowerSpectra(unlensed, "cl", lensed=False), spectra())


def arrays() -> dict[str, np.ndarray]:
    return {"alm": alm(), "names": np.array(["dust", "ame"])}


def instrument() -> Instrument:
    return Instrument(
        (Channel("30", 28.4, 33.3, "IQU", 150.0, 210.0), Channel("545", 555.2, 21.5, "I", 0.1 + 0.2, np.nan))
    )


def bandpasses() -> dict[str, Bandpass]:
    return {
        "30": Bandpass((25.0, 0.1 + 0.2 + 30), (1.0, 1 / 3)),
        "545": Bandpass((500.0, 555.2, 600.0), (0, 1, 1)),
    }


def alm() -> np.ndarray:
    return (numbers(3, 45) + 1j * numbers(3, 45)).astype(np.complex64)


def record() -> dict[str, Any]:
    return {"omch2": 0.1 + 0.2, "beta": {"dust": 1e-30, "seeds": [1, 2]}, "name": "ΛCDM"}


def checkpoint() -> dict[str, Any]:
    weights = {"0.weight": torch.from_numpy(numbers(4, 2)), "steps": torch.tensor(3)}
    return {"weights": weights, "history": [{"epoch": 1, "loss": 0.1 + 0.2}], "facts": {"stokes": "I"}}


def same_checkpoint(one: dict[str, Any], other: dict[str, Any]) -> bool:
    plain = [{key: value for key, value in each.items() if key != "weights"} for each in (one, other)]
    tensors = [each["weights"] for each in (one, other)]
    same = [torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0]]
    return plain[0] == plain[1] and list(tensors[0]) == list(tensors[1]) and all(same)


def figure() -> Figure:
    drawn = Figure(figsize=(3, 2))
    drawn.subplots().plot([0, 1], [1, 0])
    return drawn


def same_map(one: SkyMap, other: SkyMap) -> bool:
    facts = [(m.unit, m.fields, dict(m.header)) for m in (one, other)]
    return facts[0] == facts[1] and np.array_equal(one.values, other.values)


def same_observations(one: Observations, other: Observations) -> bool:
    return (
        dict(one.units) == dict(other.units)
        and list(one.maps) == list(other.maps)
        and all(np.array_equal(one.maps[name], other.maps[name]) for name in one.maps)
    )


def same_components(one: dict[str, Observations], other: dict[str, Observations]) -> bool:
    return list(one) == list(other) and all(same_observations(one[name], other[name]) for name in one)


def same_spectra(one: PowerSpectra, other: PowerSpectra) -> bool:
    facts = [(s.scaling, s.lensed, s.unit, list(s.values)) for s in (one, other)]
    return facts[0] == facts[1] and all(np.array_equal(one.values[n], other.values[n]) for n in one.values)


def same_theory(one: TheorySpectra, other: TheorySpectra) -> bool:
    return same_spectra(one.unlensed, other.unlensed) and same_spectra(one.lensed, other.lensed)


def same_arrays(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in one)


def same_instrument(one: Instrument, other: Instrument) -> bool:
    rows = [
        [(c.name, c.stokes, c.frequency_ghz, c.fwhm_arcmin, c.noise_temperature_uk_arcmin) for c in i]
        for i in (one, other)
    ]
    polarisation = [[c.noise_polarisation_uk_arcmin for c in i] for i in (one, other)]
    return rows[0] == rows[1] and np.array_equal(*polarisation, equal_nan=True)


def same_png(drawn: Figure, loaded: bytes) -> bool:
    """The PNG has as many pixels as the figure, which is not loaded again."""
    width, height = (int.from_bytes(loaded[start : start + 4]) for start in (16, 20))
    return (width, height) == tuple(drawn.get_size_inches() * drawn.dpi)


@dataclass(frozen=True)
class Case:
    """One dataset class and what it stores."""

    cls: Any
    name: str
    data: Callable[[], Any]
    same: Callable[[Any, Any], bool]
    wrong: Any
    options: dict[str, Any] = field(default_factory=dict)
    preview: str = "ImagePreview"

    @property
    def is_folder(self) -> bool:
        return self.cls in (ComponentsDataset, ObservationsDataset, TheorySpectraDataset)

    def at(self, folder: Any, **more: Any) -> Any:
        return self.cls(filepath=f"{folder}/{self.name}", **self.options, **more)


ARRAY = {"columns": ["TT", "EE"], "scaling": "dl", "lensed": True, "unit": "uK_CMB2"}
CASES = {
    "map": Case(HealpixMapDataset, "cmb.fits", sky_map, same_map, np.zeros((1, 768))),
    "observations": Case(ObservationsDataset, "sim0000", observations, same_observations, sky_map()),
    "hdf5": Case(Hdf5ObservationsDataset, "sim0000.h5", observations, same_observations, sky_map()),
    "hdf5 packed": Case(
        Hdf5ObservationsDataset,
        "sim0000.h5",
        observations,
        same_observations,
        sky_map(),
        {"compression": "gzip"},
    ),
    "components": Case(ComponentsDataset, "sim0000", components, same_components, 5.0),
    "spectra": Case(PowerSpectraDataset, "cl.txt", spectra, same_spectra, np.zeros(20)),
    "spectra array": Case(PowerSpectraDataset, "cl.npy", spectra, same_spectra, np.zeros(20), ARRAY),
    "theory": Case(TheorySpectraDataset, "sim0000", theory, same_theory, spectra()),
    "arrays": Case(
        ArrayArchiveDataset,
        "alm.npz",
        arrays,
        same_arrays,
        {"objects": np.array([{}], dtype=object)},
        preview="JSONPreview",
    ),
    "array": Case(ArrayDataset, "sim0000.npy", alm, np.array_equal, [1.0, 2.0], preview="JSONPreview"),
    "array read whole": Case(
        ArrayDataset, "sim0000.npy", alm, np.array_equal, [1.0, 2.0], {"mmap": False}, preview="JSONPreview"
    ),
    "instrument": Case(
        InstrumentTableDataset,
        "table.ecsv",
        instrument,
        same_instrument,
        {"30": 28.4},
        preview="TablePreview",
    ),
    "instrument ipac": Case(
        InstrumentTableDataset, "table.tbl", instrument, same_instrument, {"30": 28.4}, preview="TablePreview"
    ),
    "bandpasses": Case(
        BandpassTableDataset, "bands.ecsv", bandpasses, dict.__eq__, {"30": 28.4}, preview="TablePreview"
    ),
    "alm": Case(AlmDataset, "alm.fits", alm, np.array_equal, np.zeros(45, complex)),
    "record": Case(JsonRecordDataset, "record.json", record, dict.__eq__, [1, 2], preview="JSONPreview"),
    "checkpoint": Case(
        CheckpointDataset,
        "best.pt",
        checkpoint,
        same_checkpoint,
        {"network": object()},
        preview="JSONPreview",
    ),
    "figure": Case(FigureDataset, "sky.png", figure, same_png, "a picture"),
}
VERSIONED = {name: case for name, case in CASES.items() if not case.is_folder}
every_dataset = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
every_versioned = pytest.mark.parametrize("case", VERSIONED.values(), ids=VERSIONED.keys())


@pytest.fixture
def memory():
    filesystem = fsspec.filesystem("memory")
    yield "memory://leaves"
    filesystem.store.clear()
    filesystem.pseudo_dirs[:] = [""]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- Saving and loading -----------------------------------------------------------


@every_dataset
def test_what_is_saved_is_loaded(case, tmp_path):
    dataset = case.at(tmp_path)
    assert not dataset.exists()
    dataset.save(case.data())
    assert dataset.exists()
    assert case.same(case.data(), dataset.load())


@every_dataset
def test_what_is_saved_is_loaded_by_another_instance_from_memory(case, memory):
    case.at(memory).save(case.data())
    assert case.at(memory).exists()
    assert case.same(case.data(), case.at(memory).load())


@every_dataset
def test_the_same_data_give_the_same_bytes(case, tmp_path):
    case.at(tmp_path / "one").save(case.data())
    case.at(tmp_path / "two").save(case.data())
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one")


@every_dataset
def test_saving_again_replaces_and_leaves_nothing_else(case, tmp_path):
    dataset = case.at(tmp_path)
    dataset.save(case.data())
    before = contents(tmp_path)
    dataset.save(case.data())
    assert contents(tmp_path) == before


@every_dataset
def test_a_path_may_be_an_os_path(case, tmp_path):
    dataset = case.cls(filepath=tmp_path / case.name, **case.options)
    dataset.save(case.data())
    assert case.at(tmp_path).exists()


@every_dataset
def test_a_missing_file_is_named(case, tmp_path):
    with pytest.raises(DatasetError, match=rf"{case.name}(/cmb_ps_fid.txt)?: no (such file|map there)"):
        case.at(tmp_path).load()


@every_dataset
def test_other_data_are_refused_and_nothing_is_written(case, tmp_path):
    with pytest.raises(DatasetError, match=r"can(not)? be saved|is expected, not|have shape"):
        case.at(tmp_path).save(case.wrong)
    assert contents(tmp_path) == {}


@every_dataset
def test_none_is_refused(case, tmp_path):
    with pytest.raises(DatasetError, match="Saving 'None' to a 'Dataset' is not allowed"):
        case.at(tmp_path).save(None)


@every_dataset
def test_a_read_only_dataset_is_read_but_not_saved(case, tmp_path):
    case.at(tmp_path).save(case.data())
    before = contents(tmp_path)
    raw = case.at(tmp_path, read_only=True)
    with pytest.raises(DatasetError, match=rf"{case.name}: raw input is read-only \(read_only: true\)"):
        raw.save(case.data())
    assert case.same(case.data(), raw.load())
    assert contents(tmp_path) == before


# ---- Killed and damaged -----------------------------------------------------------


class Killed(BaseException):
    """Stands for a signal: no `except Exception` sees it."""


@every_dataset
@pytest.mark.parametrize("old", [False, True], ids=["new", "over an old one"])
def test_a_run_killed_while_writing_leaves_the_old_file_or_none(case, old, tmp_path, monkeypatch):
    dataset = case.at(tmp_path)
    if old:
        dataset.save(case.data())
    before = contents(tmp_path)

    def write_half(file: Any, payload: bytes) -> None:
        file.f.write(payload[: len(payload) // 2])
        raise Killed

    monkeypatch.setattr("fsspec.implementations.local.LocalFileOpener.write", write_half)
    with pytest.raises(Killed):
        dataset.save(case.data())
    assert dataset.exists() == old
    assert contents(tmp_path) == before


@every_dataset
def test_a_half_written_file_has_another_suffix(case, tmp_path, monkeypatch):
    """A kill that even the clean-up does not survive."""
    monkeypatch.setattr("cmbml.datasets.storage._discard", lambda *_: None)
    monkeypatch.setattr("cmbml.datasets.storage.os.replace", lambda *_: (_ for _ in ()).throw(Killed))
    dataset = case.at(tmp_path)
    with pytest.raises(Killed):
        dataset.save(case.data())
    assert not dataset.exists()
    assert {Path(name).suffix for name in contents(tmp_path)} <= {".part", ""}
    assert not [
        name for name in contents(tmp_path) if name.endswith((".fits", ".h5", ".json", ".txt", ".png"))
    ]


@every_dataset
@pytest.mark.parametrize("left", [0, 1, 100, -3], ids=["empty", "one byte", "start", "all but 3 bytes"])
def test_a_file_cut_short_is_an_error_that_names_it(case, left, tmp_path):
    case.at(tmp_path).save(case.data())
    path = max((path for path in tmp_path.rglob("*") if path.is_file()), key=lambda p: p.stat().st_size)
    if path.suffix == ".fits" and left < 0:
        left = -3000  # the last block is padding, which nobody misses
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DatasetError, match=path.name):
        case.at(tmp_path).load()


# ---- Kedro's side -------------------------------------------------------------------


@every_dataset
def test_the_description_names_the_path_and_no_secret(case, tmp_path, monkeypatch):
    monkeypatch.setattr(fsspec, "filesystem", lambda *_, **__: fsspec.implementations.local.LocalFileSystem())
    dataset = case.at(tmp_path, credentials={"key": "hush"})
    assert str(dataset._describe()["filepath"]) == f"{tmp_path}/{case.name}"
    assert f"{tmp_path}/{case.name}" in str(dataset)
    assert "hush" not in str(dataset)
    assert "version=" not in str(dataset)


@every_dataset
@pytest.mark.parametrize(
    "path, protocol",
    [
        ("data/x", "file"),
        ("file:///data/x", "file"),
        ("memory://x", "memory"),
        ("s3://b/x", "s3"),
        ("https://h/x", "https"),
    ],
)
def test_the_protocol_chooses_the_filesystem_and_passes_its_arguments(case, path, protocol, monkeypatch):
    calls = []

    def filesystem(name: str, **arguments: Any) -> Any:
        calls.append((name, arguments))
        return fsspec.implementations.memory.MemoryFileSystem()

    monkeypatch.setattr(fsspec, "filesystem", filesystem)
    case.at(path, credentials={"key": "a"}, fs_args={"anon": True})
    made = {"auto_mkdir": True} if protocol == "file" else {}
    assert calls == [(protocol, {"key": "a", "anon": True, **made})]


@every_dataset
def test_arguments_are_copied(case, tmp_path):
    fs_args = {"auto_mkdir": True, "nested": {"a": 1}}
    dataset = case.cls(filepath=f"memory://x/{case.name}", fs_args=fs_args, **case.options)
    fs_args["nested"]["a"] = 2
    assert dataset._fs.storage_options["nested"] == {"a": 1}


@every_dataset
def test_the_constructor_reads_and_writes_nothing(case, tmp_path):
    case.at(tmp_path / "absent" / "folder")
    assert not list(tmp_path.iterdir())


@every_dataset
def test_release_forgets_the_listing(case, tmp_path, monkeypatch):
    dataset, forgotten = case.at(tmp_path), []
    monkeypatch.setattr(type(dataset._fs), "invalidate_cache", lambda _, path=None: forgotten.append(path))
    dataset.release()
    assert forgotten == [f"{tmp_path}/{case.name}"]


@every_dataset
def test_a_dataset_and_its_methods_travel_to_other_processes(case, tmp_path):
    dataset = case.at(tmp_path)
    dataset.save(case.data())
    assert case.same(case.data(), pickle.loads(ForkingPickler.dumps(dataset)).load())
    assert case.same(case.data(), pickle.loads(pickle.dumps(dataset.load))())


@every_dataset
def test_a_catalog_makes_it_from_text(case, tmp_path):
    entry = {
        "type": f"cmbml.datasets.{case.cls.__name__}",
        "filepath": f"{tmp_path}/{case.name}",
        "metadata": {"kedro-viz": {"layer": "raw"}},
        **case.options,
    }
    catalog = DataCatalog.from_config({"leaf": entry})
    catalog.save("leaf", case.data())
    assert case.same(case.data(), catalog.load("leaf"))
    assert catalog["leaf"].metadata == {"kedro-viz": {"layer": "raw"}}


def _refuse(data: Any) -> None:
    raise ValueError("this one is not wanted")


@every_dataset
def test_a_validator_sees_the_data(case, tmp_path):
    case.at(tmp_path).save(case.data())
    entry = {
        "type": f"cmbml.datasets.{case.cls.__name__}",
        "filepath": f"{tmp_path}/{case.name}",
        "validator": f"{__name__}._refuse",
        **case.options,
    }
    with pytest.raises(DatasetError, match="this one is not wanted"):
        DataCatalog.from_config({"leaf": entry}).load("leaf")


@every_versioned
def test_it_is_a_leaf_of_a_partitioned_dataset(case, tmp_path):
    suffix = Path(case.name).suffix
    definition = {"type": f"cmbml.datasets.{case.cls.__name__}", **case.options}
    parts = PartitionedDataset(path=str(tmp_path), dataset=definition, filename_suffix=suffix)
    parts.save({"sim0000": case.data(), "sim0001": case.data})
    loaded = parts.load()
    assert sorted(loaded) == ["sim0000", "sim0001"]
    assert all(case.same(case.data(), loader()) for loader in loaded.values())


@every_dataset
def test_the_preview_is_what_kedro_viz_draws(case, tmp_path):
    dataset = case.at(tmp_path, metadata={"kedro-viz": {"preview_args": {}}})
    dataset.save(case.data())
    assert inspect.signature(dataset.preview).return_annotation.__name__ == case.preview
    preview = dataset.preview()
    if case.preview == "ImagePreview":
        assert base64.b64decode(preview, validate=True).startswith(PNG)
        assert len(preview) < 200_000


def test_an_unknown_dataset_is_not_there():
    with pytest.raises(AttributeError, match=r"module 'cmbml\.datasets' has no attribute 'MapDataset'"):
        cmbml.datasets.MapDataset  # noqa: B018


def test_every_listed_dataset_is_there():
    assert all(getattr(cmbml.datasets, name).__name__ == name for name in cmbml.datasets.__all__)


# ---- Versions -------------------------------------------------------------------------

FIRST, SECOND = "2026-01-01T00.00.00.000Z", "2026-01-02T00.00.00.000Z"


@every_versioned
def test_a_version_is_saved_in_its_own_folder_and_the_last_one_loaded(case, tmp_path):
    for version in (FIRST, SECOND):
        case.at(tmp_path, version=Version(None, version)).save(case.data())
    assert (tmp_path / case.name / FIRST / case.name).is_file()
    dataset = case.at(tmp_path, version=Version(None, None))
    assert dataset.exists()
    assert case.same(case.data(), dataset.load())
    assert dataset.resolve_load_version() == SECOND
    assert "version=Version" in str(dataset)


@every_versioned
def test_without_versions_nothing_exists(case, tmp_path):
    dataset = case.at(tmp_path, version=Version(None, None))
    assert not dataset.exists()
    with pytest.raises(DatasetError, match="Did not find any versions for"):
        dataset.load()


@every_versioned
def test_a_version_is_not_overwritten(case, tmp_path):
    dataset = case.at(tmp_path, version=Version(None, FIRST))
    dataset.save(case.data())
    with pytest.raises(DatasetError, match=r"Save path .* must not exist if versioning is enabled"):
        dataset.save(case.data())


@every_versioned
def test_saving_another_version_than_is_loaded_warns(case, tmp_path):
    case.at(tmp_path, version=Version(None, FIRST)).save(case.data())
    dataset = case.at(tmp_path, version=Version(FIRST, SECOND))
    with pytest.warns(UserWarning, match=rf"Save version '{SECOND}' did not match load version '{FIRST}'"):
        dataset.save(case.data())


@every_versioned
def test_a_version_cannot_be_saved_where_a_plain_file_lies(case, tmp_path):
    case.at(tmp_path).save(case.data())
    with pytest.raises(
        DatasetError, match=r"Cannot save versioned dataset .* a file with the same name already exists"
    ):
        case.at(tmp_path, version=Version(None, FIRST)).save(case.data())


@every_versioned
def test_http_has_no_versions(case):
    with pytest.raises(DatasetError, match="Versioning is not supported for HTTP protocols"):
        case.at("https://example.org", version=Version(None, None))
