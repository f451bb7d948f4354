import healpy as hp
import numpy as np
import pytest
from pydantic import ValidationError

from cmbml.pipelines.analysis import postprocess as module
from cmbml.pipelines.analysis.postprocess import (
    analysis_mask,
    beam_ratio,
    postprocess,
    sharpenable_channels,
    single_channel_map,
)
from cmbml.pipelines.analysis.settings import Analysis
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_size, alm_to_map, filter_alm
from cmbml.science.instrument import Channel, Instrument
from cmbml.science.masks import galactic_mask, remove_monopole_dipole
from cmbml.science.skymap import SkyMap

NSIDE, LMAX = 16, 32
NPIX = 12 * NSIDE**2
FWHM = 500.0  # arcmin: the window at lmax is 0.02
WIDER = 700.0
LATITUDE = np.abs(hp.pix2ang(NSIDE, np.arange(NPIX), lonlat=True)[1])

SETTINGS = {
    "nside": NSIDE,
    "lmax": LMAX,
    "map_fwhm_arcmin": FWHM,
    "fwhm_arcmin": FWHM,
    "apodisation_deg": 10.0,
    "taper": "C1",
    "bin_width": 5,
    "figure_simulations": 1,
    "map_range_uk": 300.0,
    "residual_range_uk": 30.0,
}


def settings(**changes):
    return Analysis(**(SETTINGS | changes))


def sky_mask(*latitudes):
    """Cuts for intensity and polarisation, in the fields that the simulation writes."""
    fields = ("I_MASK", "P_MASK")[: len(latitudes)]
    return SkyMap(np.stack([galactic_mask(NSIDE, latitude) for latitude in latitudes]), "", fields)


def mask_at(fwhm_arcmin, *latitudes):
    analysis = settings(fwhm_arcmin=fwhm_arcmin)
    mask = sky_mask(*(latitudes or (20,)))
    return analysis_mask(mask, analysis=analysis, fwhm_arcmin=FWHM), analysis


def sky_alm(n, seed=0):
    """Coefficients with C_l = 100 / (l + 1)^2, nothing below l = 2."""
    rng = np.random.default_rng(seed)
    alm = rng.normal(size=(n, alm_size(LMAX))) + 1j * rng.normal(size=(n, alm_size(LMAX)))
    alm[:, : LMAX + 1] = alm[:, : LMAX + 1].real
    ell = np.arange(LMAX + 1)
    return filter_alm(alm, np.where(ell < 2, 0, 10 / (ell + 1.0)))


def at_beam(alm, fwhm_arcmin):
    return alm_to_map(filter_alm(alm, beam_window(fwhm_arcmin * ARCMIN, LMAX)), NSIDE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("nside", 24),
        ("lmax", 1),
        ("lmax", 48),
        ("fwhm_arcmin", 0),
        ("map_fwhm_arcmin", 0),
        ("apodisation_deg", -1),
        ("taper", "C3"),
        ("bin_width", 0),
        ("figure_simulations", -1),
        ("map_range_uk", 0),
        ("residual_range_uk", 0),
        ("unknown", 1),
    ],
)
def test_settings_refuse_what_makes_no_analysis(name, value):
    with pytest.raises(ValidationError, match=name):
        settings(**{name: value})


def test_settings_do_not_ask_for_sharper_maps():
    with pytest.raises(ValidationError, match=r"fwhm_arcmin 499: maps at map_fwhm_arcmin 500 are not"):
        settings(fwhm_arcmin=499)


def test_settings_have_no_defaults_and_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        settings().lmax = 3
    for name in SETTINGS:
        with pytest.raises(ValidationError, match=rf"{name}\n  Field required"):
            Analysis(**{key: value for key, value in SETTINGS.items() if key != name})


def test_at_one_beam_the_whole_cut_sky_is_compared():
    mask = mask_at(FWHM)[0].intensity
    assert np.array_equal(mask.kept, LATITUDE >= 20)
    assert np.all(mask.apodised[~mask.kept] == 0)
    assert np.all((mask.apodised[mask.kept] > 0) & (mask.apodised[mask.kept] <= 1))


def test_after_a_change_of_beam_pixels_of_full_guard_are_compared():
    mask = mask_at(WIDER)[0].intensity
    assert np.array_equal(mask.kept, mask.guard == 1)
    assert np.all(LATITUDE[mask.kept] > 29)
    assert np.all(mask.guard[LATITUDE < 20] == 0)
    assert np.all(mask.apodised[~mask.kept] == 0)


