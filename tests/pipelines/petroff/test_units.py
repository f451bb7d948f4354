"""Units of channels cancel where every channel has a scale of its own, and only there."""

import numpy as np
import pytest

from cmbml.learning.scaling import fit_transforms
from cmbml.learning.transform import transform_from_state
from cmbml.learning.transform_settings import ScalingSettings
from cmbml.pipelines.petroff.features import make_features
from cmbml.pipelines.petroff.settings import Petroff
from cmbml.science.instrument import Channel, Instrument, Observations

NSIDE = 8
NPIX = 12 * NSIDE**2
INSTRUMENT = Instrument(
    tuple(
        Channel(name, frequency, fwhm_arcmin=600.0, stokes="I")
        for name, frequency in (("143", 142.876), ("545", 555.2), ("857", 866.8))
    )
)
NAMES = tuple(f"{name} I" for name in INSTRUMENT.names)
BRIGHTNESS = {name: INSTRUMENT[name].calibration.factor("uK_CMB", "MJy/sr") for name in ("545", "857")}
"""What turns uK_CMB into MJy/sr."""

FACTORS = np.array([[BRIGHTNESS.get(name, 1.0)] for name in INSTRUMENT.names])
ROUNDING = 8 * float(np.finfo(np.float32).eps)
"""A few roundings of single precision: into the other unit, of a shift and of a scale."""

OWN_SCALES = {
    "max_abs": {"kind": "max_abs", "low": -1.0, "high": 1.0},
    "max_abs as the target's": {"kind": "max_abs", "low": 0.0, "high": 1.0},
    "min_max": {"kind": "min_max", "low": 0.0, "high": 1.0},
    "standardise": {"kind": "standardise", "centre": True, "robust": False},
    "standardise robustly": {"kind": "standardise", "centre": True, "robust": True},
    "standardise robustly without centre": {"kind": "standardise", "centre": False, "robust": True},
}
own_scales = pytest.mark.parametrize("scale", OWN_SCALES.values(), ids=OWN_SCALES)


def skies(count: int = 3) -> list[np.ndarray]:
    """Skies in uK_CMB: the same CMB in every channel, and dust, whose few bright pixels outshine it."""
    rng = np.random.default_rng(11)
    dust = np.array([[2.0], [2e3], [3e5]])
    return [
        (100 * rng.standard_normal((1, NPIX)) + dust * rng.lognormal(0, 2, (1, NPIX))).astype(np.float32)
        for _ in range(count)
    ]


def scaled(maps: list[np.ndarray], *features: dict) -> list[np.ndarray]:
    """Maps, scaled by transforms of features that are fitted to them."""
    loaders = {f"sim{number:04d}": lambda array=array: array for number, array in enumerate(maps)}
    targets = {name: lambda load=load: load()[:1] for name, load in loaders.items()}
    settings = ScalingSettings(features=features, target=())
    state = fit_transforms(loaders, targets, NAMES, settings=settings, stokes="I")
    return [transform_from_state(state["features"])(array) for array in maps]


def in_brightness(maps: list[np.ndarray]) -> list[np.ndarray]:
    """The same maps, of 545 and 857 GHz in MJy/sr."""
    return [(array * FACTORS).astype(np.float32) for array in maps]


def assert_same(features: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(features, expected, strict=True):
        largest = np.abs(other).max(axis=1, keepdims=True)
        assert (np.abs(one - other) <= ROUNDING * largest).all()


@own_scales
def test_units_cancel_where_every_channel_has_its_own_scale(scale):
    assert_same(scaled(in_brightness(skies()), scale), scaled(skies(), scale))


@own_scales
def test_units_of_the_configuration_cancel_too(scale):
    conversion = {"kind": "unit_conversion", "factors": BRIGHTNESS}
    assert_same(scaled(skies(), conversion, scale), scaled(skies(), scale))


def test_units_do_not_cancel_under_one_scale_for_all_channels():
    kelvin, brightness = (
        scaled(maps, {"kind": "factor", "factor": float(max(np.abs(array).max() for array in maps))})
        for maps in (skies(), in_brightness(skies()))
    )
    assert np.abs(np.stack(kelvin)).max() == np.abs(np.stack(brightness)).max() == 1
    size = [np.median(np.abs(np.stack(features)), axis=(0, 2)) for features in (kelvin, brightness)]
    ratio = size[1] / size[0]
    # 143 GHz gains what the brightest channel lost; 857 GHz loses its own factor of it
    np.testing.assert_allclose(ratio / ratio[0], FACTORS[:, 0], rtol=1e-5)
    assert ratio[0] > 1e3


def test_maps_in_brightness_become_the_same_features():
    settings = Petroff(
        channels="all",
        nside=NSIDE,
        lmax=16,
        fwhm_arcmin=600.0,
        inputs="maps",
        inputs_fwhm_arcmin="auto",
        reference="auto",
    )
    kelvin, brightness = (
        dict(zip(INSTRUMENT.names, maps[0][:, None], strict=True))
        for maps in (skies(), in_brightness(skies()))
    )
    units = dict.fromkeys(BRIGHTNESS, "MJy/sr")
    expected = make_features(Observations(kelvin), INSTRUMENT, settings)
    assert_same([make_features(Observations(brightness, units), INSTRUMENT, settings)], [expected])
