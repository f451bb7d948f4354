"""The needlet ILC keeps the CMB, lowers the rest and gives the published numbers."""

from dataclasses import replace

import healpy as hp
import numpy as np
import pytest

from cmbml.pipelines.pyilc import ilc
from cmbml.pipelines.pyilc.ilc import ilc_scales, needlet_ilc, polarised_needlet_ilc
from cmbml.pipelines.pyilc.settings import NeedletILC
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_size, alm_to_cl, alm_to_map, filter_alm, map_to_alm, synthesise
from cmbml.science.pixels import galactic_latitude
from cmbml.science.threads import set_thread_count

NSIDE, LMAX = 16, 32
FWHM_ARCMIN = (600, 500, 400, 300)
SETTINGS = NeedletILC(
    peaks=(8, 16, LMAX + 1),
    lmax=LMAX,
    nside=NSIDE,
    fwhm_arcmin=300,
    bias_tolerance=0.01,
    beam_criterion=1e-3,
    taper_width=0,
    channels="all",
    transforms="fast",
    stokes="I",
)
REFERENCE_SETTINGS = NeedletILC(
    peaks=(30, 80, 130, 191),
    lmax=190,
    nside=64,
    fwhm_arcmin=20.6,
    bias_tolerance=0.02,
    beam_criterion=1e-3,
    taper_width=0,
    channels="all",
    transforms="reference",
    stokes="I",
)
BOTH = pytest.mark.parametrize("transforms", ["fast", "reference"])


def changed(settings, **values):
    return NeedletILC(**settings.model_dump() | values)


def gaussian_alm(seed):
    """Coefficients with C_l = 1e4 / (l (l + 1)) uK^2, without monopole and dipole."""
    generator = np.random.default_rng(seed)
    alm = generator.standard_normal(alm_size(LMAX)) + 1j * generator.standard_normal(alm_size(LMAX))
    alm[: LMAX + 1] = np.sqrt(2) * alm[: LMAX + 1].real
    ell = np.arange(LMAX + 1)
    return filter_alm(alm, np.where(ell > 1, 100 / np.sqrt(2 * np.maximum(ell * (ell + 1), 1)), 0))


def make_channels(noise, foreground=0.0):
    """Return maps, beams and the CMB at the common beam."""
    beams = np.stack([beam_window(fwhm * ARCMIN, LMAX) for fwhm in FWHM_ARCMIN])
    cmb = gaussian_alm(1)
    plane = np.exp(-((galactic_latitude(NSIDE) / 0.4) ** 2))
    dust = hp.map2alm(plane * np.exp(synthesise(gaussian_alm(2), NSIDE) / 100), lmax=LMAX)
    maps = synthesise(filter_alm(cmb + foreground * np.array([[1], [3], [10], [40]]) * dust, beams), NSIDE)
    maps += noise * np.random.default_rng(3).standard_normal(maps.shape)
    return maps, beams, synthesise(filter_alm(cmb, beams[-1]), NSIDE)


@BOTH
def test_any_weights_that_add_up_to_one_give_the_cmb_back(monkeypatch, transforms):
    def uneven_weights(coefficients, scale, *_):
        north = galactic_latitude(scale.nside) > 0
        return np.where(north, [[3.0], [-1.0], [0.5], [-1.5]], 0.25)[: len(coefficients)]

    monkeypatch.setattr(ilc, "_scale_weights", uneven_weights)
    maps, beams, cmb = make_channels(noise=0)
    cleaned = needlet_ilc(maps, beams, settings=changed(SETTINGS, transforms=transforms)).cleaned
    assert cleaned.shape == (1, 12 * NSIDE**2)
    assert cleaned.dtype == np.float32
    # At lmax = 2 nside one refinement of the quadrature leaves about 1e-4, three leave 1e-6,
    # which weights of -1.5 to 3 and dividing by beam windows of 0.05 amplify.
    accuracy = {"fast": 2e-3, "reference": 2e-5}[transforms]
    assert np.std(cleaned[0] - cmb) < accuracy * np.std(cmb)


