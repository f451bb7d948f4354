"""What skies with a truth tell of a network: made with a known bias and known errors, both are found again."""

import numpy as np
import pytest

from cmbml.pipelines.petroff.corrections import (
    ONE_SIGMA,
    corrected_mean,
    correction_table,
    fit_errors,
    fit_spectrum,
    total_error,
)
from cmbml.science.harmonics import alm_to_cl, alm_to_map, analyse, draw_white_alm, filter_alm
from cmbml.science.masks import remove_monopole_dipole
from cmbml.science.skymap import SkyMap
from tests.pipelines.petroff.small_skies import prediction

NSIDE, LMAX = 16, 24
NPIX = 12 * NSIDE**2
ELL = np.arange(LMAX + 1)
WINDOW = np.exp(-ELL * (ELL + 1) / 400)  # of a sky that is smooth, as cleaned ones are
SKIES = 6


def alm(seed: int) -> np.ndarray:
    drawn = draw_white_alm(np.random.default_rng(seed), LMAX).astype(complex)[None]
    return 50 * filter_alm(drawn, WINDOW)


def sky_map(coefficients: np.ndarray) -> np.ndarray:
    return alm_to_map(coefficients, NSIDE)[0]


def truth(seed: int) -> SkyMap:
    return SkyMap(sky_map(alm(seed))[None].astype(np.float32), "uK_CMB")


def mask(kept: float = 1.0) -> SkyMap:
    values = np.zeros(NPIX, np.float32)
    values[: round(kept * NPIX)] = 1
    return SkyMap(values[None], "", ("I_MASK",))


def loaders(make) -> dict:
    return known_of({f"sim{number:04d}": make(number) for number in range(SKIES)})


def known_of(maps: dict[str, SkyMap]) -> dict:
    class Loader:
        def __init__(self, value):
            self.value = value
            self.fingerprint = str(id(value))

        def __call__(self):
            return self.value

    return {name: Loader(value) for name, value in maps.items()}


def biased(number: int, ratio: np.ndarray, sigma: float = 0.0, told: float = 1.0) -> SkyMap:
    """A prediction whose spectrum is that of the truth divided by a ratio, with errors of which it tells a part."""
    mean = sky_map(filter_alm(alm(number), 1 / np.sqrt(ratio)))
    mean = mean + sigma * np.random.default_rng([number, 9]).standard_normal(NPIX)
    part = np.full(NPIX, told / np.sqrt(2))
    return prediction(mean, part, part)


def fitted(record: dict) -> np.ndarray:
    return np.polynomial.polynomial.polyval(ELL, record["coefficients"])


@pytest.mark.parametrize("coefficients", [(1.0, 0.0, 0.0), (1.05, 0.01, 0.0003), (1.4, -0.01, -0.0001)])
def test_a_quadratic_ratio_of_spectra_is_found_again(coefficients):
    ratio = np.polynomial.polynomial.polyval(ELL, coefficients)
    record = fit_spectrum(
        loaders(lambda number: biased(number, ratio)), loaders(truth), mask(), None, lmax=LMAX
    )
    # monopole and what single precision and quadrature leave
    np.testing.assert_allclose(fitted(record)[2:], ratio[2:], rtol=2e-4)
    assert record["skies"] == SKIES


def test_a_steep_ratio_is_found_behind_a_sharp_mask_where_the_beam_has_left_little():
    """Power of low multipoles that a mask takes to high ones would hide the ratio there."""
    steep = np.exp(-ELL * (ELL + 1) / 80)  # 3e-7 of the power at lmax
    ratio = 1 / (1 - 0.4 * (ELL / LMAX) ** 2) ** 2

    def smooth(number: int) -> np.ndarray:
        drawn = draw_white_alm(np.random.default_rng(number), LMAX).astype(complex)[None]
        return filter_alm(50 * drawn, steep)

    true = {f"sim{n:04d}": SkyMap(sky_map(smooth(n))[None], "uK_CMB") for n in range(40)}
    zero = np.zeros(NPIX)
    found = {
        name: prediction(sky_map(filter_alm(smooth(n), 1 / np.sqrt(ratio))), zero, zero)
        for n, name in enumerate(true)
    }
    record = fit_spectrum(known_of(found), known_of(true), mask(0.7), None, lmax=LMAX)
    np.testing.assert_allclose(record["ratio"], np.interp(record["ell"], ELL, ratio), rtol=0.06)


