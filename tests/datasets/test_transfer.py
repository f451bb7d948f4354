"""Downloads hold against what servers and networks do."""

import hashlib
import json
import socket
import subprocess
import sys
from time import monotonic, sleep

import numpy as np
import pytest

from cmbml.datasets import transfer
from cmbml.datasets.byte_bar import ByteBar
from cmbml.datasets.transfer import Patience, TransferError, ask_size, fetch_file
from tests.local_server import Fault, LocalServer

PIECE = transfer.CHUNK_BYTES
CONTENT = np.random.default_rng(3).bytes(46 * PIECE)
HALF = 23 * PIECE
SHA1 = f"sha1:{hashlib.sha1(CONTENT).hexdigest()}"


@pytest.fixture
def server():
    with LocalServer() as running:
        running.files["map.bin"] = CONTENT
        yield running


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """Seconds that would have been waited."""
    waited = []
    monkeypatch.setattr(transfer, "sleep", waited.append)
    return waited


def fetch(server, folder, *, name="map.bin", known_hash=None, retries=3, timeout=5.0, bar=None):
    path = folder / "maps" / name
    fetch_file(
        f"{server.url}/{name}",
        path,
        known_hash=known_hash,
        work=folder / "work",
        patience=Patience(retries=retries, wait_seconds=1.0, timeout_seconds=timeout),
        bar=bar or ByteBar({name: len(CONTENT)}),
    )
    return path


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def ranges(server):
    return [headers.get("Range", "") for method, _, headers in server.requests if method == "GET"]


@pytest.mark.parametrize("known_hash", [None, SHA1], ids=["no checksum", "checksum"])
def test_what_is_fetched_is_what_was_served_and_nothing_else_stays(server, tmp_path, known_hash):
    path = fetch(server, tmp_path, known_hash=known_hash)
    assert path.read_bytes() == CONTENT
    assert files(tmp_path) == ["maps/map.bin"]
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("mark", ["ETag", "Last-Modified"])
def test_an_interrupted_transfer_asks_for_the_rest_only(server, tmp_path, mark):
    server.mark = mark
    server.faults["map.bin"] = [Fault(cut=HALF), Fault(cut=PIECE)]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["", f"bytes={HALF}-", f"bytes={HALF + PIECE}-"]


def test_a_transfer_goes_on_in_another_run(server, tmp_path):
    server.faults["map.bin"] = [Fault(cut=HALF)]
    with pytest.raises(TransferError, match=rf"connection broke; {HALF} bytes have arrived and are kept"):
        fetch(server, tmp_path, retries=0)
    assert files(tmp_path) == ["work/map.bin.part", "work/map.bin.part.json"]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["", f"bytes={HALF}-"]