@BOTH
def test_channels_that_hold_the_same_cmb_give_it_back_but_for_the_ilc_bias(transforms):
    maps, beams, cmb = make_channels(noise=1e-3)
    cleaned = needlet_ilc(maps, beams, settings=changed(SETTINGS, transforms=transforms)).cleaned
    # Chance correlations of CMB and noise cost (N_channels - 1) / N_modes of the power of a scale,
    # whatever the noise: 3/20 at the first, with half the power, and 3/300 at the last.
    assert np.std(cleaned[0] - cmb) < np.sqrt(3 / 20) * np.std(cmb)


@BOTH
def test_foregrounds_are_removed(transforms):
    maps, beams, cmb = make_channels(noise=0.1, foreground=300.0)
    cleaned = needlet_ilc(maps, beams, settings=changed(SETTINGS, transforms=transforms)).cleaned[0]
    only_cmb, _, _ = make_channels(noise=0.0)
    assert np.all(np.std(maps - only_cmb, axis=1) > 2 * np.std(cmb))
    assert np.std(cleaned - cmb) < 0.1 * np.std(cmb)  # again the ILC bias


@BOTH
def test_weights_add_up_to_one_at_every_pixel(transforms):
    maps, beams, _ = make_channels(noise=1.0, foreground=30.0)
    result = needlet_ilc(maps, beams, settings=changed(SETTINGS, transforms=transforms), keep_weights=True)
    assert len(result.weights) == len(result.scales) == 4
    for scale, weights in zip(result.scales, result.weights, strict=True):
        assert weights.shape == (len(scale.channels), 12 * scale.nside**2)
        np.testing.assert_allclose(weights.sum(axis=0), 1, atol=1e-10)


def make_polarised_channels(noise):
    """Return I, Q, U maps of the channels, beams, and the CMB's maps at the common beam."""
    _, beams, _ = make_channels(noise=0)
    cmb = np.stack([gaussian_alm(seed) for seed in (1, 4, 5)]) * np.array([[1], [0.1], [0.01]])
    rng = np.random.default_rng(6)
    maps = [alm_to_map(filter_alm(cmb, beam), NSIDE) for beam in beams]
    maps = [sky + noise * rng.standard_normal(sky.shape) for sky in maps]
    return maps, beams, alm_to_map(filter_alm(cmb, beams[-1]), NSIDE)


def test_intensity_is_cleaned_alike_with_and_without_polarisation():
    maps, beams, _ = make_polarised_channels(noise=0.1)
    cleaned = polarised_needlet_ilc(maps, beams, settings=SETTINGS)
    alone = needlet_ilc(np.stack([sky[0] for sky in maps]), beams, settings=SETTINGS).cleaned
    np.testing.assert_allclose(cleaned[0], alone[0], rtol=0, atol=1e-5 * np.std(alone))


def test_polarisation_of_the_cmb_is_kept_but_for_the_ilc_bias():
    maps, beams, cmb = make_polarised_channels(noise=1e-4)
    maps[-1] = maps[-1][:1]  # a channel without polarisation takes part in T alone
    cleaned = polarised_needlet_ilc(maps, beams, settings=changed(SETTINGS, fwhm_arcmin=FWHM_ARCMIN[-1]))
    assert cleaned.shape == (3, 12 * NSIDE**2)
    for field in range(3):
        assert np.std(cleaned[field] - cmb[field]) < np.sqrt(3 / 20) * np.std(cmb[field])


def test_e_modes_do_not_become_b_modes():
    maps, beams, _ = make_polarised_channels(noise=1e-4)
    e_modes = map_to_alm(polarised_needlet_ilc(maps, beams, settings=SETTINGS), LMAX)
    power = alm_to_cl(e_modes)
    assert power[2, 4:].sum() < 0.02 * power[1, 4:].sum()  # the input has 0.01


def test_polarised_maps_with_missing_pixels_are_refused():
    maps, beams, _ = make_polarised_channels(noise=0.1)
    maps[1][2, 7] = hp.UNSEEN
    with pytest.raises(ValueError, match="1 missing pixels"):
        polarised_needlet_ilc(maps, beams, settings=SETTINGS)


def test_weights_are_not_kept_unless_asked_for():
    maps, beams, _ = make_channels(noise=1.0)
    assert needlet_ilc(maps, beams, settings=SETTINGS).weights == ()


