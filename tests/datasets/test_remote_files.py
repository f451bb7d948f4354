"""A folder of fetched files: what is there, what is wrong with it, and what is done about it."""

import hashlib
import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import healpy as hp
import numpy as np
import pytest
from kedro.io import DataCatalog
from kedro.io.core import DatasetError

from cmbml.datasets import RemoteFilesDataset, transfer
from cmbml.datasets.archives import unpack
from cmbml.datasets.fetching import Shelf
from cmbml.remote_files import FetchOrder, RemoteFile, size_text
from tests.local_server import Fault, LocalServer

CHAIN = {"H0": b"1 70.1\n2 69.8\n", "omegach2": b"1 0.113\n2 0.114\n"}
SKY = {
    "Simulation/Test/sim0000/obs_30_map.fits": b"SIMPLE  = a",
    "Simulation/Test/sim0000/cmb_map_fid.fits": b"b",
}


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(transfer, "sleep", lambda _: None)
    with LocalServer() as running:
        yield running


@pytest.fixture(scope="module")
def fits(tmp_path_factory) -> bytes:
    """A map as Planck has them, small."""
    path = tmp_path_factory.mktemp("map") / "map.fits"
    maps = np.random.default_rng(5).normal(size=(3, 12 * 64**2))
    hp.write_map(path, maps, nest=True, dtype=np.float32, column_names=["I_STOKES", "Q_STOKES", "U_STOKES"])
    return path.read_bytes()