def test_a_run_killed_while_a_file_is_verified_needs_no_byte_again(server, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("pooch.core.hash_matches", kill)
        with pytest.raises(Killed):
            fetch(server, tmp_path, known_hash=SHA1)
    assert not (tmp_path / "maps").exists()
    assert fetch(server, tmp_path, known_hash=SHA1).read_bytes() == CONTENT
    assert ranges(server) == ["", f"bytes={len(CONTENT)}-"]


FETCHING = """
import sys
from pathlib import Path
from cmbml.datasets.byte_bar import ByteBar
from cmbml.datasets.transfer import Patience, fetch_file
fetch_file(sys.argv[1], Path(sys.argv[2], "maps", "map.bin"), known_hash=None, work=Path(sys.argv[2], "work"),
           patience=Patience(0, 0.0, 60.0), bar=ByteBar({}))
"""


def test_a_process_that_is_killed_loses_no_piece_that_had_arrived(server, tmp_path):
    server.faults["map.bin"] = [Fault(cut=HALF, hold=60.0)]
    process = subprocess.Popen([sys.executable, "-c", FETCHING, f"{server.url}/map.bin", str(tmp_path)])
    part = tmp_path / "work" / "map.bin.part"
    deadline = monotonic() + 60
    while not (part.exists() and part.stat().st_size >= HALF - PIECE):
        assert process.poll() is None and monotonic() < deadline
        sleep(0.01)
    process.kill()
    process.wait()
    arrived = part.stat().st_size
    assert not (tmp_path / "maps").exists()
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["", f"bytes={arrived}-"]


def test_a_file_that_changed_meanwhile_is_fetched_from_the_start(server, tmp_path):
    server.faults["map.bin"] = [Fault(cut=HALF)]
    with pytest.raises(TransferError):
        fetch(server, tmp_path, retries=0)
    server.files["map.bin"] = CONTENT[::-1]
    assert fetch(server, tmp_path).read_bytes() == CONTENT[::-1]
    assert ranges(server) == ["", f"bytes={HALF}-"]


def test_a_file_that_became_shorter_is_fetched_from_the_start(server, tmp_path):
    server.mark = ""
    server.faults["map.bin"] = [Fault(cut=HALF)]
    short = CONTENT[:1000]
    known = f"sha256:{hashlib.sha256(short).hexdigest()}"
    with pytest.raises(TransferError):
        fetch(server, tmp_path, known_hash=known, retries=0)
    server.files["map.bin"] = short
    assert fetch(server, tmp_path, known_hash=known).read_bytes() == short
    assert ranges(server) == ["", f"bytes={HALF}-", ""]


@pytest.mark.parametrize("mark", ["", "weak"])
def test_without_a_mark_and_a_checksum_nothing_is_pieced_together(server, tmp_path, mark):
    server.mark = mark
    server.faults["map.bin"] = [Fault(cut=HALF)]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["", ""]


def test_with_a_checksum_an_unmarked_file_goes_on(server, tmp_path):
    server.mark = ""
    server.faults["map.bin"] = [Fault(cut=HALF)]
    assert fetch(server, tmp_path, known_hash=SHA1).read_bytes() == CONTENT
    assert ranges(server) == ["", f"bytes={HALF}-"]


def test_halves_of_different_files_are_noticed_and_fetched_again_once(server, tmp_path):
    server.mark = ""
    server.files["map.bin"] = CONTENT[::-1]
    server.faults["map.bin"] = [Fault(cut=HALF)]
    with pytest.raises(TransferError):
        fetch(server, tmp_path, known_hash=SHA1, retries=0)
    server.files["map.bin"] = CONTENT
    assert fetch(server, tmp_path, known_hash=SHA1).read_bytes() == CONTENT
    assert ranges(server) == ["", f"bytes={HALF}-", ""]


def test_a_server_without_parts_sends_all_again(server, tmp_path):
    server.ranges = False
    server.faults["map.bin"] = [Fault(cut=HALF)]
    bar = ByteBar({"map.bin": 0})
    assert fetch(server, tmp_path, bar=bar).read_bytes() == CONTENT
    assert bar.done == bar.total == len(CONTENT)


def test_another_part_than_asked_for_is_not_appended(server, tmp_path):
    server.faults["map.bin"] = [Fault(cut=HALF), Fault(shifted=True)]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["", f"bytes={HALF}-", ""]


def test_a_wrong_checksum_is_an_error_and_leaves_nothing(server, tmp_path):
    wrong = "sha256:" + 64 * "0"
    with pytest.raises(TransferError, match=rf"does not have the checksum {wrong}; nothing of it is kept"):
        fetch(server, tmp_path, known_hash=wrong)
    assert files(tmp_path) == []
    assert len(ranges(server)) == 1


def test_a_missing_file_is_not_asked_for_again(server, tmp_path, waits):
    with pytest.raises(TransferError, match=r"/gone.bin: the server answers 404 Not Found"):
        fetch(server, tmp_path, name="gone.bin")
    assert server.asked() == ["gone.bin"]
    assert waits == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_server_error_is_tried_again_after_longer_and_longer_waits(server, tmp_path, waits, status):
    server.faults["map.bin"] = 3 * [Fault(status=status)]
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert waits == [1.0, 2.0, 4.0]


def test_a_server_error_that_lasts_is_named(server, tmp_path, waits):
    server.faults["map.bin"] = 9 * [Fault(status=503)]
    with pytest.raises(TransferError, match="the server answers 503 Service Unavailable; nothing arrived"):
        fetch(server, tmp_path)
    assert len(waits) == 3


def test_a_server_that_says_when_to_come_back_is_believed_up_to_a_minute(server, tmp_path, waits):
    server.faults["map.bin"] = [
        Fault(status=503, headers={"Retry-After": "7"}),
        Fault(status=503, headers={"Retry-After": "3600"}),
    ]
    fetch(server, tmp_path)
    assert waits == [7.0, transfer.LONGEST_WAIT_SECONDS]


def test_transfers_that_get_on_are_not_counted_against_patience(server, tmp_path):
    server.faults["map.bin"] = 9 * [Fault(cut=100_000)]
    assert fetch(server, tmp_path, retries=1).read_bytes() == CONTENT


def test_a_silent_server_is_given_up(server, tmp_path):
    server.faults["map.bin"] = [Fault(silent=0.5)]
    with pytest.raises(TransferError, match="the server is silent; nothing arrived") as error:
        fetch(server, tmp_path, retries=0, timeout=0.1)
    assert not error.value.has_answered


def test_no_server_at_all_is_named(tmp_path):
    with LocalServer() as server:
        pass
    with pytest.raises(
        TransferError, match=r"no connection \(NewConnectionError\); nothing arrived"
    ) as error:
        fetch(server, tmp_path, retries=1)
    assert not error.value.has_answered


def test_an_address_that_is_none_is_named(tmp_path):
    class Nowhere:
        url = "nowhere"

    with pytest.raises(TransferError, match="nowhere/map.bin: Invalid URL"):
        fetch(Nowhere, tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.fits", b"<!DOCTYPE html><p>not found", "this is not a.fits, but a web page"),
        ("a.txt", b"\n <HTML>sorry", "this is not a.txt, but a web page"),
        ("a.tar.gz", b"no such product", "this is not a.tar.gz: it begins with b'no such product'"),
        ("a.dat", b"", "a.dat is empty"),
    ],
)
def test_a_page_that_says_sorry_does_not_pass_for_the_file(server, tmp_path, name, content, message):
    server.files[name] = content
    with pytest.raises(TransferError, match=message):
        fetch(server, tmp_path, name=name)
    assert files(tmp_path) == []


