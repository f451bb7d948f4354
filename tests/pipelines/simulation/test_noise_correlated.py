"""Laws of correlated noise, and of the way from noise simulations to a model and back."""

import numpy as np
import pytest

from cmbml.pipelines.simulation.noise import draw_noise, noise_seed, noise_sources
from cmbml.pipelines.simulation.noise_correlated import correlated_sources, read_model
from cmbml.pipelines.simulation.noise_model import average_map, fit_noise_model, masked_spectra, model_mask
from cmbml.pipelines.simulation.noise_reference import reference_seed
from cmbml.pipelines.simulation.noise_sensitivity import unevenness
from cmbml.pipelines.simulation.noise_spectra import from_features, to_features
from cmbml.pipelines.simulation.noise_variance import COVARIANCES
from cmbml.science.harmonics import alm_to_cl, map_to_alm
from cmbml.science.instrument import Channel
from cmbml.science.resolution import resample
from cmbml.science.skymap import SkyMap
from cmbml.science.units import Calibration
from tests.pipelines.simulation.noise_inputs import InMemory, gaussian_maps, model_settings, noise_settings

NSIDE = 16
NPIX, LMAX = 12 * NSIDE**2, 3 * NSIDE - 1
ELL = np.arange(LMAX + 1)
MEASURED = slice(4, 2 * NSIDE)
"""Multipoles at which spectra of maps are measured well."""
AT_143 = Calibration(142.9)
POLARISED = Channel("143", AT_143.frequency_ghz, 7.3, "IQU")
INTENSITY = Channel("143", AT_143.frequency_ghz, 7.3, "I")
MODES = 2 / (2 * ELL + 1)
"""Relative variance of a spectrum that is realised on the whole sky."""


def target_spectra() -> np.ndarray:
    """TT, EE, BB, TE in uK^2, with a rise towards large scales."""
    tt = 1e-2 * (1 + (10 / (ELL + 1)) ** 1.5)
    spectra = np.stack([tt, 2 * tt, 3 * tt, 0.5 * np.sqrt(2) * tt])
    spectra[0, 0], spectra[1:, :2] = 0, 0
    return spectra


def fixed_model(spectra: np.ndarray, **changed) -> dict[str, np.ndarray]:
    """A noise model without variation, from so many maps that their number does not matter."""
    model = {
        "mean": to_features(spectra),
        "mean_cl": spectra,
        "components": np.zeros((1, *spectra.shape)),
        "variance": np.zeros(1),
        "unit": np.array("uK_CMB"),
        "simulations": np.array(10**9),
        "mask_latitude_deg": np.array(0.0),
        "mask_fwhm_deg": np.array(0.0),
    }
    return {**model, **changed}


def settings(**changed):
    return noise_settings(**{"kind": "correlated", **changed})


def draws(
    n: int, model: dict, channel: Channel = POLARISED, variances: SkyMap | None = None, **changed
) -> np.ndarray:
    chosen = settings(**changed)
    sources = noise_sources(
        channel.stokes, AT_143, nside=NSIDE, settings=chosen, model=model, variances=variances
    )
    return np.stack(
        [draw_noise(channel, NSIDE, seed=seed, settings=chosen, sources=sources) for seed in range(n)]
    )


