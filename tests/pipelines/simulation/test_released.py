"""A released truth is brought to the common beam, and released files are read as they are."""

import warnings

import numpy as np
import pytest
from kedro.io.core import DatasetError

from cmbml.datasets import AlternativesDataset
from cmbml.partitions import Known
from cmbml.pipelines.released import create_pipeline
from cmbml.pipelines.released_training import create_pipeline as create_training_pipeline
from cmbml.pipelines.simulation.released import common_truth
from cmbml.pipelines.simulation.released_nodes import bring_truth
from cmbml.pipelines.simulation.settings import ReleasedTruth, Target
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_to_map, change_lmax, filter_alm
from cmbml.science.instrument import Channel, Instrument
from cmbml.science.skymap import UNSEEN, SkyMap
from tests.released_dataset import observed, true_cmb, write_released_dataset

NSIDE, LMAX = 16, 32
TARGET = Target(nside=NSIDE, lmax=LMAX, fwhm_arcmin=300.0)
INSTRUMENT = Instrument(
    (
        Channel("30", 28.4, 400, "IQU"),
        Channel("143", 142.876, 300, "IQU"),
        Channel("857", 866.8, 300, "I"),
    )
)
LEAF = {"type": "cmbml.datasets.ObservationsDataset", "nside": NSIDE, "polcconv": "COSMO"}
FILE = {"type": "cmbml.datasets.HealpixMapDataset", "nside": NSIDE, "polcconv": "COSMO"}


def released(fields=3, unit="uK_CMB"):
    return SkyMap(alm_to_map(true_cmb(0, NSIDE, fields), NSIDE), unit)


def expected(fields=3, fwhm_arcmin=300.0):
    window = beam_window(fwhm_arcmin * ARCMIN, LMAX)
    return alm_to_map(filter_alm(change_lmax(true_cmb(0, NSIDE, fields), LMAX), window), NSIDE)


def truth(sky, **options):
    return common_truth(sky, **{"fwhm_arcmin": 0.0, "target": TARGET, "polarised": True, **options})


def reading(root, leaf, *, suffixes=("",), split="Test"):
    """What the catalog of the released environments has for a split."""
    partitions = {"type": "cmbml.datasets.ParallelPartitionedDataset", "read_only": True, "dataset": leaf}
    places = [
        {"path": f"{root}/{folder}/{split}", "filename_suffix": suffix}
        for suffix in suffixes
        for folder in ("Simulation", "Simulations")
    ]
    return AlternativesDataset(dataset=partitions, alternatives=places, purpose="Give --params released=.")


# ---- The truth ------------------------------------------------------------------------------


def test_truth_at_the_common_beam_is_the_beam_times_the_truth():
    """Measured 6e-5: what three refinements leave of the quadrature at 2 nside."""
    below = change_lmax(true_cmb(0, NSIDE, 3), LMAX)
    brought = truth(SkyMap(alm_to_map(below, NSIDE), "uK_CMB"))
    assert brought.unit == "uK_CMB" and brought.stokes == "IQU"
    for row, right in zip(brought.values, expected(), strict=True):
        assert np.abs(row - right).max() < 2e-4 * np.abs(right).max()


def test_little_of_what_lies_above_the_band_limit_is_mistaken_for_what_lies_below():
    """Measured 0.7 % for a spectrum like l^-2 up to 3 nside - 1, far flatter than the CMB's there."""
    for row, right in zip(truth(released()).values, expected(), strict=True):
        assert np.std(row - right) < 0.01 * np.std(right)


def test_a_beam_that_is_there_already_counts():
    below = change_lmax(true_cmb(0, NSIDE, 1), LMAX)
    beamed = SkyMap(alm_to_map(filter_alm(below, beam_window(200 * ARCMIN, LMAX)), NSIDE), "uK_CMB")
    brought = truth(beamed, fwhm_arcmin=200.0, polarised=False)
    assert np.abs(brought.values - expected(1)).max() < 2e-4 * np.abs(expected(1)).max()