def tar(members: dict[str, bytes], **kinds: bytes) -> bytes:
    """A compressed archive; `kinds` are members of another kind than a file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    return buffer.getvalue()


def sha(kind: str, content: bytes) -> str:
    return f"{kind}:{hashlib.new(kind, content).hexdigest()}"


def serve(server, path: str, content: bytes, **facts) -> RemoteFile:
    server.files[path] = content
    return RemoteFile(path, f"{server.url}/{path}", facts.pop("group", "maps"), **facts)


def order(*files: RemoteFile, **options) -> FetchOrder:
    given = {"retries": 0, "wait_seconds": 0.0, "timeout_seconds": 5.0, "verify": "quick", "is_dry": False}
    return FetchOrder(files=files, **{**given, **options})


def load(folder: Path, *files: RemoteFile, **options):
    dataset = RemoteFilesDataset(path=str(folder / "raw"))
    dataset.save(order(*files, **options))
    return dataset.load()


def states(reports) -> list[str]:
    return [report.state for report in reports]


def ledger(folder: Path) -> dict:
    return json.loads((folder / "raw" / "checksums.json").read_text())


def contents(folder: Path) -> dict[str, bytes]:
    raw = folder / "raw"
    own = {"checksums.json", "order.json"}
    return {
        str(path.relative_to(raw)): path.read_bytes()
        for path in sorted(raw.rglob("*"))
        if path.is_file() and path.name not in own
    }


# ---- Fetching ---------------------------------------------------------------------------


def test_a_file_is_fetched_once_and_its_checksum_recorded(server, tmp_path, fits):
    file = serve(server, "planck/a.fits", fits)
    (report,) = load(tmp_path, file)
    assert (report.state, report.size, f"sha256:{report.sha256}") == (
        "fetched",
        len(fits),
        sha("sha256", fits),
    )
    assert contents(tmp_path) == {"planck/a.fits": fits}
    assert ledger(tmp_path)["planck/a.fits"]["sha256"] == report.sha256


def test_a_second_run_needs_no_network(server, tmp_path, fits):
    files = [serve(server, "a.fits", fits), serve(server, "b.tar.gz", tar(CHAIN), unpack_to="b")]
    load(tmp_path, *files)
    server.requests.clear()
    assert states(load(tmp_path, *files)) == ["here", "here"]
    assert server.requests == []


def test_every_file_is_tried_before_one_error_lists_the_failures(server, tmp_path, fits):
    good = [serve(server, "a.fits", fits), serve(server, "c.fits", fits)]
    gone = RemoteFile("b.fits", f"{server.url}/b.fits", "maps")
    wrong = serve(server, "d.fits", fits, checksum="md5:" + 32 * "0")
    with pytest.raises(
        DatasetError, match=r"2 of 4 files were not fetched.*b\.fits: .*404.*; d\.fits: .*checksum md5:0000"
    ):
        load(tmp_path, good[0], gone, wrong, good[1])
    assert set(contents(tmp_path)) == {"a.fits", "c.fits"}


def test_after_a_failure_the_next_run_fetches_the_rest_alone(server, tmp_path, fits):
    files = [serve(server, "a.fits", fits), serve(server, "b.fits", fits)]
    server.faults["b.fits"] = [Fault(cut=len(fits) // 2)]
    with pytest.raises(DatasetError, match=r"1 of 2 files were not fetched.*bytes have arrived and are kept"):
        load(tmp_path, *files)
    server.requests.clear()
    assert states(load(tmp_path, *files)) == ["here", "fetched"]
    assert server.asked() == ["b.fits"]
    assert contents(tmp_path) == {"a.fits": fits, "b.fits": fits}


def test_a_host_that_is_down_is_not_waited_for_at_every_file(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(transfer, "sleep", waited.append)
    with LocalServer() as server:
        pass
    files = [RemoteFile(f"{i}.fits", f"{server.url}/{i}.fits", "maps", size=9) for i in range(4)]
    with pytest.raises(DatasetError, match="4 of 4 files were not fetched"):
        load(tmp_path, *files, retries=2)
    assert len(waited) == 2


@pytest.mark.parametrize("kind", ["md5", "sha1", "sha256"])
def test_a_published_checksum_is_held_against_what_came(server, tmp_path, fits, kind):
    assert states(load(tmp_path, serve(server, "a.fits", fits, checksum=sha(kind, fits)))) == ["fetched"]


def test_a_recorded_checksum_holds_when_the_file_is_fetched_again(server, tmp_path, fits):
    file = serve(server, "a.fits", fits)
    load(tmp_path, file)
    (tmp_path / "raw" / "a.fits").unlink()
    server.files["a.fits"] = fits[:-1] + b"x"
    with pytest.raises(DatasetError, match=r"checksum of the first download.*remove its entry a\.fits"):
        load(tmp_path, file)
    assert contents(tmp_path) == {}


def test_a_size_that_is_published_is_held_against_what_came(server, tmp_path, fits):
    file = serve(server, "a.fits", fits, size=len(fits) + 1, is_exact=True)
    with pytest.raises(DatasetError, match=rf"has {len(fits)} bytes, {len(fits) + 1} are published"):
        load(tmp_path, file)
    assert contents(tmp_path) == {}


def test_a_placeholder_is_not_the_file(server, tmp_path, fits):
    file = serve(server, "a.fits", fits, size=100 * len(fits))
    with pytest.raises(DatasetError, match=r"are expected; the server sent a placeholder"):
        load(tmp_path, file)
    assert contents(tmp_path) == {}


def test_a_map_that_was_cut_short_on_the_server_is_noticed(server, tmp_path, fits):
    with pytest.raises(DatasetError, match=r"a\.fits is cut short"):
        load(tmp_path, serve(server, "a.fits", fits[: len(fits) // 2]))


# ---- What lies there already ----------------------------------------------------------------


def lay(folder: Path, path: str, content: bytes) -> None:
    place = folder / "raw" / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


@pytest.mark.parametrize("published", [False, True], ids=["no checksum", "checksum"])
def test_a_file_that_was_put_there_by_hand_is_verified_and_kept(server, tmp_path, fits, published):
    file = serve(server, "a.fits", fits, checksum=sha("sha1", fits) if published else "")
    lay(tmp_path, "a.fits", fits)
    assert states(load(tmp_path, file)) == ["here"]
    assert server.asked() == []
    assert ledger(tmp_path)["a.fits"]["size"] == len(fits)


@pytest.mark.parametrize("name", ["a.fits", "a.txt"])
def test_a_half_written_file_is_fetched_again(server, tmp_path, fits, name):
    file = serve(server, name, fits)
    lay(tmp_path, name, fits[: len(fits) // 2])
    assert states(load(tmp_path, file)) == ["fetched"]
    assert contents(tmp_path) == {name: fits}


def test_a_damaged_file_stays_until_the_good_one_is_there(server, tmp_path, fits):
    file = serve(server, "a.fits", fits, checksum=sha("md5", fits))
    lay(tmp_path, "a.fits", fits[:-1])
    server.faults["a.fits"] = [Fault(status=500)]
    with pytest.raises(DatasetError, match="500"):
        load(tmp_path, file)
    assert contents(tmp_path)["a.fits"] == fits[:-1]


@pytest.mark.parametrize("verify", ["quick", "full"])
def test_a_file_that_is_changed_is_noticed(server, tmp_path, fits, verify):
    file = serve(server, "a.fits", fits)
    load(tmp_path, file)
    lay(tmp_path, "a.fits", fits[:-1] + b"x")
    assert states(load(tmp_path, file, verify=verify)) == ["fetched"]
    assert contents(tmp_path) == {"a.fits": fits}


def test_a_change_that_hides_is_noticed_by_full_verification_alone(server, tmp_path, fits):
    file, place = serve(server, "a.fits", fits), tmp_path / "raw" / "a.fits"
    load(tmp_path, file)
    before = place.stat()
    place.write_bytes(fits[:-1] + b"x")
    os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert states(load(tmp_path, file, verify="quick")) == ["here"]
    assert states(load(tmp_path, file, verify="full")) == ["fetched"]


def test_a_file_that_was_only_touched_is_read_and_kept(server, tmp_path, fits):
    file = serve(server, "a.fits", fits)
    load(tmp_path, file)
    os.utime(tmp_path / "raw" / "a.fits", ns=(1, 1))
    assert states(load(tmp_path, file)) == ["here"]
    assert ledger(tmp_path)["a.fits"]["touched"] == 1


def test_another_published_checksum_makes_a_file_stale(server, tmp_path, fits):
    load(tmp_path, serve(server, "a.fits", fits, checksum=sha("sha1", fits)))
    new = fits[:-1] + b"x"
    assert states(load(tmp_path, serve(server, "a.fits", new, checksum=sha("sha1", new)))) == ["fetched"]
    assert contents(tmp_path) == {"a.fits": new}


def test_lists_of_two_runs_in_one_folder_are_kept_together(server, tmp_path, fits):
    first, second = (serve(server, name, fits) for name in ("a.fits", "b.fits"))
    shelf = Shelf(tmp_path / "raw", verify="quick")
    load(tmp_path, first)
    lay(tmp_path, "b.fits", fits)
    shelf.examine([second], may_read=True)
    assert set(ledger(tmp_path)) == {"a.fits", "b.fits"}


def test_a_damaged_list_is_named(server, tmp_path, fits):
    file = serve(server, "a.fits", fits)
    load(tmp_path, file)
    (tmp_path / "raw" / "checksums.json").write_text('{"a.fits": 3}')
    with pytest.raises(DatasetError, match=r"checksums\.json: no list of checksums, or a damaged one"):
        load(tmp_path, file)


# ---- Archives ---------------------------------------------------------------------------------


def test_an_archive_is_unpacked_and_not_kept(server, tmp_path):
    content = tar(SKY)
    file = serve(server, "ml/x.tar.gz", content, unpack_to="ml", checksum=sha("sha1", content))
    (report,) = load(tmp_path, file)
    assert contents(tmp_path) == {f"ml/{name}": member for name, member in SKY.items()}
    assert (report.state, report.size) == ("fetched", sum(map(len, SKY.values())))


@pytest.mark.parametrize("prefix", ["", "./", "wmap_chains_v5/"])
def test_a_folder_that_holds_a_whole_archive_is_left_out_if_wanted(server, tmp_path, prefix):
    content = tar({f"{prefix}{name}": member for name, member in CHAIN.items()})
    load(tmp_path, serve(server, "c.tar.gz", content, unpack_to="chains/lcdm", strip=True))
    assert contents(tmp_path) == {f"chains/lcdm/{name}": member for name, member in CHAIN.items()}


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_member_that_is_gone_or_changed_brings_the_archive_again(server, tmp_path, damage):
    file = serve(server, "c.tar.gz", tar(CHAIN), unpack_to="c")
    load(tmp_path, file)
    place = tmp_path / "raw" / "c" / "H0"
    place.unlink() if damage == "gone" else place.write_bytes(b"3 1.0\n")
    assert states(load(tmp_path, file)) == ["fetched"]
    assert contents(tmp_path) == {f"c/{name}": member for name, member in CHAIN.items()}


def test_an_archive_that_was_not_unpacked_yet_is_not_fetched_again(server, tmp_path):
    content = tar(CHAIN)
    file = serve(server, "c.tar.gz", content, unpack_to="c", checksum=sha("sha1", content))
    lay(tmp_path, "c.tar.gz", content)
    assert states(load(tmp_path, file)) == ["fetched"]
    assert server.asked() == []
    assert contents(tmp_path) == {f"c/{name}": member for name, member in CHAIN.items()}


@pytest.mark.parametrize("published", [False, True], ids=["no checksum", "checksum"])
def test_half_an_archive_on_disk_is_replaced(server, tmp_path, published):
    content = tar({"H0": np.random.default_rng(1).bytes(200_000)})
    facts = {"unpack_to": "c", "checksum": sha("sha1", content) if published else ""}
    lay(tmp_path, "c.tar.gz", content[: len(content) // 2])
    assert states(load(tmp_path, serve(server, "c.tar.gz", content, **facts))) == ["fetched"]
    assert set(contents(tmp_path)) == {"c/H0"}


def test_another_release_of_an_archive_makes_the_old_one_stale(server, tmp_path):
    for members in (CHAIN, {"H0": b"1 1.0\n"}):
        content = tar(members)
        file = serve(server, "c.tar.gz", content, unpack_to="c", checksum=sha("sha1", content))
        assert states(load(tmp_path, file)) == ["fetched"]
    assert contents(tmp_path)["c/H0"] == b"1 1.0\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tar({"../evil": b"x"}), r"member '\.\./evil' is no plain file in the archive's folder"),
        (tar({"/etc/evil": b"x"}), r"member '/etc/evil' is no plain file"),
        (tar({}, link=tarfile.SYMTYPE), r"member 'link' is no plain file"),
        (tar({}, hard=tarfile.LNKTYPE), r"member 'hard' is no plain file"),
        (tar({}, pipe=tarfile.FIFOTYPE), r"member 'pipe' is no plain file"),
        (tar({}), "the archive holds no file"),
        (tar({"H0": np.random.default_rng(1).bytes(9000)})[:5000], "no tar archive, or a damaged one"),
        (b"\x1f\x8bno archive at all", "no tar archive, or a damaged one"),
    ],
    # named, because an archive holds the time it was made at
    ids=["above", "absolute", "link", "hard link", "pipe", "empty", "cut off", "none"],
)
def test_a_bad_archive_is_an_error_and_writes_nothing(tmp_path, content, message):
    (tmp_path / "x.tar.gz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"x\.tar\.gz: {message}"):
        unpack(tmp_path / "x.tar.gz", tmp_path / "in" / "here", strip=True)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["x.tar.gz"]


def test_a_bad_archive_from_the_server_does_not_stay(server, tmp_path):
    file = serve(server, "c.tar.gz", tar({"../evil": b"x"}), unpack_to="c")
    with pytest.raises(DatasetError, match="no plain file"):
        load(tmp_path, file)
    assert contents(tmp_path) == {}


# ---- The list and the disk --------------------------------------------------------------------


def test_the_list_says_what_is_missing_and_how_large_it_is(server, tmp_path, fits, capsys):
    files = [
        serve(server, "a.fits", fits),
        serve(server, "b.fits", fits, size=2_000_000_000),
        serve(server, "c.fits", fits, size=500, is_exact=True, group="masks"),
    ]
    load(tmp_path, files[0])
    capsys.readouterr()
    assert states(load(tmp_path, *files, is_dry=True)) == ["here", "missing", "missing"]
    shown = " ".join(capsys.readouterr().out.split())
    assert "missing, about 2.0 GB: b.fits" in shown
    assert "missing, 500 B: c.fits" in shown
    assert "free on the disk" in shown


def test_a_dry_run_asks_no_server_and_reads_no_file(server, tmp_path, fits):
    lay(tmp_path, "a.fits", fits[:10])
    reports = load(tmp_path, serve(server, "a.fits", fits), serve(server, "b.fits", fits), is_dry=True)
    assert states(reports) == ["unverified", "missing"]
    assert server.requests == []
    assert not (tmp_path / "raw" / "checksums.json").exists()


def test_sizes_that_are_not_known_are_asked_for_before_anything_is_fetched(server, tmp_path, fits, capsys):
    load(tmp_path, serve(server, "a.fits", fits))
    assert [method for method, _, _ in server.requests] == ["HEAD", "GET"]
    assert size_text(len(fits)) in capsys.readouterr().out


def test_what_does_not_fit_on_the_disk_is_not_begun(server, tmp_path, fits):
    file = serve(server, "a.fits", fits, size=10**18)
    with pytest.raises(DatasetError, match=r"1000000\.0 TB are needed and .* are free; make room"):
        load(tmp_path, file)
    assert server.asked() == []


def test_archives_need_room_for_their_members_and_for_one_of_them(tmp_path, monkeypatch):
    archive = RemoteFile("a.tar", "http://a", "cmb_ml", size=100, unpack_to="a")
    chain = RemoteFile("b.tar.gz", "http://b", "chains", size=50, unpack_to="b", growth=4)
    files = [archive, chain, RemoteFile("c.fits", "http://c", "maps", size=30)]
    shelf = Shelf(tmp_path, verify="quick")
    needed = 100 + 4 * 50 + 30 + 100  # all that stays, and the larger archive beside it
    monkeypatch.setattr(Shelf, "free_bytes", lambda _: needed)
    shelf.check_space(files)
    monkeypatch.setattr(Shelf, "free_bytes", lambda _: needed - 1)
    with pytest.raises(DatasetError, match="430 B are needed and 429 B are free"):
        shelf.check_space(files)


# ---- Kedro's side ---------------------------------------------------------------------------------


def test_it_exists_when_all_that_was_ordered_is_there(server, tmp_path, fits):
    dataset = DataCatalog.from_config(
        {"raw": {"type": "cmbml.datasets.RemoteFilesDataset", "path": str(tmp_path / "raw")}}
    )["raw"]
    assert not dataset.exists()
    dataset.save(order(serve(server, "a.fits", fits)))
    assert not dataset.exists()
    dataset.load()
    assert dataset.exists()
    assert pickle.loads(pickle.dumps(dataset)).exists()
    assert f"{tmp_path}/raw" in str(dataset)


def test_without_an_order_nothing_is_loaded(tmp_path):
    with pytest.raises(DatasetError, match=r"order\.json: no such file; the node that says what"):
        RemoteFilesDataset(path=str(tmp_path / "raw")).load()
    assert not list(tmp_path.iterdir())


def test_a_damaged_order_is_named(tmp_path):
    (tmp_path / "order.json").write_text('{"files": [{"path": "../x"}]}')
    with pytest.raises(DatasetError, match=r"order\.json: no order, or a damaged one"):
        RemoteFilesDataset(path=str(tmp_path)).load()


def test_only_an_order_can_be_saved(tmp_path):
    with pytest.raises(DatasetError, match="a FetchOrder is expected, not a list"):
        RemoteFilesDataset(path=str(tmp_path)).save([1])


@pytest.mark.parametrize("path", ["/etc/x", "../x", "a/../../x", "a\\..\\x", ""])
def test_a_path_stays_in_its_folder(path):
    with pytest.raises(ValueError, match="must be relative and stay in its folder"):
        RemoteFile(path, "http://x", "maps")
    with pytest.raises(ValueError, match="must be relative and stay in its folder"):
        RemoteFile("x", "http://x", "maps", unpack_to=path)


@pytest.mark.parametrize("checksum", ["sha1:abc", "crc:" + 8 * "0", 40 * "0", "md5:" + 32 * "G"])
def test_a_checksum_names_its_kind_and_has_its_digits(checksum):
    with pytest.raises(ValueError, match="must be md5:, sha1: or sha256: and its digits"):
        RemoteFile("x", "http://x", "maps", checksum=checksum)


def test_a_path_is_ordered_once():
    file = RemoteFile("x", "http://x", "maps")
    with pytest.raises(ValueError, match="x: ordered twice"):
        order(file, file)