def test_a_mask_of_another_resolution_is_refused():
    with pytest.raises(ValueError, match=r"mask: has npix 48, the analysis expects 3072 \(nside 16\)"):
        analysis_mask(SkyMap(np.ones((1, 48)), ""), analysis=settings(), fwhm_arcmin=FWHM)


def test_a_taper_that_eats_the_sky_is_refused():
    analysis = settings(fwhm_arcmin=WIDER, apodisation_deg=80)
    with pytest.raises(ValueError, match=r"mask: no pixel is left of \d+ after an apodisation of 80 deg"):
        analysis_mask(sky_mask(20), analysis=analysis, fwhm_arcmin=FWHM)


@pytest.mark.parametrize("n", [1, 3])
def test_at_one_beam_nothing_is_transformed(n, monkeypatch):
    monkeypatch.setattr(module, "map_to_alm", None)  # calling it would fail
    mask, analysis = mask_at(FWHM)
    maps = (np.random.default_rng(1).normal(size=(n, NPIX)) + 5).astype(np.float32)
    result = postprocess(maps, mask, analysis=analysis, fwhm_arcmin=FWHM)
    assert np.array_equal(result, remove_monopole_dipole(maps, mask.intensity.kept))
    assert result.dtype == np.float32


@pytest.mark.parametrize("comparison", [FWHM, WIDER])
def test_monopole_and_dipole_of_a_map_do_not_matter(comparison):
    mask, analysis = mask_at(comparison)
    maps = at_beam(sky_alm(1), FWHM)
    x, y, z = hp.pix2vec(NSIDE, np.arange(NPIX))
    expected = postprocess(maps, mask, analysis=analysis, fwhm_arcmin=FWHM)
    shifted = postprocess(maps + 100 - 30 * x + 7 * y + 50 * z, mask, analysis=analysis, fwhm_arcmin=FWHM)
    np.testing.assert_allclose(shifted[:, mask.intensity.kept], expected[:, mask.intensity.kept], atol=1e-10)


def test_without_a_mask_the_beam_is_that_of_the_comparison():
    analysis = settings(fwhm_arcmin=WIDER)
    mask = analysis_mask(sky_mask(0), analysis=analysis, fwhm_arcmin=FWHM)
    alm = sky_alm(3)
    result = postprocess(at_beam(alm, FWHM), mask, analysis=analysis, fwhm_arcmin=FWHM)
    # A map of one beam at another: only the quadrature errs, by 1e-4 of a sky of 10 uK.
    np.testing.assert_allclose(result, at_beam(alm, WIDER), atol=2e-3)


def test_under_a_mask_the_beam_is_that_of_the_comparison_away_from_the_edge():
    mask, analysis = mask_at(WIDER)
    alm = sky_alm(1)
    result = postprocess(at_beam(alm, FWHM), mask, analysis=analysis, fwhm_arcmin=FWHM)
    far = LATITUDE > 55  # two beams from where the guard is below 1
    difference = (result - at_beam(alm, WIDER))[0, far]
    # The fits of monopole and dipole differ: a plane is left, and nothing else.
    x, y, z = hp.pix2vec(NSIDE, np.flatnonzero(far))
    plane = np.stack([np.ones(far.sum()), x, y, z], axis=1)
    rest = difference - plane @ np.linalg.lstsq(plane, difference, rcond=None)[0]
    assert np.abs(rest).max() < 0.01 * at_beam(alm, WIDER).std()


def test_the_galaxy_does_not_leak_into_the_compared_sky():
    mask, analysis = mask_at(WIDER)
    maps = at_beam(sky_alm(1), FWHM)
    galaxy = np.where(LATITUDE < 20, 1e5, 0)
    clean = postprocess(maps, mask, analysis=analysis, fwhm_arcmin=FWHM)
    dirty = postprocess(maps + galaxy, mask, analysis=analysis, fwhm_arcmin=FWHM)
    np.testing.assert_allclose(dirty[:, mask.intensity.kept], clean[:, mask.intensity.kept], atol=1e-10)


