"""Planck's maps as a simulation and as foregrounds, from small files in Planck's format."""

import healpy as hp
import numpy as np
import pytest
import yaml
from kedro.io import DataCatalog
from kedro.io.core import DatasetError

from cmbml.datasets import InstrumentTableDataset
from cmbml.pipelines.planck_sky import create_pipeline
from cmbml.pipelines.simulation.foregrounds import foreground_alm as total_foregrounds
from cmbml.pipelines.simulation.nodes import prepare_foregrounds
from cmbml.pipelines.simulation.planck_nodes import make_planck_truth, observe_planck
from cmbml.pipelines.simulation.planck_sky import (
    fill_unseen,
    in_thermodynamic_unit,
    measured_alm,
    planck_foregrounds,
)
from cmbml.pipelines.simulation.settings import ForegroundSettings, Maps, PlanckMaps, Target
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_to_map, change_lmax, filter_alm
from cmbml.science.instrument import Channel, Instrument
from cmbml.science.skymap import UNSEEN, SkyMap
from tests.kedro_runs import ROOT
from tests.planck_files import HOLES, NSIDE, cmb_alm, foreground_alm, write_planck_files

MAPS = Maps(nside=16, lmax=32)
TARGET = Target(nside=16, lmax=32, fwhm_arcmin=300.0)
PLANCK = PlanckMaps(nilc_fwhm_arcmin=5.0, mjy_per_k_545=58.04, mjy_per_k_857=2.27, debeam_floor=1e-10)
OWN = InstrumentTableDataset(filepath=ROOT / "conf/base/instruments/planck.ecsv").load()
INSTRUMENT = OWN.with_beams(scale=1.0, floor_arcmin=240.0)


def catalog(root):
    """The entries of the base catalog, on the files of a test."""
    text = (ROOT / "conf/base/catalog_planck.yml").read_text()
    text = text.replace("${runtime_params:assets_folder, ${globals:assets_folder}}", str(root))
    entries = {name: entry for name, entry in yaml.safe_load(text).items() if not name.startswith("_")}
    return DataCatalog.from_config(entries), entries["planck_maps"]["files"]


@pytest.fixture(scope="module", params=[False, True], ids=["whole", "with holes"])
def files(request, tmp_path_factory):
    """Loaders of maps and NILC, and the tolerance: what is filled in is not what was there."""
    root = tmp_path_factory.mktemp("assets")
    entries, names = catalog(root)
    write_planck_files(
        root, OWN, {str(channel): name for channel, name in names.items()}, holes=request.param
    )
    return entries.load("planck_maps"), entries.load("planck_nilc"), 0.02 if request.param else 0.002


def close(found, right, tolerance):
    assert found.shape == right.shape
    for row, expected in zip(found, right, strict=True):
        assert np.std(row - expected) < tolerance * np.std(expected)


def away_from_holes(*, degrees):
    """Whether a pixel is farther than that from all holes."""
    pixels = np.array(hp.pix2vec(MAPS.nside, np.arange(12 * MAPS.nside**2)))
    holes = np.array(hp.pix2vec(NSIDE, np.array(HOLES), nest=True))
    return (holes.T @ pixels).max(axis=0) < np.cos(np.radians(degrees))


def at_beam(alm, fwhm_arcmin):
    window = beam_window(fwhm_arcmin * ARCMIN, MAPS.lmax)
    return alm_to_map(filter_alm(change_lmax(alm, MAPS.lmax), window), MAPS.nside)


# ---- As a simulation --------------------------------------------------------------------------


def test_planck_is_seen_under_the_beams_of_the_instrument(files):
    maps, _, tolerance = files
    made = observe_planck(maps, OWN, instrument=INSTRUMENT, planck=PLANCK, maps=MAPS)
    assert list(made) == ["sim0000"]
    sky = made["sim0000"]()
    assert tuple(sky.maps) == OWN.names and set(sky.units.values()) == {"uK_CMB"}
    for channel in INSTRUMENT:
        alm = (cmb_alm() + foreground_alm(channel.frequency_ghz))[: len(channel.stokes)]
        close(sky.maps[channel.name], at_beam(alm, channel.fwhm_arcmin), tolerance)


def test_the_monopole_stays(files):
    maps, _, _ = files
    sky = observe_planck(maps, OWN, instrument=INSTRUMENT, planck=PLANCK, maps=MAPS)["sim0000"]()
    assert sky.maps["143"][0].mean() == pytest.approx(50 / np.sqrt(4 * np.pi), rel=0.01)