def test_larger_pixels_change_the_map_by_less_than_a_thousandth():
    maps, beams, _ = make_channels(noise=1.0, foreground=30.0)
    fast = needlet_ilc(maps, beams, settings=SETTINGS).cleaned
    reference = needlet_ilc(maps, beams, settings=changed(SETTINGS, transforms="reference")).cleaned
    assert 0 < np.std(fast - reference) < 1e-3 * np.std(reference)


def test_inputs_are_not_changed():
    maps, beams, _ = make_channels(noise=1.0)
    copies = maps.copy(), beams.copy()
    needlet_ilc(maps, beams, settings=SETTINGS)
    np.testing.assert_array_equal(maps, copies[0])
    np.testing.assert_array_equal(beams, copies[1])


def test_the_order_of_the_channels_does_not_matter():
    maps, beams, _ = make_channels(noise=1.0, foreground=30.0)
    order = [2, 0, 3, 1]
    cleaned = needlet_ilc(maps, beams, settings=SETTINGS).cleaned
    shuffled = needlet_ilc(maps[order], beams[order], settings=SETTINGS).cleaned
    np.testing.assert_allclose(shuffled, cleaned, atol=1e-6 * np.std(cleaned))


def test_the_number_of_threads_does_not_matter():
    maps, beams, _ = make_channels(noise=1.0, foreground=30.0)
    one = needlet_ilc(maps, beams, settings=SETTINGS).cleaned
    set_thread_count(2)
    two = needlet_ilc(maps, beams, settings=SETTINGS).cleaned
    set_thread_count(1)
    np.testing.assert_allclose(two, one, atol=1e-6 * np.std(one))


def test_single_precision_maps_give_the_same():
    maps, beams, _ = make_channels(noise=1.0, foreground=30.0)
    double = needlet_ilc(maps, beams, settings=SETTINGS).cleaned
    single = needlet_ilc(maps.astype(np.float32), beams, settings=SETTINGS).cleaned
    np.testing.assert_allclose(single, double, atol=1e-4 * np.std(double))


def test_a_doubled_response_halves_the_map():
    maps, beams, _ = make_channels(noise=1.0)
    unit = needlet_ilc(maps, beams, settings=SETTINGS).cleaned
    doubled = needlet_ilc(maps, beams, settings=SETTINGS, mixing=np.full(4, 2.0)).cleaned
    np.testing.assert_allclose(2 * doubled, unit, atol=1e-5 * np.std(unit))


def test_a_channel_with_too_wide_a_beam_is_left_out_of_the_fine_scales_only():
    maps, beams, _ = make_channels(noise=1.0)
    result = needlet_ilc(maps, beams, settings=changed(SETTINGS, beam_criterion=0.1), keep_weights=True)
    used = [scale.channels.tolist() for scale in result.scales]
    assert used[0] == [0, 1, 2, 3]
    assert used[-1] == [1, 2, 3]
    assert len(result.weights[-1]) == 3


def test_a_scale_that_too_few_channels_resolve_is_refused():
    maps, beams, _ = make_channels(noise=1.0)
    with pytest.raises(ValueError, match=r"needlet scale 2 .*: 1 of 4 channels have a beam window"):
        needlet_ilc(maps, beams, settings=changed(SETTINGS, beam_criterion=0.5))


@BOTH
def test_channels_that_repeat_one_another_are_refused_with_the_scale(transforms):
    maps, beams, _ = make_channels(noise=1.0)
    maps[2:] = 0
    with pytest.raises(
        ValueError, match=r"needlet scale 0 \(multipoles 0 to 7\).*channels numbered \[0, 1, 2, 3\]"
    ):
        needlet_ilc(maps, beams, settings=changed(SETTINGS, transforms=transforms))


def test_maps_of_another_resolution_are_refused():
    maps, beams, _ = make_channels(noise=1.0)
    with pytest.raises(ValueError, match=r"maps have shape \(4, 768\), the ILC expects \(n_channels, 3072\)"):
        needlet_ilc(maps[:, :768], beams, settings=SETTINGS)


def test_beams_that_do_not_fit_are_refused():
    maps, beams, _ = make_channels(noise=1.0)
    with pytest.raises(
        ValueError, match=r"beams have shape \(4, 32\), 4 channels up to lmax 32 need \(4, 33\)"
    ):
        needlet_ilc(maps, beams[:, :-1], settings=SETTINGS)


