"""Run Kedro commands of this project as a user would, in processes of their own, or plan them in this one."""

import os
import subprocess
import sys
from pathlib import Path

from kedro.framework.startup import bootstrap_project

from cmbml.plan import Plan, session_plan

ROOT = Path(__file__).resolve().parents[1]
GUARD = ROOT / "tests" / "no_network"
"""Ends every process that reaches for another computer; see its `sitecustomize.py`."""

ENVIRONMENT = {
    **os.environ,
    "DO_NOT_TRACK": "1",
    "COLUMNS": "400",
    "PYTHONPATH": os.pathsep.join(filter(None, (str(GUARD), os.environ.get("PYTHONPATH")))),
}

PLAIN_CMB = {"cmb.kind": "gaussian", "cmb.spectra": "analytic"}
"""Parameters for runs that do not look at the CMB: spectra without CAMB and fields without lensing, most of a
small sky's time."""


def arguments(*options: str, data: Path, env: str = "test", **params: object) -> list[str]:
    values = ",".join(f"{key}={value}" for key, value in {"data": data, **params}.items())
    return [sys.executable, "-m", "kedro", "run", "--env", env, "--params", values, *options]


def start(
    *options: str, data: Path, env: str = "test", output: int = subprocess.DEVNULL, **params: object
) -> subprocess.Popen[str]:
    """Start a run; its output is lost unless somebody reads it, so that it never waits for a reader."""
    return subprocess.Popen(
        arguments(*options, data=data, env=env, **params),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(*options: str, data: Path, env: str = "test", **params: object) -> str:
    """Run to the end and return what was printed, line breaks of the console undone.

    Unless `n_jobs` says otherwise, in the run's own process: for maps as small as those of the tests, workers
    cost more than they compute, and other tests need the cores.
    """
    params.setdefault("n_jobs", 0)
    process = start(*options, data=data, env=env, output=subprocess.PIPE, **params)
    output, _ = process.communicate(timeout=300)
    text = " ".join(output.split())
    if process.returncode != 0:
        raise RuntimeError(text)
    return text


def files(folder: Path) -> dict[str, bytes]:
    """Content of every file below a folder, by relative path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def plan_of(*names: str, env: str = "test", **params: object) -> Plan:
    """Return what a run would do; pipelines by name, by default the main job."""
    metadata = bootstrap_project(ROOT)
    texts = {key: str(value) if isinstance(value, Path) else value for key, value in params.items()}
    given: dict[str, object] = {}
    for key, value in texts.items():
        *groups, name = key.split(".")
        place = given
        for group in groups:
            place = place.setdefault(group, {})
        place[name] = value
    return session_plan(metadata.project_path, names, env=env, params=given)
