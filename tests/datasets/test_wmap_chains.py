"""A chain is read row by row, and what is wrong with its files is said."""

import pickle

import fsspec
import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem
from kedro.io.core import DatasetError

from cmbml.datasets import DeferredDataset, WmapChainsDataset
from cmbml.science.chains import ChainRow
from tests.wmap_chains import wmap_like, write_chain

SMALL = {"tau": np.array([0.08, 0.09, 0.1]), "H0": np.array([69.5, 70.25, 101.0])}
FORMATS = {
    "published": {},
    "ragged": {"ragged": True},
    "with a header": {"header": "# tau of a chain\n"},
    "ragged with a header": {"ragged": True, "header": "chain of 3 steps\n\n"},
}


def opened(folder, *names):
    return WmapChainsDataset(path=str(folder), parameters=names or ["tau", "H0"]).load()


@pytest.mark.parametrize("options", FORMATS.values(), ids=FORMATS)
def test_rows_are_those_written(tmp_path, options):
    chain = opened(write_chain(tmp_path, SMALL, **options))
    assert chain.length == 3
    assert [chain.row(number) for number in (2, 0, 1)] == [
        ChainRow(3, {"tau": 0.1, "H0": 101.0}),
        ChainRow(1, {"tau": 0.08, "H0": 69.5}),
        ChainRow(2, {"tau": 0.09, "H0": 70.25}),
    ]