def test_a_ratio_is_found_behind_a_mask():
    """Mixing of multipoles is the same for both spectra where the ratio changes slowly."""
    ratio = 1.2 + 0.004 * ELL
    record = fit_spectrum(
        loaders(lambda number: biased(number, ratio)), loaders(truth), mask(0.7), None, lmax=LMAX
    )
    np.testing.assert_allclose(fitted(record)[4:-4], ratio[4:-4], rtol=0.02)


def test_spectra_are_added_before_they_are_divided():
    """Of two skies the one with ten times the power counts a hundred times as much."""
    loud, quiet = sky_map(10 * alm(0)), sky_map(alm(1))
    zero = np.zeros(NPIX)
    true = known_of({"a": SkyMap(loud[None], "uK_CMB"), "b": SkyMap(quiet[None], "uK_CMB")})
    found = known_of({"a": prediction(loud / 2, zero, zero), "b": prediction(quiet, zero, zero)})
    record = fit_spectrum(found, true, mask(), None, lmax=LMAX)
    spectra = [alm_to_cl(analyse(values[None], LMAX))[0] for values in (loud, quiet)]
    expected = (spectra[0] + spectra[1]) / (spectra[0] / 4 + spectra[1])
    weights = np.sqrt(2 * ELL[2:] + 1)
    coefficients = np.polynomial.polynomial.polyfit(ELL[2:], expected[2:], 2, w=weights)
    np.testing.assert_allclose(record["coefficients"], coefficients, rtol=1e-3)


def test_bands_of_the_ratio_are_told_beside_the_fit():
    ratio = 1.1 + 0.01 * ELL
    record = fit_spectrum(
        loaders(lambda number: biased(number, ratio)), loaders(truth), mask(), None, lmax=LMAX
    )
    assert len(record["ell"]) == len(record["ratio"]) <= 16
    assert 2 <= min(record["ell"]) < max(record["ell"]) <= LMAX
    np.testing.assert_allclose(record["ratio"], 1.1 + 0.01 * np.array(record["ell"]), rtol=0.01)


def test_a_ratio_that_is_not_positive_is_refused():
    def falling(number: int) -> SkyMap:
        """A prediction that has far too much power but at the ends: a parabola between them dips below zero."""
        return biased(number, np.where((ELL > 5) & (ELL < 21), 1e-3, 5.0))

    message = (
        r"the ratio of true to predicted spectra, fitted as .* l\^2, is not positive up to lmax 24: the "
        "network has not learnt the CMB; train it longer, or set petroff_prediction.correct_spectrum to false"
    )
    with pytest.raises(ValueError, match=message):
        fit_spectrum(loaders(falling), loaders(truth), mask(), None, lmax=LMAX)


def test_a_prediction_without_any_structure_is_refused():
    flat = np.zeros(NPIX)
    with pytest.raises(
        ValueError, match="the predicted maps hold nothing at l = 2: the network has not learnt"
    ):
        fit_spectrum(loaders(lambda _: prediction(flat, flat, flat)), loaders(truth), mask(), None, lmax=LMAX)


def test_a_corrected_mean_has_the_spectrum_of_the_truth():
    ratio = 1.05 + 0.01 * ELL + 0.0003 * ELL**2
    record = {"coefficients": [1.05, 0.01, 0.0003]}
    cleaned = corrected_mean(biased(3, ratio), record, lmax=LMAX)
    np.testing.assert_allclose(cleaned, truth(3).values[0], rtol=0, atol=1e-4 * cleaned.std())


@pytest.mark.parametrize("nothing", [None, {}])
def test_without_a_correction_the_mean_is_cut_at_lmax_and_no_more(nothing):
    noise = np.random.default_rng(0).standard_normal(NPIX)
    cleaned = corrected_mean(prediction(noise, noise, noise), nothing, lmax=LMAX)
    assert cleaned.std() < 0.8 * noise.std()
    again = corrected_mean(prediction(cleaned, noise, noise), nothing, lmax=LMAX)
    np.testing.assert_allclose(again, cleaned, rtol=0, atol=1e-4 * cleaned.std())