@pytest.mark.parametrize("lost", [np.nan, hp.UNSEEN])
@pytest.mark.parametrize("comparison", [FWHM, WIDER])
def test_masked_pixels_need_no_value(lost, comparison):
    mask, analysis = mask_at(comparison)
    maps = at_beam(sky_alm(3), FWHM)
    expected = postprocess(maps, mask, analysis=analysis, fwhm_arcmin=FWHM)
    holes = np.where(LATITUDE < 20, lost, maps)
    result = postprocess(holes, mask, analysis=analysis, fwhm_arcmin=FWHM)
    np.testing.assert_allclose(result[:, mask.intensity.kept], expected[:, mask.intensity.kept], atol=1e-12)


def test_the_residual_of_two_maps_is_the_map_of_the_residual():
    mask, analysis = mask_at(WIDER)
    a, b = at_beam(sky_alm(3, 1), FWHM), at_beam(sky_alm(3, 2), FWHM)
    parts = [postprocess(maps, mask, analysis=analysis, fwhm_arcmin=FWHM) for maps in (a, b, a - b)]
    np.testing.assert_allclose(parts[0] - parts[1], parts[2], atol=1e-11)


@pytest.mark.parametrize("comparison", [FWHM, WIDER])
def test_postprocessing_leaves_its_input_alone(comparison):
    mask, analysis = mask_at(comparison)
    maps = at_beam(sky_alm(3), FWHM)
    before = maps.copy()
    postprocess(maps, mask, analysis=analysis, fwhm_arcmin=FWHM)[:] = 0
    assert np.array_equal(maps, before)


def test_single_precision_stays_single():
    mask, analysis = mask_at(WIDER)
    maps = at_beam(sky_alm(3), FWHM).astype(np.float32)
    assert postprocess(maps, mask, analysis=analysis, fwhm_arcmin=FWHM).dtype == np.float32


@pytest.mark.parametrize("mask", [sky_mask(20, 20), sky_mask(20), SkyMap(galactic_mask(NSIDE, 20)[None], "")])
def test_one_mask_serves_all_fields_where_there_is_no_other(mask):
    made = analysis_mask(mask, analysis=settings(), fwhm_arcmin=FWHM)
    assert made.polarisation is made.intensity
    assert made.rows("kept", 3).shape == (NPIX,)


def test_polarisation_may_have_another_mask():
    mask, _ = mask_at(FWHM, 20, 40)
    assert np.array_equal(mask.rows("kept", 3), [LATITUDE >= 20, LATITUDE >= 40, LATITUDE >= 40])
    assert np.array_equal(mask.rows("apodised", 1), mask_at(FWHM)[0].intensity.apodised)


@pytest.mark.parametrize("comparison", [FWHM, WIDER])
def test_the_mask_of_the_polarisation_does_not_touch_the_intensity(comparison):
    mask, analysis = mask_at(comparison, 20, 40)
    one_mask, _ = mask_at(comparison, 20)
    maps = at_beam(sky_alm(3), FWHM)
    expected = postprocess(maps, one_mask, analysis=analysis, fwhm_arcmin=FWHM)
    holes = maps.copy()
    holes[1:, LATITUDE < 40] = np.nan
    result = postprocess(holes, mask, analysis=analysis, fwhm_arcmin=FWHM)
    kept = mask.intensity.kept
    np.testing.assert_allclose(result[0, kept], expected[0, kept], atol=1e-10)
    assert np.isfinite(result[1:, mask.polarisation.kept]).all()


def test_a_hole_that_only_the_mask_of_the_intensity_leaves_out_is_refused():
    mask, analysis = mask_at(FWHM, 40, 20)
    maps = np.where(LATITUDE < 40, np.nan, at_beam(sky_alm(3), FWHM))
    with pytest.raises(ValueError, match=r"nilc: \d+ pixels that the mask keeps have no value"):
        postprocess(maps, mask, analysis=analysis, fwhm_arcmin=FWHM, name="nilc")


def test_maps_are_not_sharpened():
    mask, analysis = mask_at(FWHM)
    with pytest.raises(
        ValueError, match=r"nilc: its beam of 700 arcmin is wider than that of the comparison, 500"
    ):
        postprocess(np.zeros((1, NPIX)), mask, analysis=analysis, fwhm_arcmin=WIDER, name="nilc")


