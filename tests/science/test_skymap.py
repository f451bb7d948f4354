import healpy as hp
import numpy as np
import pytest

from cmbml.science.skymap import UNSEEN, SkyMap, beam_header, check_beam, is_unseen, map_unit


@pytest.mark.parametrize(
    "text, spelling",
    [("Kcmb", "K_CMB"), ("(K_CMB)^2", "K_CMB2"), ("MJY/SR", "MJy/sr"), ("", ""), ("1", ""), (" none ", "")],
)
def test_a_unit_has_one_spelling(text, spelling):
    assert map_unit(text) == spelling


def test_a_unit_that_is_none_is_refused():
    with pytest.raises(ValueError, match="unit 'parsec': not a unit of a sky map"):
        map_unit("parsec")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unseen_is_found_in_both_precisions(dtype):
    values = np.array([[0.0, UNSEEN, 1e30, -1e29]], dtype=dtype)
    assert is_unseen(values).tolist() == [[False, True, False, False]]
    assert hp.mask_bad(values[0]).tolist() == is_unseen(values)[0].tolist()


def test_fields_are_named_by_their_number():
    assert SkyMap(np.zeros((1, 12)), "uK").fields == ("I",)
    assert SkyMap(np.zeros((3, 12)), "uK").fields == ("I", "Q", "U")


def test_a_map_knows_its_size_unit_and_stokes_fields():
    sky_map = SkyMap(np.zeros((2, 192)), "Kcmb", ("Q", "U"))
    assert (sky_map.npix, sky_map.nside, sky_map.unit, sky_map.stokes) == (192, 4, "K_CMB", "QU")
    assert SkyMap(np.zeros((1, 192)), "(K_CMB)^2", ("II",)).stokes == ""


@pytest.mark.parametrize("shape", [(12,), (1, 1, 12)])
def test_a_map_has_two_axes(shape):
    with pytest.raises(
        ValueError, match=r"a sky map has shape \(n_fields, npix\), also with one field; got \("
    ):
        SkyMap(np.zeros(shape), "uK")


def test_a_map_is_a_full_sky():
    with pytest.raises(ValueError, match="a map of 13 pixels is no full HEALPix sky"):
        SkyMap(np.zeros((1, 13)), "uK")


@pytest.mark.parametrize("count, fields", [(2, ()), (3, ("I",)), (2, ("I", "I"))])
def test_every_row_has_its_own_name(count, fields):
    with pytest.raises(ValueError, match=f"a sky map of {count} rows needs as many different field names"):
        SkyMap(np.zeros((count, 12)), "uK", fields)


def test_another_unit_keeps_what_was_not_observed():
    values = np.array([[1.0, UNSEEN] + [2.0] * 10], dtype=np.float32)
    in_kelvin = SkyMap(values, "uK_CMB", header={"SEED": 1}).in_unit("K_CMB")
    assert in_kelvin.unit == "K_CMB"
    assert in_kelvin.values.dtype == np.float32
    assert in_kelvin.values[0, :3] == pytest.approx([1e-6, UNSEEN, 2e-6], rel=1e-6)
    assert is_unseen(in_kelvin.values).sum() == 1
    assert in_kelvin.header == {"SEED": 1}
    assert values[0, 0] == 1.0


def test_brightness_becomes_temperature_at_the_channels_frequency():
    """Derivative of Planck's law by T at 2.7255 K, worked out from the constants of nature."""
    h, k, c, temperature, frequency = 6.62607015e-34, 1.380649e-23, 299792458.0, 2.7255, 545e9
    x = h * frequency / (k * temperature)
    per_kelvin = 2 * h**2 * frequency**4 / (c * temperature) ** 2 / k * np.exp(x) / np.expm1(x) ** 2
    sky_map = SkyMap(np.ones((1, 12)), "MJy/sr").in_unit("K_CMB", frequency_ghz=545)
    assert sky_map.values[0, 0] == pytest.approx(1e6 * 1e-26 / per_kelvin, rel=1e-9)


def test_a_mask_has_no_other_unit():
    with pytest.raises(ValueError, match="unit '': not a unit of a sky map"):
        SkyMap(np.ones((1, 12)), "").in_unit("uK_CMB")


def test_a_map_that_says_another_beam_or_band_limit_is_refused():
    sky = SkyMap(np.zeros((1, 12)), "uK_CMB", header=beam_header(300.0, 32))
    assert check_beam(sky, fwhm_arcmin=300, lmax=32, name="truth") is sky
    with pytest.raises(
        ValueError, match="truth: made at beam 300 arcmin, to be compared at 400 arcmin; make it"
    ):
        check_beam(sky, fwhm_arcmin=400, lmax=32, name="truth")
    with pytest.raises(ValueError, match="cleaned map: made at lmax 32, to be compared at 24; make it again"):
        check_beam(sky, fwhm_arcmin=300, lmax=24, name="cleaned map")


def test_a_map_that_does_not_say_its_beam_is_taken_as_it_is():
    sky = SkyMap(np.zeros((1, 12)), "uK_CMB")
    assert check_beam(sky, fwhm_arcmin=400, lmax=32, name="truth") is sky
