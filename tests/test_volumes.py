from dataclasses import replace

import numpy as np
import pytest

from cmbml.datasets import (
    AlmDataset,
    ArrayArchiveDataset,
    ComponentsDataset,
    Hdf5ObservationsDataset,
    HealpixMapDataset,
    ObservationsDataset,
    TheorySpectraDataset,
)
from cmbml.science.harmonics import alm_size
from cmbml.science.instrument import Observations
from cmbml.science.skymap import SkyMap
from cmbml.science.spectra import PowerSpectra, TheorySpectra
from cmbml.volumes import PRODUCTS, Dimensions, Volume, fits_alm, fits_map
from tests.pipelines.simulation.noise_inputs import noise_settings

POLARISED = Dimensions(
    nside=16,
    lmax=32,
    cmb_lmax=32,
    theory_lmax=100,
    channels=(3, 3, 1),
    container="fits",
    foreground_components=6,
    shared_components=0,
    methods={"pyilc": 1},
    bands=8,
    compared=2,
    noise=noise_settings(kind="sensitivity"),
    noise_components=5,
    noise_nsides=(16, 32, 32),
    noise_lmax_factor=2.0,
)


def on_disk(folder) -> Volume:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return Volume(len(sizes), sum(sizes))


@pytest.mark.parametrize(("nside", "fields"), [(4, 1), (16, 1), (16, 3), (32, 4)])
def test_a_map_is_as_large_as_its_file(tmp_path, nside, fields):
    values = np.zeros((fields, 12 * nside**2))
    names = tuple("ABCD"[:fields])
    HealpixMapDataset(filepath=tmp_path / "map.fits").save(SkyMap(values, "uK_CMB", names))
    assert fits_map(nside, fields) == on_disk(tmp_path)


@pytest.mark.parametrize(("lmax", "fields"), [(10, 1), (64, 3)])
def test_coefficients_are_as_large_as_their_file(tmp_path, lmax, fields):
    AlmDataset(filepath=tmp_path / "alm.fits").save(np.zeros((fields, alm_size(lmax)), np.complex64))
    assert fits_alm(lmax, fields) == on_disk(tmp_path)


@pytest.mark.parametrize(
    ("container", "dataset", "name"),
    [("fits", ObservationsDataset, "sim0000"), ("hdf5", Hdf5ObservationsDataset, "sim0000.h5")],
)
def test_observations_are_as_large_as_their_files(tmp_path, container, dataset, name):
    maps = {
        channel: np.random.default_rng(0).normal(size=(fields, 3072)).astype(np.float32)
        for channel, fields in zip(("100", "143", "545"), POLARISED.channels, strict=True)
    }
    dataset(filepath=str(tmp_path / name)).save(Observations(maps, dict.fromkeys(maps, "uK_CMB")))
    estimate = PRODUCTS["{split}_observations"]
    found = estimate(replace(POLARISED, container=container), "test_observations")
    written = on_disk(tmp_path)
    assert found.files == written.files
    assert found.size == pytest.approx(written.size, rel=0.05)


def test_spectra_are_as_large_as_their_files(tmp_path):
    unlensed, lensed = (
        PowerSpectra(dict.fromkeys(names.split(), np.ones(1001)), "cl", lensed=is_lensed)
        for names, is_lensed in (("TT EE BB TE PP PT PE", False), ("TT EE BB TE", True))
    )
    TheorySpectraDataset(filepath=tmp_path / "sim0000").save(TheorySpectra(unlensed, lensed))
    found = PRODUCTS["{split}_theory"](replace(POLARISED, theory_lmax=1000), "test_theory")
    assert found.files == 2
    assert found.size == pytest.approx(on_disk(tmp_path).size, rel=0.01)


def test_shared_foregrounds_grow_with_components_channels_fields_and_coefficients():
    given = replace(POLARISED, shared_components=8)
    found = PRODUCTS["foreground_alm"](given, "foreground_alm").size
    assert found == pytest.approx(8 * 3 * 3 * alm_size(32) * 8, rel=0.02)