def test_intensity_alone_needs_and_gives_intensity_alone():
    assert truth(released(), polarised=False).stokes == "I"
    assert truth(released(1), polarised=False).stokes == "I"
    with pytest.raises(ValueError, match="holds only I, but the instrument measures I, Q and U; set the"):
        truth(released(1))


def test_units_are_turned_into_ours():
    kelvin = released(unit="K_CMB")
    np.testing.assert_allclose(truth(kelvin).values, 1e6 * truth(released()).values, rtol=1e-5)


def test_maps_are_not_sharpened():
    with pytest.raises(ValueError, match="beam of 400 arcmin, wider than the target's 300 arcmin"):
        truth(released(), fwhm_arcmin=400.0)


def test_a_map_too_coarse_for_the_band_limit_is_refused():
    with pytest.raises(ValueError, match="has nside 8, too coarse for lmax 32; lower lmax"):
        truth(SkyMap(np.zeros((3, 768)), "uK_CMB"))


def test_a_pixel_without_a_value_is_refused():
    sky = released()
    sky.values[0, 5] = UNSEEN
    with pytest.raises(ValueError, match="true CMB: 1 pixels that the mask keeps have no value"):
        truth(sky)


# ---- The node and its pipelines ---------------------------------------------------------------


@pytest.mark.parametrize("stokes", ["I", "IQU"])
def test_the_node_gives_what_the_instrument_measures(stokes):
    loaders = {"sim0000": Known(released(), "made 0")}
    made = bring_truth(loaders, INSTRUMENT.with_stokes(stokes), TARGET, ReleasedTruth(fwhm_arcmin=0.0))
    assert made["sim0000"]().stokes == stokes
    other = bring_truth(loaders, INSTRUMENT.with_stokes(stokes), TARGET, ReleasedTruth(fwhm_arcmin=5.0))
    assert made["sim0000"].fingerprint != other["sim0000"].fingerprint


def test_the_pipeline_gives_all_that_cleaning_and_analysis_read_but_the_observations():
    assert create_pipeline().outputs() >= {"test_cmb", "mask"}
    assert create_pipeline().all_outputs() >= {"instrument"}
    assert create_training_pipeline().outputs() == {"train_cmb", "valid_cmb"}
    assert not {"test_observations", "test_seeds"} & create_pipeline().datasets()


# ---- The files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["Simulation", "Simulations"])
@pytest.mark.parametrize("fields", [1, 3])
def test_released_files_are_read_as_they_are(tmp_path, folder, fields):
    write_released_dataset(
        tmp_path, INSTRUMENT, nside=NSIDE, simulations={"test": 2}, fields=fields, folder=folder
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sky = reading(tmp_path, LEAF).load()["sim0001"]()
    assert list(sky.maps) == ["30", "143", "857"] and set(sky.units.values()) == {"uK_CMB"}
    for name, values in observed(201, INSTRUMENT, NSIDE, fields).items():
        assert np.array_equal(sky.maps[name], values.astype(np.float32))


@pytest.mark.parametrize("file", ["cmb_map_fid.fits", "cmb_map.fits"])
def test_the_truth_is_found_under_either_name(tmp_path, file):
    write_released_dataset(tmp_path, INSTRUMENT, nside=NSIDE, simulations={"test": 1}, fields=3, truth=file)
    names = ("/cmb_map_fid.fits", "/cmb_map.fits")
    sky = reading(tmp_path, FILE, suffixes=names).load()["sim0000"]()
    right = alm_to_map(true_cmb(200, NSIDE, 3), NSIDE).astype(np.float32)
    assert sky.stokes == "IQU" and np.array_equal(sky.values, right)


def test_a_dataset_that_is_not_there_is_named_in_every_spelling(tmp_path):
    dataset = reading(tmp_path, LEAF)
    assert not dataset.exists()
    message = r"nothing is there, neither of: path .*/Simulation/Test.*/Simulations/Test.*Give --params rel"
    with pytest.raises(DatasetError, match=message):
        dataset.load()


def test_nothing_is_saved_to_a_released_dataset(tmp_path):
    with pytest.raises(DatasetError, match="raw input is read-only; nothing is saved to it"):
        reading(tmp_path, LEAF).save({"sim0000": 1})