@pytest.mark.parametrize("polarised", [True, False])
def test_the_nilc_map_at_the_common_beam_stands_for_the_truth(files, polarised):
    _, nilc, _ = files
    instrument = INSTRUMENT if polarised else INSTRUMENT.with_stokes("I")
    truth = make_planck_truth(nilc, instrument, PLANCK, TARGET)["sim0000"]()
    assert truth.unit == "uK_CMB"
    close(truth.values, at_beam(cmb_alm(3 if polarised else 1), 300.0), 0.002)


def test_only_the_channels_of_the_instrument_count(files):
    maps, _, _ = files
    few = {name: maps[name] for name in ("143", "217")}
    chosen = INSTRUMENT.select(("143",))
    one = observe_planck(maps, OWN, instrument=chosen, planck=PLANCK, maps=MAPS)["sim0000"]
    other = observe_planck(few, OWN, instrument=chosen, planck=PLANCK, maps=MAPS)["sim0000"]
    assert one.fingerprint == other.fingerprint
    with pytest.raises(ValueError, match="channels 30, 44.*: Planck has none of that name, only 143, 217"):
        observe_planck(few, OWN, instrument=INSTRUMENT, planck=PLANCK, maps=MAPS)


def test_a_map_that_is_not_there_is_named_with_its_remedy(tmp_path):
    entries, _ = catalog(tmp_path)
    with pytest.raises(DatasetError, match=r"HFI_SkyMap_143.*: not there. kedro run --pipeline=assets"):
        chosen = INSTRUMENT.select(("143",))
        made = observe_planck(entries.load("planck_maps"), OWN, instrument=chosen, planck=PLANCK, maps=MAPS)
        assert made["sim0000"].fingerprint


def test_maps_are_not_sharpened(files):
    maps, nilc, _ = files
    narrow = Instrument((Channel("30", 28.4, 20.0, "IQU"),))
    made = observe_planck(maps, OWN, instrument=narrow, planck=PLANCK, maps=MAPS)["sim0000"]
    with pytest.raises(ValueError, match="channel 30: Planck's beam of 32.29 arcmin is wider than the instr"):
        made()
    wide = PLANCK.model_copy(update={"nilc_fwhm_arcmin": 400.0})
    with pytest.raises(
        ValueError, match="the NILC map has a beam of 400 arcmin, wider than the target's 300"
    ):
        make_planck_truth(nilc, INSTRUMENT, wide, TARGET)["sim0000"]()


def test_the_pipeline_gives_all_that_cleaning_and_analysis_read():
    outputs = create_pipeline().all_outputs()
    assert {"instrument", "mask", "test_observations", "test_cmb"} <= outputs


# ---- As foregrounds ----------------------------------------------------------------------------


def test_foregrounds_are_what_the_cmb_leaves(files):
    maps, nilc, _ = files
    outside = away_from_holes(degrees=10.0)
    made = planck_foregrounds(maps, nilc, own=OWN, instrument=INSTRUMENT, planck=PLANCK, lmax=MAPS.lmax)
    assert made["components"].tolist() == ["planck"]
    assert made["alm"].shape[:3] == (1, 9, 3)
    for alm, channel in zip(made["alm"][0], INSTRUMENT, strict=True):
        n = len(channel.stokes)
        right = at_beam(foreground_alm(channel.frequency_ghz)[:n], 240.0)
        found = at_beam(alm[:n], 240.0)
        close(found, right, 0.02)  # the CMB is up to ten times as bright
        close(found[:, outside], right[:, outside], 0.004)
        assert not alm[n:].any()


def test_cmb_and_foregrounds_together_are_planck(files):
    maps, nilc, _ = files
    made = planck_foregrounds(maps, nilc, own=OWN, instrument=INSTRUMENT, planck=PLANCK, lmax=MAPS.lmax)
    cmb = measured_alm(nilc().in_unit("uK_CMB"), fields=3, lmax=MAPS.lmax)
    cmb = filter_alm(cmb, 1 / beam_window(5 * ARCMIN, MAPS.lmax))
    seen = observe_planck(maps, OWN, instrument=INSTRUMENT, planck=PLANCK, maps=MAPS)["sim0000"]()
    for alm, channel in zip(made["alm"][0], INSTRUMENT, strict=True):
        n = len(channel.stokes)
        close(at_beam(alm[:n] + cmb[:n], channel.fwhm_arcmin), seen.maps[channel.name], 1e-5)