def test_a_map_of_another_resolution_is_refused():
    mask, analysis = mask_at(FWHM)
    with pytest.raises(ValueError, match=r"nilc: has npix 768, the analysis expects 3072 \(nside 16\)"):
        postprocess(np.zeros((1, 768)), mask, analysis=analysis, fwhm_arcmin=FWHM, name="nilc")


def test_a_map_with_holes_outside_the_mask_is_refused():
    mask, analysis = mask_at(WIDER)
    maps = np.zeros((1, NPIX))
    maps[0, 0] = np.nan
    with pytest.raises(ValueError, match=r"nilc: 1 pixels that the mask keeps have no value"):
        postprocess(maps, mask, analysis=analysis, fwhm_arcmin=FWHM, name="nilc")


@pytest.mark.parametrize(("start", "end"), [(300, 500), (500, 300), (0, 500), (400, 400)])
def test_beam_ratio_is_the_ratio_of_the_windows(start, end):
    expected = beam_window(end * ARCMIN, LMAX) / beam_window(start * ARCMIN, LMAX)
    np.testing.assert_allclose(beam_ratio(start, end, lmax=LMAX), expected, rtol=1e-12)


def test_there_and_back_between_beams_is_the_identity():
    there, back = beam_ratio(300, 500, lmax=LMAX), beam_ratio(500, 300, lmax=LMAX)
    np.testing.assert_allclose(there * back, 1, rtol=1e-13)


def test_a_signal_below_single_precision_is_not_sharpened():
    message = (
        r"a beam of 2000 arcmin cannot be sharpened to 500 arcmin at lmax 32: a map in single precision holds"
    )
    with pytest.raises(ValueError, match=message):
        beam_ratio(2000, 500, lmax=LMAX)


@pytest.mark.parametrize("channel_fwhm", [300.0, 600.0])
@pytest.mark.parametrize("n", [1, 3])
def test_a_noiseless_channel_becomes_the_truth_at_the_common_beam(channel_fwhm, n):
    alm, channel = sky_alm(n), Channel("143", 143.0, channel_fwhm, "IQU")
    result = single_channel_map(at_beam(alm, channel_fwhm), channel, fwhm_arcmin=FWHM, lmax=LMAX, nside=NSIDE)
    # The quadrature errs by 1e-4 of 10 uK, and the wider beam is sharpened.
    np.testing.assert_allclose(result, at_beam(alm, FWHM), atol=5e-3)


def test_a_channel_may_have_another_resolution():
    alm, channel = sky_alm(1), Channel("143", 143.0, 300.0, "I")
    fine = alm_to_map(filter_alm(alm, channel.beam_window(LMAX)), 2 * NSIDE)
    result = single_channel_map(fine, channel, fwhm_arcmin=FWHM, lmax=LMAX, nside=NSIDE)
    np.testing.assert_allclose(result, at_beam(alm, FWHM), atol=1e-4)


def test_a_channel_that_cannot_be_sharpened_is_named():
    channel = Channel("30", 28.4, 2000.0, "I")
    with pytest.raises(
        ValueError, match=r"channel 30: a beam of 2000 arcmin cannot be sharpened to 500 arcmin"
    ):
        single_channel_map(np.zeros((1, NPIX)), channel, fwhm_arcmin=FWHM, lmax=LMAX, nside=NSIDE)


def test_a_channel_with_holes_is_named():
    channel = Channel("30", 28.4, 300.0, "I")
    with pytest.raises(ValueError, match=r"channel 30: 3072 pixels that the mask keeps have no value"):
        single_channel_map(np.full((1, NPIX), np.nan), channel, fwhm_arcmin=FWHM, lmax=LMAX, nside=NSIDE)


def test_channels_that_can_be_compared_measure_the_fields_and_keep_a_signal():
    instrument = Instrument(
        (
            Channel("30", 28.4, 2000.0, "IQU"),
            Channel("143", 143.0, 600.0, "IQU"),
            Channel("545", 545.0, 100.0, "I"),
        )
    )
    choose = {"fwhm_arcmin": FWHM, "lmax": LMAX}
    assert sharpenable_channels(instrument, stokes="I", **choose) == ("143", "545")
    assert sharpenable_channels(instrument, stokes="IQU", **choose) == ("143",)
    # A beam that is widened always leaves what it had, however much it is weakened.
    narrow = {"fwhm_arcmin": 5000.0, "lmax": LMAX}
    assert sharpenable_channels(instrument, stokes="I", **narrow) == ("30", "143", "545")
