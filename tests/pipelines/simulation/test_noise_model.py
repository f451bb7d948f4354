"""Laws of the model that is made from noise simulations."""

import tracemalloc

import healpy as hp
import numpy as np
import pytest

from cmbml.pipelines.simulation.noise_model import (
    average_map,
    fit_noise_model,
    masked_spectra,
    model_mask,
)
from cmbml.science.masks import galactic_mask
from cmbml.science.skymap import UNSEEN, SkyMap
from cmbml.science.units import Calibration, unit_factor
from tests.pipelines.simulation.noise_inputs import InMemory, gaussian_maps, model_settings

NSIDE, LMAX = 16, 32
NPIX = 12 * NSIDE**2
AT_143 = Calibration(142.9)


def noise_spectra(lmax: int = 3 * NSIDE - 1) -> np.ndarray:
    """TT, EE, BB, TE in uK^2: white with a rise towards large scales; T and E partly the same."""
    ell = np.arange(lmax + 1)
    tt = 1e-2 * (1 + (10 / (ell + 1)) ** 1.5)
    spectra = np.stack([tt, 2 * tt, 3 * tt, 0.5 * np.sqrt(2) * tt])
    spectra[0, 0] = 0
    spectra[1:, :2] = 0
    return spectra


def simulations(count: int, unit: str = "uK_CMB", n_spectra: int = 4, seed: int = 0) -> dict[str, InMemory]:
    maps = gaussian_maps(count, noise_spectra()[:n_spectra], NSIDE, seed=seed)
    factor = unit_factor("uK_CMB", unit, frequency_ghz=AT_143.frequency_ghz)
    return {
        f"mc_{number:05d}": InMemory(SkyMap((values * factor).astype(np.float32), unit))
        for number, values in enumerate(maps)
    }


@pytest.mark.parametrize("unit", ["uK_CMB", "K_CMB", "MJy/sr"])
def test_the_average_is_the_mean_of_the_maps_in_microkelvin(unit):
    found = average_map(simulations(3, unit), "IQU", AT_143)
    expected = np.mean([loader.value.values for loader in simulations(3).values()], axis=0)
    assert (found.unit, found.fields) == ("uK_CMB", ("I", "Q", "U"))
    np.testing.assert_allclose(found.values, expected, atol=3e-6 * np.abs(expected).max())


def test_only_the_fields_of_the_channel_are_averaged():
    assert average_map(simulations(2), "I", AT_143).values.shape == (1, NPIX)


def test_the_mask_is_the_references(shared_file):
    with np.load(shared_file("reference/cmbml/masks.npz")) as reference:
        np.testing.assert_allclose(
            model_mask(32, 5, 1), reference["simple_galactic_mask_nside32_width10_smooth1"], atol=1e-10
        )
        np.testing.assert_allclose(
            model_mask(64, 10, 2), reference["simple_galactic_mask_nside64_width20_smooth2"], atol=1e-10
        )


def test_without_smoothing_the_mask_is_sharp():
    np.testing.assert_array_equal(model_mask(NSIDE, 5, 0), galactic_mask(NSIDE, 5))


def test_exact_spectra_are_the_references_recipe():
    values = gaussian_maps(1, noise_spectra(), NSIDE)[0][:1] + 7.0
    mask = model_mask(NSIDE, 5, 1)
    centred = values[0] - np.sum(values[0] * mask) / np.sum(mask)
    expected = hp.anafast(mask * centred, lmax=LMAX) / np.mean(mask**2)
    found = masked_spectra(values, mask, LMAX, transforms="exact")
    np.testing.assert_allclose(found[0, 1:], expected[1:], rtol=1e-9)
    assert found[0, 0] == 0 and expected[0] < 1e-6 * expected[1]  # what the quadrature makes of no mean


def test_polarised_spectra_are_those_of_healpy():
    values = gaussian_maps(1, noise_spectra(), NSIDE)[0]
    found = masked_spectra(values, np.ones(NPIX), LMAX, transforms="exact")
    tt, ee, bb, te, *_ = hp.anafast(values - [[values[0].mean()], [0], [0]], lmax=LMAX)
    for one, other in zip(found, (tt, ee, bb, te), strict=True):
        np.testing.assert_allclose(one[1:], other[1:], rtol=1e-9, atol=1e-14)


def test_fast_spectra_are_the_exact_ones_but_for_a_quadrature():
    values, mask = gaussian_maps(1, noise_spectra(), NSIDE)[0], model_mask(NSIDE, 5, 1)
    fast, exact = (masked_spectra(values, mask, LMAX, transforms=name) for name in ("fast", "exact"))
    size = np.sqrt(exact[0] * exact[1])
    for row, scale in ((0, exact[0]), (1, exact[1]), (2, exact[2]), (3, size)):
        assert np.abs(fast[row, 2:] - exact[row, 2:]).max() < 0.05 * scale[2:].min()
    assert np.abs(fast[:3, 2:].sum(axis=1) / exact[:3, 2:].sum(axis=1) - 1).max() < 5e-3


def test_the_power_that_the_mask_takes_is_put_back():
    mask = model_mask(NSIDE, 30, 5)
    white = np.random.default_rng(0).normal(size=(60, 1, NPIX))
    level = np.mean([masked_spectra(values, mask, LMAX, transforms="exact")[0, 5:] for values in white])
    assert level / (4 * np.pi / NPIX) == pytest.approx(1, abs=0.01)  # half of the sky would be 0.5