def spectra_of(maps: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    weights = np.ones(NPIX) if mask is None else mask
    return np.stack([masked_spectra(one, weights, 2 * NSIDE, transforms="exact") for one in maps])


def scan_variances() -> SkyMap:
    """Covariances with deep and shallow regions, Q and U correlated, K_CMB^2."""
    depth = 1e-10 * (1 + 0.8 * np.sin(np.linspace(0, 3 * np.pi, NPIX)))
    rows = [depth * factor for factor in (1, 0, 0, 2, 0.6, 2)]
    return SkyMap(np.stack(rows).astype(np.float32), "K_CMB2", COVARIANCES)


@pytest.mark.parametrize(
    "pattern",
    [{"anisotropy": 0}, {"anisotropy": 1}, {"pattern": "variance"}],
    ids=["flat", "scan", "variance"],
)
def test_the_mean_spectra_are_the_models_however_uneven_the_noise(pattern):
    n, target = 150, target_spectra()
    variances = scan_variances() if "pattern" in pattern else None
    found = spectra_of(draws(n, fixed_model(target), variances=variances, **pattern)).mean(axis=0)
    # uneven noise has fewer independent modes: 1.4 is <sigma^4> / <sigma^2>^2 of the scan, the most of the three
    error = np.sqrt(1.4 * MODES / n)[MEASURED]
    tt, ee, bb, te = (found[row, MEASURED] - target[row, MEASURED] for row in range(4))
    sizes = [target[0], target[1], target[2], np.sqrt(target[0] * target[1])]
    for difference, size in zip((tt, ee, bb, te), sizes, strict=True):
        deviation = difference / (size[MEASURED] * error)
        assert np.abs(deviation).max() < 4.5
        assert abs(deviation.mean()) < 4.5 / len(deviation) ** 0.5


def test_realised_spectra_scatter_as_chi_squared():
    n = 300
    found = spectra_of(draws(n, fixed_model(target_spectra())))[:, :3, MEASURED]
    relative = found.var(axis=0) / found.mean(axis=0) ** 2 / MODES[MEASURED]
    # the variance of a variance of n draws is 2 / n, and a little more for chi^2 of few modes
    assert np.mean(relative) == pytest.approx(1, abs=4 * (2.5 / n / relative.size) ** 0.5)
    assert np.abs(relative - 1).max() < 5 * (3 / n) ** 0.5


def test_nothing_is_correlated_but_t_and_e():
    other = Channel("217", 221.2, 5.0, "IQU")
    target = target_spectra()
    target[3] = 0
    maps = [*draws(2, fixed_model(target)), *draws(2, fixed_model(target), other)]  # 2 seeds, 2 channels
    alm = np.concatenate([map_to_alm(one, LMAX, iterations=3) for one in maps]).astype(np.complex128)
    auto, modes = alm_to_cl(alm)[:, 4:], 2 * ELL[4:] + 1
    for one in range(len(alm)):
        for other_one in range(one):
            cross = alm_to_cl(alm[one : one + 1], alm[other_one : other_one + 1])[0, 4:]
            correlation = cross / np.sqrt(auto[one] * auto[other_one])
            # at every multipole alike, so that the rise towards large scales takes no modes away
            assert abs(np.average(correlation, weights=modes)) < 4.5 / np.sum(modes) ** 0.5


def test_noise_is_deep_where_the_pattern_is():
    flat = np.where(ELL > 0, 1e-2, 0)[None]
    maps = draws(400, fixed_model(flat), INTENSITY, anisotropy=1)[:, 0]
    expected = unevenness(NSIDE, 1) ** 2
    found = maps.var(axis=0)
    ratio = found / found.mean() / expected
    deep = expected < np.quantile(expected, 0.1)
    shallow = expected > np.quantile(expected, 0.9)
    assert ratio[shallow].mean() == pytest.approx(1, abs=0.03)
    assert ratio[deep].mean() == pytest.approx(1, abs=0.1)  # the band limit smears the small deep caps


def test_deep_q_and_shallow_u_stay_so():
    target = np.repeat(np.where(ELL > 1, 1e-2, 0)[None], 4, axis=0)
    target[3] = 0
    rows = [np.full(NPIX, 1e-10 * factor) for factor in (1, 0, 0, 3, 0, 1)]
    variances = SkyMap(np.stack(rows), "K_CMB2", COVARIANCES)
    maps = draws(60, fixed_model(target), variances=variances, pattern="variance")
    _, q, u = maps.var(axis=(0, 2))
    assert q / u > 1.5  # 3 of white noise; E and B of equal power take some of it back


def test_spectra_under_the_models_mask_are_the_models():
    n, target = 400, np.where(ELL > 0, 1e-2, 0)[None]  # flat: the mask mixes multipoles
    model = fixed_model(target, mask_latitude_deg=np.array(40.0), mask_fwhm_deg=np.array(5.0))
    mask = model_mask(NSIDE, 40, 5)
    found = spectra_of(draws(n, model, INTENSITY, anisotropy=1), mask).mean(axis=0)
    ratio = found[0, 8 : 2 * NSIDE] / target[0, 8 : 2 * NSIDE]
    modes = n * 0.3 * np.sum(2 * ELL[8 : 2 * NSIDE] + 1)
    assert np.mean(ratio) == pytest.approx(1, abs=4 * (2 / modes) ** 0.5)
    whole_sky = fixed_model(target)
    unmatched = spectra_of(draws(n, whole_sky, INTENSITY, anisotropy=1), mask).mean(axis=0)
    assert abs(np.mean(unmatched[0, 8 : 2 * NSIDE] / target[0, 8 : 2 * NSIDE]) - 1) > 0.03


def test_one_noise_can_be_remade_bit_for_bit():
    model = fixed_model(target_spectra())
    np.testing.assert_array_equal(draws(2, model), draws(2, model))


def test_intensity_is_the_same_with_and_without_polarisation():
    model = fixed_model(target_spectra(), variance=np.ones(1), components=np.full((1, 4, LMAX + 1), 0.01))
    polarised, alone = draws(2, model), draws(2, model, INTENSITY)
    np.testing.assert_allclose(alone[:, 0], polarised[:, 0], atol=1e-6 * np.abs(alone).max())


def test_what_all_multipoles_share_varies_between_simulations():
    # one component, the same at every multipole: a standard deviation of 0.05 in log10 of the power
    model = fixed_model(target_spectra()[:1])
    model |= {"components": np.ones((1, 1, LMAX + 1)), "variance": np.array([0.05**2])}
    maps = draws(300, model, INTENSITY)
    power = spectra_of(maps)[:, 0, MEASURED] / target_spectra()[0, MEASURED]
    level = np.average(power, axis=1, weights=2 * ELL[MEASURED] + 1)
    of_realisations = 2 / np.sum(2 * ELL[MEASURED] + 1)
    expected = (0.05 * np.log(10)) ** 2 + of_realisations
    assert level.var() == pytest.approx(expected, rel=5 * (2 / 300) ** 0.5)
    assert level.mean() == pytest.approx(1, abs=4.5 * (expected / 300) ** 0.5)  # the mean power is kept


@pytest.fixture(scope="module")
def made_model() -> dict[str, np.ndarray]:
    """A model of 80 simulations whose spectra are all the same, so that only realisations scatter."""
    maps = {
        f"{number:03d}": InMemory(SkyMap(values.astype(np.float32), "uK_CMB"))
        for number, values in enumerate(gaussian_maps(80, target_spectra(), NSIDE, seed=1))
    }
    return fit_noise_model(maps, average_map(maps, "IQU", AT_143), AT_143, settings=model_settings())


def test_a_model_of_drawn_noise_is_the_model_it_was_drawn_from(made_model):
    n = 80
    maps = draws(n, made_model, anisotropy=0, coherence=16)
    again = {f"{number:03d}": InMemory(SkyMap(values, "uK_CMB")) for number, values in enumerate(maps)}
    second = fit_noise_model(again, average_map(again, "IQU", AT_143), AT_143, settings=model_settings())
    measured = slice(8, 2 * NSIDE)
    ratio = second["mean_cl"][:3, measured] / made_model["mean_cl"][:3, measured]
    error = np.sqrt(2 * MODES[measured] / 0.9 / n)  # of two means
    assert np.abs((ratio - 1) / error).max() < 4.5
    # and its scatter is that of realisations once, not twice
    first, drawn = (
        np.einsum("k,ksl->sl", model["variance"], model["components"][:, :3, measured] ** 2)
        for model in (made_model, second)
    )
    # 1 / 16 is what realisations leave in means over 16 multipoles; two variances of n maps are compared
    assert np.mean(drawn / first) == pytest.approx(1 + 1 / 16, abs=4 * (4 / n / first.size) ** 0.5)


def test_without_coherence_realisations_would_be_counted_twice(made_model):
    spread = [
        np.mean(
            correlated_sources(made_model, "IQU", AT_143, nside=NSIDE, settings=settings(coherence=width))[
                "spread"
            ][:, 0, 4 : 2 * NSIDE]
            ** 2
        )
        for width in (1, 16)
    ]
    assert spread[0] > 10 * spread[1]


def test_beyond_the_models_lmax_the_noise_goes_on_as_it_ended():
    short = fixed_model(target_spectra()[:1, :21])
    mean = from_features(correlated_sources(short, "I", AT_143, nside=NSIDE, settings=settings())["mean"])
    np.testing.assert_allclose(mean[0, :21], target_spectra()[0, :21], rtol=1e-8)
    tail = 10 ** np.mean(np.log10(target_spectra()[0, 19:21]))
    np.testing.assert_allclose(mean[0, 21:], tail, rtol=1e-8)
    assert mean.shape == (1, LMAX + 1)


def test_a_model_of_a_released_dataset_is_read(made_model):
    features, variance = made_model["mean"][0], made_model["variance"]
    released = {
        "mean_ps": features,
        "components": made_model["components"][:, 0],
        "variance": variance,
        "maps_mean": np.array(0.1),
        "maps_sd": np.array(0.2),
        "maps_unit": np.array("uK_CMB"),
    }
    read = read_model(released)
    assert read.simulations == 80 and read.mean.shape == (1, 2 * NSIDE + 1)
    assert (read.mask_latitude_deg, read.mask_fwhm_deg) == (5, 1)  # of all of CMB-ML's models
    # the mean power is not stored there; that of log-normal numbers is close to it
    own = read_model(made_model).expected[0]
    np.testing.assert_allclose(10 ** (read.expected[0, 3:] - own[3:]), 1, atol=0.03)
    assert draws(1, released, INTENSITY).std() == pytest.approx(
        draws(1, made_model, INTENSITY).std(), rel=0.05
    )


def test_a_released_model_without_all_its_components_is_drawn_by_the_references_recipe_only(made_model):
    cut = {
        "mean_ps": made_model["mean"][0],
        "components": made_model["components"][:20, 0],
        "variance": made_model["variance"][:20],
        "maps_unit": np.array("uK_CMB"),
    }
    assert read_model(cut).simulations is None
    with pytest.raises(ValueError, match="not all of its components were kept"):
        correlated_sources(cut, "I", AT_143, nside=NSIDE, settings=settings())
    reference = settings(recipe="reference", pattern="variance")
    sources = correlated_sources(
        cut, "I", AT_143, nside=NSIDE, settings=reference, variances=scan_variances()
    )
    assert sources["spread"].shape == (20, 1, LMAX + 1)


def test_the_average_is_added_in_every_simulation():
    values = np.random.default_rng(0).normal(size=(3, 12 * 8**2)).astype(np.float32)
    model, chosen = fixed_model(target_spectra()), settings(average_map=True, scale=2.0)
    sources = noise_sources(
        "IQU", AT_143, nside=NSIDE, settings=chosen, model=model, average=SkyMap(values / 1e6, "K_CMB")
    )
    np.testing.assert_allclose(sources["average"], resample(values, NSIDE), atol=1e-4)
    assert sources["average"].shape == (3, NPIX) and sources["average"].dtype == np.float32
    with_average = draw_noise(POLARISED, NSIDE, seed=0, settings=chosen, sources=sources)
    np.testing.assert_allclose(
        with_average - 2 * draws(1, model)[0], 2 * sources["average"], atol=1e-5 * np.abs(with_average).max()
    )


def test_only_the_recipe_of_the_reference_takes_its_seeds():
    record = {"split": "train", "simulation": "sim0003", "noise": "17"}
    assert noise_seed(record, POLARISED, settings()) == 17
    assert noise_seed(record, POLARISED, noise_settings(kind="sensitivity", recipe="reference")) == 17
    expected = reference_seed("train", "sim0003", "143", prefix="")
    reference = settings(recipe="reference", pattern="variance")
    assert noise_seed(record, INTENSITY, reference) == expected


@pytest.mark.parametrize(
    "changed", [{"kind": "none"}, {"kind": "correlated", "scale": 0}, {"kind": "variance", "scale": 0}]
)
def test_no_noise_needs_nothing(changed):
    chosen = noise_settings(**changed)
    assert not (chosen.uses_model or chosen.uses_average or chosen.uses_variances)
    assert noise_sources("IQU", AT_143, nside=4, settings=chosen) == {}
    assert not draw_noise(POLARISED, 4, seed=1, settings=chosen, sources={}).any()


def test_what_does_not_fit_is_refused():
    model = fixed_model(target_spectra()[:1])
    with pytest.raises(ValueError, match="noise model: has intensity only, the channel measures IQU"):
        correlated_sources(model, "IQU", AT_143, nside=NSIDE, settings=settings())
    with pytest.raises(ValueError, match=r"noise\.recipe reference: has intensity only"):
        correlated_sources(
            fixed_model(target_spectra()),
            "IQU",
            AT_143,
            nside=NSIDE,
            settings=settings(recipe="reference", pattern="variance"),
        )
    with pytest.raises(ValueError, match="its unit is K_CMB, must be uK_CMB"):
        read_model({**model, "unit": np.array("K_CMB")})
    with pytest.raises(ValueError, match="noise model: no mean_cl, unit, it holds mean"):
        read_model({"mean": np.zeros(3)})
    average = SkyMap(np.zeros((1, 12)), "uK_CMB")
    with pytest.raises(ValueError, match="has intensity only, the channel measures IQU"):
        correlated_sources(
            fixed_model(target_spectra()), "IQU", AT_143, nside=NSIDE, settings=settings(), average=average
        )
