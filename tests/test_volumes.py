from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cmbml.datasets import (
    AlmDataset,
    ArrayArchiveDataset,
    ArrayDataset,
    ComponentsDataset,
    Hdf5ObservationsDataset,
    HealpixMapDataset,
    JsonRecordDataset,
    ObservationsDataset,
    TheorySpectraDataset,
)
from cmbml.learning.networks import NetworkSpec
from cmbml.learning.scaling import fit_transforms, scaling_table
from cmbml.learning.sizes import LearningSizes, checkpoint_size
from cmbml.learning.transform_settings import ScalingSettings
from cmbml.pipelines.analysis.compare import measure
from cmbml.pipelines.analysis.nodes import prepare_mask
from cmbml.pipelines.petroff.corrections import correction_table
from cmbml.science.harmonics import alm_size
from cmbml.science.instrument import Observations
from cmbml.science.skymap import SkyMap
from cmbml.science.spectra import PowerSpectra, TheorySpectra
from cmbml.volumes import PRODUCTS, Dimensions, Volume, fits_alm, fits_map
from tests.learning.small_trainings import SPEC, settings, small_training
from tests.pipelines.analysis.error_maps import ANALYSIS
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
    predicting=frozenset(),
    bands=8,
    compared=2,
    noise=noise_settings(kind="sensitivity"),
    noise_components=5,
    noise_nsides=(16, 32, 32),
    noise_lmax_factor=2.0,
    learning={
        "learner": LearningSizes(
            features=4,
            fields=1,
            epochs=3,
            checkpoints=1,
            checkpoint_size=1000,
            prediction_fields=3,
            error_fields=2,
            corrections={"spectrum": 16, "errors": 1},
        )
    },
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


@pytest.mark.parametrize("product", ["cleaned", "errors", "error_masks"])
def test_maps_of_a_method_have_the_fields_that_it_cleans(product):
    estimate = PRODUCTS[f"{{method}}_{product}_{{split}}"]
    given = replace(POLARISED, methods={"pyilc": 1, "iqu": 3})
    found = [estimate(given, f"{method}_{product}_test") for method in ("pyilc", "iqu")]
    assert found == [fits_map(16, 1), fits_map(16, 3)]


@pytest.mark.parametrize("with_errors", [False, True])
def test_the_record_of_a_method_is_as_large_as_its_file(tmp_path, with_errors):
    rng = np.random.default_rng(0)
    truth, error, sigma = 50 * rng.normal(size=(3, 1, 3072))
    sigma = 1 + np.abs(sigma)
    mask = prepare_mask(SkyMap(np.ones((1, 3072)), ""), ANALYSIS)
    errors = SkyMap(sigma, "uK_CMB", ("I_ERROR",)) if with_errors else None
    record = measure(SkyMap(truth, "uK_CMB"), SkyMap(truth + error, "uK_CMB"), mask, ANALYSIS, errors)
    JsonRecordDataset(filepath=tmp_path / "sim0000.json").save(record)
    bands = len(record["spectra"])
    given = replace(POLARISED, bands=bands, predicting=frozenset({"pyilc"} if with_errors else ()))
    found = PRODUCTS["{method}_metrics_{split}"](given, "pyilc_metrics_test")
    assert found.size == pytest.approx(on_disk(tmp_path).size, rel=0.1)


def test_tables_grow_with_the_methods_that_predict_errors(tmp_path):
    counts = {"compared": 30, "methods": {"pyilc": 1, "petroff": 1}}
    none, one = (replace(POLARISED, predicting=frozenset(names), **counts) for names in ((), ("petroff",)))
    bins = pd.DataFrame(
        [
            ["petroff", "test", f"sim{k:04d}", "I", b, 12.34567, 13.45678, 98765]
            for k in range(30)
            for b in range(20)
        ]
    )
    bins.to_csv(tmp_path / "bins.csv", index=False, float_format="%.6g")
    assert PRODUCTS["report_calibration"](one, "").size == pytest.approx(on_disk(tmp_path).size, rel=0.1)
    assert PRODUCTS["report_calibration"](none, "").size < 100
    for name in ("report_comparison", "report_metrics", "report_sky_figures", "report_calibration_figure"):
        assert PRODUCTS[name](one, name).size > PRODUCTS[name](none, name).size


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