def test_a_mixing_vector_of_another_length_is_refused():
    maps, beams, _ = make_channels(noise=1.0)
    with pytest.raises(ValueError, match=r"mixing has shape \(3,\), 4 channels need \(4,\)"):
        needlet_ilc(maps, beams, settings=SETTINGS, mixing=np.ones(3))


@pytest.mark.parametrize("missing", [np.nan, hp.UNSEEN])
def test_missing_pixels_are_refused_with_the_channel(missing):
    maps, beams, _ = make_channels(noise=1.0)
    maps[2, :5] = missing
    with pytest.raises(ValueError, match="channel number 2 has 5 missing pixels"):
        needlet_ilc(maps, beams, settings=SETTINGS)


def test_a_beam_that_vanishes_where_it_is_needed_is_refused():
    maps, beams, _ = make_channels(noise=1.0)
    scales = ilc_scales(beams, SETTINGS)
    beams[1, 30:] = 0
    with pytest.raises(ValueError, match="the beam window of channel number 1 is 0 at l = 30"):
        needlet_ilc(maps, beams, settings=SETTINGS, scales=scales)


@pytest.fixture
def published(shared_file):
    """Return the reference observations and a function that loads a case."""
    observations = np.load(shared_file("reference/pyilc/observations.npz"))
    beams = np.stack([beam_window(fwhm * ARCMIN, 190) for fwhm in observations["beam_fwhm_arcmin"]])
    truth = observations["cmb_true_at_20p6arcmin_uK"]
    return observations["observed_maps_uK_CMB"], beams, truth


@pytest.mark.parametrize(
    ("case", "values"),
    [
        ("cosine", {}),
        pytest.param("cosine_taper", {"taper_width": 30}, marks=pytest.mark.slow),
        pytest.param("cosine_beam_criterion", {"beam_criterion": 0.5}, marks=pytest.mark.slow),
        pytest.param("cosine_fwhm_pix", {}, marks=pytest.mark.slow),
    ],
)
def test_the_reference_transforms_give_the_published_maps_and_weights(shared_file, published, case, values):
    maps, beams, _ = published
    reference = np.load(shared_file(f"reference/pyilc/{case}.npz"))
    settings = changed(REFERENCE_SETTINGS, **values)
    scales = [
        replace(scale, covariance_fwhm=float(fwhm))
        for scale, fwhm in zip(ilc_scales(beams, settings), reference["fwhm_pix_radian"], strict=True)
    ]
    result = needlet_ilc(maps, beams, settings=settings, scales=scales, keep_weights=True)
    np.testing.assert_allclose(result.cleaned[0], reference["ilc_map_uK"], rtol=0, atol=1e-4)
    for j, weights in enumerate(result.weights):
        pixels = reference[f"weights_scale{j}_pixels"]
        np.testing.assert_allclose(weights[:, pixels], reference[f"weights_scale{j}"], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_larger_pixels_change_a_realistic_map_by_less_than_a_ten_thousandth(published):
    maps, beams, _ = published
    # Regions wide enough that the published procedure finds positive variances everywhere.
    settings = changed(REFERENCE_SETTINGS, bias_tolerance=0.001)
    reference = needlet_ilc(maps, beams, settings=settings).cleaned
    fast = needlet_ilc(maps, beams, settings=changed(settings, transforms="fast")).cleaned
    assert np.std(fast - reference) < 1e-4 * np.std(reference)


@pytest.mark.parametrize(
    ("case", "values"),
    [
        ("cosine", {}),
        pytest.param("cosine_taper", {"taper_width": 30}, marks=pytest.mark.slow),
        pytest.param("cosine_beam_criterion", {"beam_criterion": 0.5}, marks=pytest.mark.slow),
    ],
)
def test_the_fast_setting_gives_the_published_maps_to_a_thousandth(shared_file, published, case, values):
    maps, beams, _ = published
    reference = np.load(shared_file(f"reference/pyilc/{case}.npz"))["ilc_map_uK"]
    fast = needlet_ilc(
        maps, beams, settings=changed(REFERENCE_SETTINGS, transforms="fast", **values)
    ).cleaned[0]
    assert np.std(fast - reference) < 1e-3 * np.std(reference)