@pytest.mark.parametrize("told", [0.5, 1.0, 4.0])
def test_the_factor_brings_errors_to_those_that_are_made(told):
    """Errors of sigma that are told as half of it are doubled."""
    sigma = 3.0
    predictions = loaders(lambda number: biased(number, np.ones(LMAX + 1), sigma, told * sigma))
    # noise at lmax 24 and nside 16: as many multipoles as a band limit leaves of the white noise's pixels
    left = np.sqrt((LMAX + 1) ** 2 / NPIX)
    record = fit_errors(predictions, loaders(truth), mask(0.8), None, {}, lmax=LMAX)
    assert record["factor"] == pytest.approx(left / told, rel=0.03)
    assert record["skies"] == SKIES


def test_two_thirds_of_the_pixels_are_within_a_scaled_error():
    predictions = loaders(lambda number: biased(number, np.ones(LMAX + 1), 3.0, 1.7))
    kept = mask(0.8)
    factor = fit_errors(predictions, loaders(truth), kept, None, {}, lmax=LMAX)["factor"]
    within = []
    for name, loader in predictions.items():
        number = int(name.removeprefix("sim"))
        difference = corrected_mean(loader(), None, lmax=LMAX) - truth(number).values[0]
        apart = remove_monopole_dipole(difference[None], kept.values[0])[0]
        within.append((np.abs(apart) < factor * total_error(loader()))[kept.values[0] > 0])
    assert np.mean(within) == pytest.approx(ONE_SIGMA, abs=1e-3)
    assert pytest.approx(0.682689, abs=1e-6) == ONE_SIGMA


def test_errors_are_those_of_the_corrected_mean_without_its_offset_inside_the_mask():
    ratio = np.full(LMAX + 1, 4.0)
    record = {"coefficients": [4.0, 0.0, 0.0]}

    def shifted(number: int) -> SkyMap:
        """The same with an offset, and with other errors beyond the mask."""
        values = biased(number, ratio, 1.0, 1.0).values.copy()
        values[0] += 100.0
        values[1:, round(0.7 * NPIX) :] = 1e-3
        return prediction(*values)

    plain, inside = loaders(lambda number: biased(number, ratio, 1.0, 1.0)), mask(0.7)
    corrected = fit_errors(plain, loaders(truth), inside, None, record, lmax=LMAX)["factor"]
    raw = fit_errors(plain, loaders(truth), inside, None, {}, lmax=LMAX)["factor"]
    assert corrected < 0.2 * raw  # half of a sky of 50 uK is left without the correction
    other = fit_errors(loaders(shifted), loaders(truth), inside, None, record, lmax=LMAX)["factor"]
    assert other == pytest.approx(corrected, rel=1e-3)


def test_errors_of_zero_cannot_be_scaled():
    zero = np.zeros(NPIX)
    predictions = known_of({"sim0000": prediction(sky_map(alm(0)), zero, zero)})
    with pytest.raises(ValueError, match="sim0000: the network gives no error in some pixels, which cannot"):
        fit_errors(predictions, loaders(truth), mask(), None, {}, lmax=LMAX)


def test_both_parts_of_an_error_are_added_in_squares():
    ones = np.ones(NPIX)
    np.testing.assert_allclose(total_error(prediction(ones, 3 * ones, 4 * ones)), 5.0, rtol=1e-7)


def test_the_table_tells_what_was_measured_and_fitted():
    spectrum = {"coefficients": [1.0, 0.0, 0.01], "ell": [2.0, 10.0], "ratio": [1.1, 1.9], "skies": 4}
    table = correction_table({"spectrum": spectrum, "errors": {"factor": 1.25, "skies": 3}})
    assert list(table.columns) == ["quantity", "ell", "measured", "fitted", "skies"]
    assert table["fitted"].tolist() == pytest.approx([1.04, 2.0, 1.25])
    assert table["measured"].tolist() == [1.1, 1.9, 1.25]
    assert table["skies"].tolist() == [4, 4, 3]
    assert correction_table({}).empty
    assert list(correction_table({}).columns) == list(table.columns)