@pytest.mark.parametrize(("name", "count"), [("learner_features_train", 4), ("learner_targets_valid", 1)])
def test_what_is_learnt_from_is_as_large_as_its_files(tmp_path, name, count):
    ArrayDataset(filepath=tmp_path / "sim0000.npy").save(np.zeros((count, 64, 48), np.float32))
    pattern = name.replace("learner", "{method}").replace("train", "{split}").replace("valid", "{split}")
    assert PRODUCTS[pattern](POLARISED, name) == on_disk(tmp_path)


def test_a_scaling_and_its_table_are_as_large_as_their_files(tmp_path):
    kind = {"kind": "standardise", "centre": False, "robust": True}
    rng = np.random.default_rng(0)
    loaders = [{"a": lambda rows=rows: 100 * rng.standard_normal((rows, 8, 6))} for rows in (4, 1)]
    names = ("143 I", "100-143 I", "217-143 I", "353-143 I")
    scaling = fit_transforms(
        *loaders, names, settings=ScalingSettings(features=(kind,), target=(kind,)), stokes="I"
    )
    JsonRecordDataset(filepath=tmp_path / "record" / "scaling.json").save(scaling)
    (tmp_path / "table").mkdir()
    scaling_table(scaling).to_csv(tmp_path / "table" / "scaling.csv", index=False, float_format="%.6g")
    for name, folder in (("learner_scaling", "record"), ("report_learner_scaling", "table")):
        found = PRODUCTS[name.replace("learner", "{method}")](POLARISED, name)
        assert found.files == 1
        assert found.size == pytest.approx(on_disk(tmp_path / folder).size, rel=0.15)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"average": 0.9},
        {"optimiser": {"name": "sgd"}},
        {"optimiser": {"amsgrad": True}},
        {"precision": "64"},
        {"epochs": 40},
    ],
    ids=str,
)
def test_a_checkpoint_is_as_large_as_its_file(tmp_path, changes):
    spec = NetworkSpec(SPEC.factory, {"width": 800})
    small_training(tmp_path, spec=spec, **changes)
    found = checkpoint_size(spec, settings(**changes))
    assert found == pytest.approx((tmp_path / "last.pt").stat().st_size, rel=0.05)


def test_predictions_and_errors_have_the_fields_that_their_method_tells():
    found = [
        PRODUCTS[f"{{method}}_{kind}_{{split}}"](POLARISED, f"learner_{kind}_test")
        for kind in ("predictions", "errors")
    ]
    assert found == [fits_map(16, 3), fits_map(16, 2)]


def test_what_is_fitted_to_predictions_is_as_large_as_its_files(tmp_path):
    numbers = np.random.default_rng(0).uniform(1, 2, 35).tolist()
    spectrum = {"coefficients": numbers[:3], "ell": numbers[3:19], "ratio": numbers[19:], "skies": 8}
    records = {"spectrum": spectrum, "errors": {"factor": numbers[0], "skies": 8}}
    for name, record in records.items():
        JsonRecordDataset(filepath=tmp_path / "records" / f"{name}.json").save(record)
    (tmp_path / "table").mkdir()
    table = correction_table(records)
    table.to_csv(tmp_path / "table" / "corrections.csv", index=False, float_format="%.6g")
    one = PRODUCTS["{method}_corrections"](POLARISED, "learner_corrections")
    assert 2 * one.size == pytest.approx(on_disk(tmp_path / "records").size, rel=0.1)
    found = PRODUCTS["report_{method}_corrections"](POLARISED, "report_learner_corrections")
    assert found.size == pytest.approx(on_disk(tmp_path / "table").size, rel=0.2)


def test_checkpoints_are_counted(tmp_path):
    found = PRODUCTS["{method}_checkpoints"](POLARISED, "learner_checkpoints")
    assert found.files == 4  # best, last, one that is kept, and the record
    assert 3000 < found.size < 10_000


def test_losses_are_as_large_as_their_table(tmp_path):
    row = {
        "epoch": 1,
        "step": 12,
        "train_loss": 1.11968,
        "valid_loss": 0.961212,
        "lr": 0.00012,
        "seconds": 0.09,
    }
    pd.DataFrame([row] * 3).to_csv(tmp_path / "losses.csv", index=False, float_format="%.6g")
    found = PRODUCTS["report_{method}_losses"](POLARISED, "report_learner_losses")
    assert found.size == pytest.approx(on_disk(tmp_path).size, rel=0.3)


def test_what_a_method_does_not_tell_is_not_known():
    patterns = {"{method}_features_{split}": "a_features_train", "report_{method}_losses": "report_a_losses"}
    assert [PRODUCTS[pattern](POLARISED, name) for pattern, name in patterns.items()] == [None, None]