def test_the_record_of_single_channels_has_every_channel():
    one, all_channels = (
        PRODUCTS["{method}_metrics_{split}"](POLARISED, name)
        for name in ("pyilc_metrics_test", "single_channels_metrics_test")
    )
    assert all_channels.size == 3 * one.size


@pytest.mark.parametrize(
    ("changed", "arrays"),
    [
        ({"kind": "variance"}, ["root"]),
        ({"kind": "correlated"}, ["spectra"]),
        ({"kind": "correlated", "pattern": "variance", "average_map": True}, ["root", "spectra", "average"]),
    ],
)
def test_what_simulations_share_of_noise_is_as_large_as_its_files(tmp_path, changed, arrays):
    for fields in POLARISED.channels:
        spectra = (6, 4 if fields == 3 else 1, 48)  # mean and five components, up to 3 nside - 1
        own = {
            "root": np.zeros((6 if fields == 3 else 1, 3072), np.float32),
            "spectra": np.zeros(spectra),
            "average": np.zeros((fields, 3072), np.float32),
        }
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.npz"
        ArrayArchiveDataset(filepath=path).save({name: own[name] for name in arrays})
    given = replace(POLARISED, noise=noise_settings(**changed))
    found = PRODUCTS["noise_sources"](given, "noise_sources")
    assert 3 * found.size == pytest.approx(on_disk(tmp_path).size, rel=0.05)


def test_averages_of_noise_are_as_large_as_their_files(tmp_path):
    for place, (nside, fields) in enumerate(zip((16, 32, 32), POLARISED.channels, strict=True)):
        values = np.zeros((fields, 12 * nside**2))
        HealpixMapDataset(filepath=tmp_path / f"{place}.fits").save(SkyMap(values, "uK_CMB"))
    found = PRODUCTS["noise_averages"](POLARISED, "noise_averages")
    assert Volume(3, 3 * found.size) == on_disk(tmp_path)


def test_models_of_noise_are_as_large_as_their_files(tmp_path):
    for place, (nside, fields) in enumerate(zip((16, 32, 32), POLARISED.channels, strict=True)):
        spectra = np.zeros((4 if fields == 3 else 1, 2 * nside + 1))
        model = {"mean": spectra, "mean_cl": spectra, "components": np.stack([spectra] * 5)}
        model |= {"names": np.array(("TT", "EE", "BB", "TE")[: len(spectra)]), "variance": np.zeros(5)}
        facts = ("unit", "nside", "simulations", "monopole_mean", "monopole_sd")
        facts += ("mask_latitude_deg", "mask_fwhm_deg")
        model |= {fact: np.array("uK_CMB" if fact == "unit" else 1.0) for fact in facts}
        ArrayArchiveDataset(filepath=tmp_path / f"{place}.npz").save(model)
    found = PRODUCTS["noise_models"](POLARISED, "noise_models")
    assert 3 * found.size == pytest.approx(on_disk(tmp_path).size, rel=0.02)


def test_components_are_as_large_as_their_files(tmp_path):
    names = ("cmb", "dust", "synchrotron", "free_free", "ame", "cib", "radio", "noise")
    maps = {
        channel: np.zeros((fields, 3072), np.float32)
        for channel, fields in zip(("100", "143", "545"), POLARISED.channels, strict=True)
    }
    one = Observations(maps, dict.fromkeys(maps, "uK_CMB"))
    ComponentsDataset(filepath=tmp_path / "sim0000").save(dict.fromkeys(names, one))
    assert PRODUCTS["{split}_components"](POLARISED, "test_components") == on_disk(tmp_path)


def test_coefficients_of_the_cmb_have_a_band_limit_of_their_own():
    found = PRODUCTS["{split}_cmb_alm"](replace(POLARISED, cmb_lmax=40), "test_cmb_alm")
    assert found == fits_alm(40, 3) != fits_alm(32, 3)
