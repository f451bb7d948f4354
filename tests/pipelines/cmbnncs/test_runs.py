"""CMBNNCS from the command line: T, Q and U to the end, killed and gone on with, and what it leaves alone."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cmbml.datasets import HealpixMapDataset
from tests.kedro_runs import files, run, start

pytestmark = pytest.mark.slow

SMALL = {"nside": 8, "lmax": 16, "target_fwhm_arcmin": 700, "valid": 1, "test": 1}
LEARNING = {
    "cmbnncs.stokes": "IQU",
    "cmbnncs_training.epochs": 40,
    "cmbnncs_training.checkpoint_every": 1,
}
METHOD = ("--pipelines", "cmbnncs")


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> Path:
    """Data of a simulation, and of one training that nobody disturbed."""
    data = tmp_path_factory.mktemp("learnt")
    run("--pipelines", "simulation", data=data, **SMALL)
    run("--pipelines", "cmbnncs,analysis", data=data, **SMALL, **LEARNING, results="whole")
    return data


def checkpoint(data: Path, results: str, name: str = "last") -> dict:
    return torch.load(data / "06_models" / results / "cmbnncs" / f"{name}.pt", weights_only=True)


def cleaned_file(data: Path, results: str) -> Path:
    return data / "07_model_output" / results / "cmbnncs" / "test" / "sim0000.fits"


def test_temperature_and_polarisation_are_cleaned_and_compared(learnt):
    cleaned = HealpixMapDataset(filepath=cleaned_file(learnt, "whole")).load()
    assert (cleaned.stokes, cleaned.nside) == ("IQU", 8)
    assert np.isfinite(cleaned.values).all()
    table = pd.read_csv(learnt / "08_reporting" / "whole" / "comparison.csv")
    assert set(table.loc[table["method"] == "cmbnncs", "field"]) >= {"I", "Q", "U", "E", "B"}
    scaling = pd.read_csv(learnt / "08_reporting" / "whole" / "cmbnncs_scaling.csv")
    assert list(scaling["stokes"]) == ["I", "Q", "U"] * 5  # four channels and the CMB
    losses = pd.read_csv(learnt / "08_reporting" / "whole" / "cmbnncs_losses.csv")
    assert len(losses) == 40
    assert losses["train_loss"].iloc[-1] < 0.8 * losses["train_loss"].iloc[0]


def test_a_killed_training_goes_on_to_the_same_network_and_the_same_maps(learnt):
    folder = learnt / "06_models" / "killed" / "cmbnncs"
    for epoch in (2, 9):
        process = start(*METHOD, data=learnt, **SMALL, **LEARNING, results="killed")
        while not (folder / f"epoch_{epoch:04d}.pt").exists() and process.poll() is None:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert not cleaned_file(learnt, "killed").exists()
    assert not (folder / "epoch_0040.pt").exists()
    run(*METHOD, data=learnt, **SMALL, **LEARNING, results="killed")
    for name in ("last", "best"):
        one, other = (checkpoint(learnt, results, name) for results in ("whole", "killed"))
        assert list(one["weights"]) == list(other["weights"])
        assert all(torch.equal(one["weights"][key], other["weights"][key]) for key in one["weights"])
        states = [value["optimiser"]["state"] for value in (one, other)]
        assert all(torch.equal(states[0][n]["exp_avg"], states[1][n]["exp_avg"]) for n in states[0])
        losses = [[row["valid_loss"] for row in value["history"]] for value in (one, other)]
        assert losses[0] == losses[1]
    maps = [
        HealpixMapDataset(filepath=cleaned_file(learnt, name)).load().values for name in ("whole", "killed")
    ]
    assert np.array_equal(*maps)


def test_a_second_run_trains_nothing_again(learnt):
    models = learnt / "06_models" / "whole"
    before = {path: path.stat().st_mtime_ns for path in models.rglob("*.pt")}
    output = run(*METHOD, data=learnt, **SMALL, **LEARNING, results="whole")
    assert "the training is complete already" in output
    assert before == {path: path.stat().st_mtime_ns for path in models.rglob("*.pt")}


def test_another_checkpoint_is_another_cleaning_and_not_another_training(learnt):
    before = files(learnt / "06_models" / "whole")
    options = {"results": "early", "models": "whole", "model_inputs": "whole"}
    run(
        *METHOD,
        data=learnt,
        **SMALL,
        **LEARNING,
        **options,
        **{"cmbnncs_prediction.checkpoint": "epoch_0003"},
    )
    assert {
        name: content
        for name, content in files(learnt / "06_models" / "whole").items()
        if "scaling" not in name
    } == {name: content for name, content in before.items() if "scaling" not in name}
    maps = [
        HealpixMapDataset(filepath=cleaned_file(learnt, name)).load().values for name in ("early", "whole")
    ]
    assert not np.allclose(*maps, rtol=0, atol=0.01)


def test_another_training_is_refused_and_what_is_there_is_kept(learnt):
    before = files(learnt / "06_models" / "whole" / "cmbnncs")
    with pytest.raises(RuntimeError, match="optimiser.lr was 0.003, is now 0.001"):
        run(
            *METHOD,
            data=learnt,
            **SMALL,
            **LEARNING,
            results="whole",
            **{"cmbnncs_training.optimiser.lr": 0.001},
        )
    assert files(learnt / "06_models" / "whole" / "cmbnncs") == before


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (
            {"cmbnncs_network.depth": 5},
            "depth 5: nside 8 cannot be halved that often; depths that fit: 1, 2, 3",
        ),
        (
            {"cmbnncs.channels": "545-857", "cmbnncs_prediction.checkpoint": "epoch_0099"},
            "cmbnncs.stokes IQU: none of the channels 545, 857 measures these fields.*"
            "cmbnncs_prediction.checkpoint epoch_0099: will not be kept, there will be best, last, epoch_0001",
        ),
        ({"cmbnncs_network.nside": 4}, "cmbnncs.nside 8, cmbnncs_network.nside 4: must be the same"),
    ],
)
def test_a_method_that_cannot_work_is_refused_before_any_work(learnt, params, message):
    with pytest.raises(RuntimeError, match=message):
        run(*METHOD, data=learnt, **{**SMALL, **LEARNING, "results": "refused", **params})
    assert not (learnt / "05_model_input" / "refused").exists()


def test_a_checkpoint_that_was_cut_short_is_named_and_the_training_is_kept(learnt):
    run(*METHOD, data=learnt, **SMALL, **{**LEARNING, "cmbnncs_training.epochs": 1}, results="cut")
    path = learnt / "06_models" / "cut" / "cmbnncs" / "last.pt"
    cut = path.read_bytes()[:1000]
    path.unlink()  # its bytes may be those of best.pt as well
    path.write_bytes(cut)
    with pytest.raises(
        RuntimeError, match=r"cut/cmbnncs/last\.pt: lost or cut since the training was completed"
    ):
        run(*METHOD, data=learnt, **SMALL, **{**LEARNING, "cmbnncs_training.epochs": 1}, results="cut")
    assert (path.parent / "best.pt").exists()