@pytest.mark.parametrize("length", [1, 9, 10, 137, 12345])
@pytest.mark.parametrize("ragged", [False, True])
def test_any_length(tmp_path, length, ragged):
    values = np.random.default_rng(0).random(length)
    chain = opened(write_chain(tmp_path, {"tau": values}, ragged=ragged), "tau")
    assert chain.length == length
    for number in {0, length // 3, length - 1}:
        row = chain.row(number)
        assert row.index == number + 1
        assert row.values["tau"] == pytest.approx(values[number], abs=1e-17)


def test_a_draw_does_not_read_the_chain(tmp_path, monkeypatch):
    columns = wmap_like(20000)
    write_chain(tmp_path, columns)
    read = []
    cat_file = LocalFileSystem.cat_file

    def counted(self, path, start=None, end=None, **options):
        content = cat_file(self, path, start=start, end=end, **options)
        read.append(len(content))
        return content

    monkeypatch.setattr(LocalFileSystem, "cat_file", counted)
    opened(tmp_path, *columns).row(12000)
    assert sum(read) < 0.02 * sum(path.stat().st_size for path in tmp_path.iterdir())


def test_the_index_is_the_chains_own(tmp_path):
    assert opened(write_chain(tmp_path, SMALL, first=501)).row(1).index == 502


def test_rows_that_only_look_equally_wide_are_found_too(tmp_path):
    # three rows of 6, 7 and 5 bytes: as many as three of 6
    (tmp_path / "tau").write_text("1 0.1\n2 0.12\n3 .1\n")
    chain = opened(tmp_path, "tau")
    assert [chain.row(number).values["tau"] for number in range(3)] == [0.1, 0.12, 0.1]


def test_a_chain_can_lie_elsewhere():
    filesystem = fsspec.filesystem("memory")
    filesystem.pipe_file("/chains/tau", b"1       0.080\n2       0.090\n")
    assert opened("memory://bucket/chains", "tau").row(1) == ChainRow(2, {"tau": 0.09})


def test_it_travels_to_workers_as_a_deferred_input(tmp_path):
    write_chain(tmp_path / "lcdm", SMALL)
    inner = {
        "type": "cmbml.datasets.WmapChainsDataset",
        "path": str(tmp_path / "lcdm"),
        "parameters": ["tau"],
    }
    loader = pickle.loads(pickle.dumps(DeferredDataset(dataset=inner).load()))
    assert loader.exists
    assert loader().row(0).values == {"tau": 0.08}
    before = loader.fingerprint
    write_chain(tmp_path / "lcdm", {"tau": SMALL["tau"] + 0.01})
    assert DeferredDataset(dataset=inner).load().fingerprint != before


def test_a_folder_that_is_not_there_does_not_exist(tmp_path):
    assert not WmapChainsDataset(path=str(tmp_path / "mnu"), parameters=["tau"]).exists()


def test_a_chain_without_all_its_files_does_not_exist(tmp_path):
    write_chain(tmp_path, SMALL)
    assert WmapChainsDataset(path=str(tmp_path), parameters=["tau"]).exists()
    assert not WmapChainsDataset(path=str(tmp_path), parameters=["tau", "absent"]).exists()


# ---- What is wrong ----------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"no file mnu; a chain has one file per parameter: fetch"):
        opened(write_chain(tmp_path, SMALL), "tau", "mnu")


@pytest.mark.parametrize("ragged", [False, True])
def test_a_file_cut_within_a_row_is_named(tmp_path, ragged):
    write_chain(tmp_path, SMALL, ragged=ragged)
    text = (tmp_path / "H0").read_text()
    for left in (-1, -4):
        (tmp_path / "H0").write_text(text[:left])
        with pytest.raises(DatasetError, match="H0: the last row is not whole: the file is cut short"):
            opened(tmp_path)


@pytest.mark.parametrize("ragged", [False, True])
def test_a_file_cut_between_rows_is_noticed(tmp_path, ragged):
    write_chain(tmp_path, SMALL, ragged=ragged)
    rows = (tmp_path / "H0").read_text().splitlines(keepends=True)
    (tmp_path / "H0").write_text("".join(rows[:-1]))
    with pytest.raises(DatasetError, match=r"numbers of rows differ \(tau 3, H0 2\).*a file is cut short"):
        opened(tmp_path)


@pytest.mark.parametrize("text", ["", "no rows here\n", "1 2 3\n", "1 nan\n"])
def test_what_is_no_chain_is_refused(tmp_path, text):
    (tmp_path / "tau").write_text(text)
    with pytest.raises(DatasetError, match=rf"tau: no row `index value` in its first {len(text)} bytes"):
        opened(tmp_path, "tau")


@pytest.mark.parametrize("number", [-1, 3])
def test_a_row_that_does_not_exist_is_refused(tmp_path, number):
    chain = opened(write_chain(tmp_path, SMALL))
    with pytest.raises(DatasetError, match=f"no row {number}; there are 3, counted from 0"):
        chain.row(number)


@pytest.mark.parametrize(
    ("row", "ragged"), [("2       0.09x\n", False), ("2       nan\n", False), ("2 x\n", True)]
)
def test_a_damaged_row_is_said_where_it_is_read(tmp_path, row, ragged):
    write_chain(tmp_path, {"tau": SMALL["tau"]}, ragged=ragged)
    rows = (tmp_path / "tau").read_text().splitlines(keepends=True)
    damaged = row if ragged else row.rstrip("\n").ljust(len(rows[0]) - 1) + "\n"
    (tmp_path / "tau").write_text("".join([rows[0], damaged, rows[2]]))
    chain = opened(tmp_path, "tau")
    assert chain.row(0).values == {"tau": 0.08}
    with pytest.raises(DatasetError, match=r"tau: row 1 \(from 0\) is not an index and a value"):
        chain.row(1)


def test_files_of_two_chains_are_not_mixed(tmp_path):
    write_chain(tmp_path, {"tau": SMALL["tau"]})
    write_chain(tmp_path, {"H0": SMALL["H0"]}, first=11)
    with pytest.raises(DatasetError, match=r"number row 1 \(from 0\) differently \(tau 2, H0 12\)"):
        opened(tmp_path).row(1)


def test_a_chain_is_not_written_to(tmp_path):
    dataset = WmapChainsDataset(path=str(tmp_path), parameters=["tau"])
    with pytest.raises(DatasetError, match="raw input is read-only; nothing is saved to it"):
        dataset.save(SMALL)


@pytest.mark.parametrize("names", [[], ["tau", "tau"]])
def test_parameters_are_named_once(tmp_path, names):
    with pytest.raises(DatasetError, match=r"name the files to read, each once"):
        WmapChainsDataset(path=str(tmp_path), parameters=names)
