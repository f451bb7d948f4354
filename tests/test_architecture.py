"""Rules of the house that imports alone cannot show."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kedro_runs import ENVIRONMENT

SOURCE = Path(__file__).resolve().parents[1] / "src" / "cmbml"
FILE_ACCESS = re.compile(
    r"\bopen\(|np\.(save|savez|load|loadtxt|savetxt)\(|torch\.(save|load)\(|\b(write_map|read_map|write_alm|read_alm)\("
    r"|\.read_text\(|\.write_text\(|\.write_bytes\(|\.read_bytes\("
)
GLOBAL_RANDOM = re.compile(r"np\.random\.(seed|normal|rand|randn|uniform|choice)\(")
MODULES = sorted(SOURCE.rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


@pytest.mark.parametrize("path", [p for p in MODULES if "datasets" not in p.parts], ids=name_of)
def test_only_datasets_open_files(path):
    assert not FILE_ACCESS.findall(path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_global_random_state(path):
    assert not GLOBAL_RANDOM.findall(path.read_text())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_arguments_are_not_checked_by_assert(path):
    assert not [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Assert)]


def test_no_room_is_called_by_what_it_is_not():
    names = {path.stem for path in MODULES} | {path.parent.name for path in MODULES}
    assert not names & {"utils", "common", "core", "helpers", "misc"}


NETWORK = re.compile(
    r"^\s*(?:import|from)\s+(requests|pooch|urllib3|urllib\.request|http\.client|ftplib|socket|aiohttp|httpx)\b",
    re.M,
)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_one_module_alone_touches_the_network(path):
    assert bool(NETWORK.findall(path.read_text())) == (name_of(path) == "datasets/transfer.py")


@pytest.mark.parametrize(
    "attempt",
    ["socket.create_connection(('192.0.2.1', 80), 1)", "urllib.request.urlopen('http://example.org')"],
)
def test_whole_runs_of_these_tests_end_when_they_touch_the_network(attempt):
    code = f"import socket, urllib.request\ntry:\n    {attempt}\nexcept Exception:\n    pass"
    ended = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, check=False)
    assert ended.returncode == 86
    assert b"network touched" in ended.stderr