def test_nothing_is_amplified_where_the_beam_leaves_nothing(files):
    maps, nilc, _ = files
    wide = Instrument((Channel("30", 28.4, 3000.0, "IQU"),))
    made = planck_foregrounds(
        maps, nilc, own=wide, instrument=INSTRUMENT.select(("30",)), planck=PLANCK, lmax=MAPS.lmax
    )
    gone = beam_window(3000 * ARCMIN, MAPS.lmax)[-1]
    assert gone < 1e-20
    assert np.abs(made["alm"]).max() < 1e5 * 1e3  # at most 1 / (2 sqrt(floor)) times the map


def settings(**options):
    extragalactic = {"cib": False, "radio": False, "radio_flux_cut_jy": 0.35}
    spreads = ("brightness", "dust_index", "dust_temperature_kelvin", "synchrotron_index", "free_free_index")
    return ForegroundSettings(
        source="planck",
        presets=["d1"],
        nside=32,
        variation={"morphology": True} | dict.fromkeys(spreads, 0.1),
        extragalactic=extragalactic,
        **{"vary": False, **options},
    )


def test_a_simulation_has_them_as_its_foregrounds(files):
    maps, nilc, _ = files
    inputs = {"planck_maps": maps, "planck_nilc": nilc, "planck_instrument": OWN, "planck": PLANCK}
    shared = prepare_foregrounds(settings(), INSTRUMENT, MAPS, **inputs)
    alm = total_foregrounds(
        {"morphology": "0", "offsets": {}}, shared, instrument=INSTRUMENT, settings=settings(), lmax=MAPS.lmax
    )
    assert np.array_equal(alm, shared["alm"][0])


def test_planck_is_one_sky():
    with pytest.raises(ValueError, match="source planck: it is one sky and does not vary; set foregrounds.v"):
        settings(vary=True)


# ---- Steps --------------------------------------------------------------------------------------


def test_a_hole_gets_the_mean_of_its_neighbours():
    maps = np.arange(192.0).reshape(1, -1).astype(np.float32)
    maps[0, 100] = UNSEEN
    filled = fill_unseen(maps)
    assert filled[0, 100] == pytest.approx(np.mean(hp.get_all_neighbours(4, 100)))
    untouched = np.arange(192) != 100
    assert np.array_equal(filled[0, untouched], maps[0, untouched])
    assert maps[0, 100] == np.float32(UNSEEN)


def test_a_wide_hole_is_filled_from_its_edge():
    maps = np.full((1, 768), 3.0, np.float32)
    maps[0, 200:500] = UNSEEN
    assert np.array_equal(fill_unseen(maps), np.full((1, 768), 3.0))


def test_a_field_without_any_value_is_refused():
    with pytest.raises(ValueError, match="a field has no pixel with a value"):
        fill_unseen(np.full((1, 768), UNSEEN, np.float32))


def test_surface_brightness_becomes_temperature_by_the_response_of_the_channel():
    sky = SkyMap(np.array([[2.27, UNSEEN] + [0.0] * 10], np.float32), "MJy/sr")
    kelvin = in_thermodynamic_unit(sky, "857", PLANCK)
    assert kelvin.unit == "uK_CMB" and kelvin.values[0, 0] == pytest.approx(1e6)
    assert kelvin.values[0, 1] == np.float32(UNSEEN)
    assert in_thermodynamic_unit(SkyMap(np.ones((1, 12)), "Kcmb"), "100", PLANCK).values[0, 0] == 1e6
    with pytest.raises(ValueError, match="channel 353: its map is in MJy/sr, and its response .* is not kn"):
        in_thermodynamic_unit(sky, "353", PLANCK)


def test_a_map_must_hold_what_is_wanted():
    sky = SkyMap(np.zeros((1, 768), np.float32), "uK_CMB")
    with pytest.raises(ValueError, match="the map holds I, but I, Q and U are wanted; set the global stokes"):
        measured_alm(sky, fields=3, lmax=8)
    with pytest.raises(ValueError, match="lmax 30: must lie between 2 and 3 nside - 1 = 23"):
        measured_alm(sky, fields=1, lmax=30)
