"""Published weights from the command line: from files to cleaned skies and their errors, without a training."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from cmbml.datasets import HealpixMapDataset
from tests.kedro_runs import PLAIN_CMB, files, run
from tests.pipelines.petroff.drawn_weights import drawn_weights

pytestmark = pytest.mark.slow

FREQUENCIES = (70, 100, 143, 217, 353, 545, 857)
FWHM_ARCMIN = 300
SIZES = {"train": 1, "valid": 1, "test": 1, "stokes": "I", "target_fwhm_arcmin": FWHM_ARCMIN}
BEAMS = {"instrument.beam_scale": 0.1, "instrument.fwhm_floor_arcmin": FWHM_ARCMIN}
SEEN = {"petroff.inputs": "maps", "petroff.inputs_fwhm_arcmin": FWHM_ARCMIN}
SAMPLING = {
    "petroff_prediction.correct_spectrum": "false",
    "petroff_prediction.calibrate_errors": "false",
    "petroff_prediction.samples": 3,
    "petroff_prediction.batch": 2,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Data of a simulation, and beside them drawn weights in the place of the published ones."""
    data = tmp_path_factory.mktemp("published")
    arrays, description = drawn_weights(16, FREQUENCIES)
    folder = data / "01_raw" / "petroff"
    folder.mkdir(parents=True)
    np.savez(folder / "published_weights_dm7.npz", **arrays)
    (folder / "published_weights_dm7.json").write_text(json.dumps(description | {"fwhm_arcmin": FWHM_ARCMIN}))
    run("--pipelines", "simulation", data=data, **SIZES, **BEAMS, **PLAIN_CMB)
    return data


def keep_published(data: Path, **params: object) -> str:
    given = {**SIZES, **SEEN, **params}
    return run("--pipelines", "petroff_published", data=data, assets_folder=data / "01_raw", **given)


def test_published_weights_clean_a_sky_and_tell_its_errors(data):
    keep_published(data)
    checkpoint = torch.load(data / "06_models" / "main" / "petroff" / "best.pt", weights_only=True)
    first = np.load(data / "01_raw" / "petroff" / "published_weights_dm7.npz")["L000__kernel"]
    np.testing.assert_array_equal(checkpoint["weights"]["sphere.down.0.0.layer.weight"][:, 0, 0], first)

    onwards = ("--pipelines", "petroff", "--from-nodes", "petroff.predict_test")
    run(*onwards, data=data, **SIZES, **SEEN, **SAMPLING, **{"petroff_network.kind": "published"})
    cleaned, errors = (
        HealpixMapDataset(
            filepath=data / "07_model_output" / "main" / "petroff" / folder / "sim0000.fits"
        ).load()
        for folder in ("test", "errors/test")
    )
    assert np.isfinite(cleaned.values).all()
    assert cleaned.values.std() > 0
    assert (errors.values[0] > 0).all()

    models = files(data / "06_models")
    assert "complete already" in keep_published(data)
    assert files(data / "06_models") == models


def test_weights_of_another_resolution_are_told_before_they_are_kept(data):
    with pytest.raises(RuntimeError, match="nside: they need 16, asked for 8"):
        keep_published(data, results="coarse", **{"petroff.nside": 8, "petroff.lmax": 16})
    assert not (data / "06_models" / "coarse" / "petroff" / "best.pt").exists()