def test_a_damaged_note_only_costs_the_start(server, tmp_path):
    server.faults["map.bin"] = [Fault(cut=HALF)]
    with pytest.raises(TransferError):
        fetch(server, tmp_path, retries=0)
    (tmp_path / "work" / "map.bin.part.json").write_text(json.dumps([1])[:-1])
    assert fetch(server, tmp_path).read_bytes() == CONTENT
    assert ranges(server) == ["", ""]


def test_without_hard_links_a_file_is_fetched_all_the_same(server, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("not on this disk")

    monkeypatch.setattr(transfer.os, "link", refuse)
    assert fetch(server, tmp_path, known_hash=SHA1).read_bytes() == CONTENT
    assert files(tmp_path) == ["maps/map.bin"]


def test_a_size_is_asked_for_without_the_file(server):
    assert ask_size(f"{server.url}/map.bin", 5.0) == len(CONTENT)
    assert ask_size(f"{server.url}/gone.bin", 5.0) is None
    server.lengths = False
    assert ask_size(f"{server.url}/map.bin", 5.0) is None
    assert server.asked("GET") == []


def test_no_size_is_known_without_a_server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}/map.bin"
    assert ask_size(address, 0.5) is None


def test_a_file_whose_size_the_server_does_not_state_is_fetched(server, tmp_path):
    server.lengths = False
    bar = ByteBar({"map.bin": len(CONTENT)})
    assert fetch(server, tmp_path, bar=bar).read_bytes() == CONTENT
    assert bar.done == len(CONTENT)


def test_the_bar_counts_what_was_there_already(server, tmp_path):
    server.faults["map.bin"] = [Fault(cut=HALF)]
    with pytest.raises(TransferError):
        fetch(server, tmp_path, retries=0)
    bar = ByteBar({"map.bin": 0})
    fetch(server, tmp_path, bar=bar)
    assert bar.done == bar.total == len(CONTENT)


def test_progress_is_logged_where_there_is_no_terminal(server, tmp_path, caplog):
    with caplog.at_level("INFO", logger="cmbml"):
        fetch(server, tmp_path)
    lines = [record.message for record in caplog.records if "fetched" in record.message]
    assert lines[-1] == "fetched 3 MB of 3 MB"
    assert 2 <= len(lines) <= 10