def test_the_model_holds_the_spectra_of_its_maps():
    n = 60
    maps = simulations(n)
    model = fit_noise_model(maps, average_map(maps, "IQU", AT_143), AT_143, settings=model_settings())
    assert model["names"].tolist() == ["TT", "EE", "BB", "TE"]
    assert model["components"].shape == (n, 4, LMAX + 1) and model["variance"].shape == (n,)
    expected = noise_spectra()[:, : LMAX + 1]
    ell = np.arange(LMAX + 1)
    errors = np.sqrt(2 / (2 * ell + 1) / 0.9 / n)[8:]  # of the mean over n maps; the mask keeps 0.9
    for row in range(3):
        found = model["mean_cl"][row] * n / (n - 1) / np.maximum(expected[row], 1e-30) - 1
        assert np.abs(found[8:] / errors).max() < 4.5  # below 8 the mask mixes multipoles
        assert abs(np.mean(found[8:] / errors)) < 5 / 25**0.5
    te = model["mean_cl"][3, 8:] * n / (n - 1) - expected[3, 8:]
    assert np.abs(te / (errors * np.sqrt(expected[0] * expected[1])[8:])).max() < 4.5
    scatter = np.einsum("k,ksl->sl", model["variance"], model["components"][:, :3] ** 2)[:, 8:]
    chi2 = 2 / (2 * ell[8:] + 1) / 0.9 / np.log(10) ** 2
    assert np.mean(scatter / chi2) == pytest.approx(1, abs=4 * (2 / n / 75) ** 0.5)


def test_monopoles_are_counted_and_taken_out():
    offsets = [3.0, 5.0, 10.0]
    maps = {
        name: InMemory(SkyMap(loader.value.values + np.float32(offset), "uK_CMB"))
        for (name, loader), offset in zip(simulations(3, n_spectra=1).items(), offsets, strict=True)
    }
    model = fit_noise_model(maps, average_map(maps, "I", AT_143), AT_143, settings=model_settings())
    mask = model_mask(NSIDE, 5, 1)
    own = [np.sum(m.value.values[0] * mask, dtype=float) / mask.sum() for m in maps.values()]
    assert model["monopole_mean"] == pytest.approx(np.mean(own), rel=1e-6)
    assert model["monopole_sd"] == pytest.approx(np.std(own, ddof=1), rel=1e-6)
    without = simulations(3, n_spectra=1)
    same = fit_noise_model(without, average_map(without, "I", AT_143), AT_143, settings=model_settings())
    np.testing.assert_allclose(model["mean_cl"], same["mean_cl"], rtol=1e-4)


class Restrictable(InMemory):
    """A loader that must be told which fields to read."""

    def restricted(self, *, stokes: str) -> InMemory:
        return InMemory(SkyMap(self.value.values[: len(stokes)], self.value.unit))

    def __call__(self) -> SkyMap:
        raise AssertionError("all fields are read")


def test_a_model_of_intensity_does_not_read_polarisation():
    maps = {name: Restrictable(loader.value) for name, loader in simulations(3).items()}
    model = fit_noise_model(maps, average_map(maps, "I", AT_143), AT_143, settings=model_settings())
    assert model["names"].tolist() == ["TT"] and model["components"].shape == (3, 1, LMAX + 1)


def test_each_map_is_read_once_per_pass_and_then_let_go():
    nside = 64

    def peak(count: int) -> int:
        tracemalloc.start()
        maps = {f"{number:03d}": Made(number, nside) for number in range(count)}
        average = average_map(maps, "I", AT_143)
        fit_noise_model(maps, average, AT_143, settings=model_settings(lmax_factor=0.5))
        assert [made.calls for made in maps.values()] == [2] * count
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)  # what is cached
    few, many = peak(4), peak(24)
    one_map = 4 * 12 * nside**2
    assert many - few < 2 * one_map  # spectra and their components grow, maps do not


class Made:
    """A loader that makes a new map at every call."""

    fingerprint = "made"

    def __init__(self, seed: int, nside: int) -> None:
        self.seed, self.npix, self.calls = seed, 12 * nside**2, 0

    def __call__(self) -> SkyMap:
        self.calls += 1
        rng = np.random.default_rng(self.seed)
        return SkyMap(rng.standard_normal((1, self.npix), dtype=np.float32), "uK_CMB")


def test_maps_that_do_not_fit_are_refused():
    good = SkyMap(np.ones((1, NPIX), np.float32), "uK_CMB")
    coarse = SkyMap(np.ones((1, 12 * 8**2), np.float32), "uK_CMB")
    holes = SkyMap(np.full((1, NPIX), UNSEEN, np.float32), "uK_CMB")
    with pytest.raises(ValueError, match="noise simulation b: nside 8, the others have 16"):
        average_map({"a": InMemory(good), "b": InMemory(coarse)}, "I", AT_143)
    with pytest.raises(ValueError, match="noise simulation a: has the fields I, not IQU"):
        average_map({"a": InMemory(good)}, "IQU", AT_143)
    with pytest.raises(ValueError, match=f"noise simulation a: {NPIX} pixels were not observed"):
        average_map({"a": InMemory(holes)}, "I", AT_143)
    for bad in (np.nan, np.inf):
        damaged = np.ones((1, NPIX), np.float32)
        damaged[0, [3, 5]] = bad
        with pytest.raises(
            ValueError, match="noise simulation a: 2 pixels were not observed, or are not fin"
        ):
            average_map({"a": InMemory(SkyMap(damaged, "uK_CMB"))}, "I", AT_143)
    with pytest.raises(ValueError, match="made from 1 map, at least 2 are needed"):
        fit_noise_model({"a": InMemory(good)}, good, AT_143, settings=model_settings())
