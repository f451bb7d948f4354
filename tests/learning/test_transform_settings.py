import subprocess
import sys

import numpy as np
import pytest
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from cmbml.learning.transform_settings import TransformSettings, build_transform
from cmbml.learning.transforms import (
    Compose,
    Factor,
    MaxAbs,
    MinMax,
    ReferenceDifference,
    Standardise,
    UnitConversion,
)

NAMES = ("100 I", "100 Q", "100 U", "143 I", "143 Q", "143 U", "545 I")


class Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    features: tuple[TransformSettings, ...]


def settings(text: str) -> tuple[TransformSettings, ...]:
    return Group(features=yaml.safe_load(text)).features


def test_every_kind_is_made_from_text():
    listed = settings("""
      - {kind: unit_conversion, factors: {"545": 0.5}}
      - {kind: reference_difference, channel: "143"}
      - {kind: factor, factor: 5}
      - {kind: max_abs, low: -1, high: 1}
      - {kind: min_max, low: 0, high: 1}
      - {kind: standardise, centre: true, robust: true}
    """)
    assert build_transform(listed, NAMES) == Compose(
        (
            UnitConversion((1.0,) * 6 + (0.5,)),
            ReferenceDifference((3, 4, 5, 3, 4, 5, 3)),
            Factor(5.0),
            MaxAbs(-1.0, 1.0),
            MinMax(0.0, 1.0),
            Standardise(centre=True, robust=True),
        )
    )


def test_an_empty_list_leaves_a_sky_as_it_is():
    sky = np.arange(14.0).reshape(7, 2)
    np.testing.assert_array_equal(build_transform((), NAMES)(sky), sky)


@pytest.mark.parametrize(
    "text, message",
    [
        ("[{kind: logarithm}]", "does not match any of the expected tags"),
        ("[{kind: factor}]", "Field required"),
        ("[{kind: factor, factor: 2, power: 3}]", "Extra inputs are not permitted"),
        ("[{kind: factor, factor: 0}]", "factor 0: nothing can be divided by it"),
        ("[{kind: min_max, low: 1, high: 0}]", "range from 1.0 to 0.0: low must be below high"),
        ("[{kind: unit_conversion, factors: {'100': 0}}]", "no unit is 0 times another one"),
    ],
)
def test_what_cannot_be_is_refused(text, message):
    with pytest.raises(ValidationError, match=message):
        settings(text)


def test_a_channel_that_is_not_there_is_named():
    (conversion,) = settings("[{kind: unit_conversion, factors: {'857': 2}}]")
    with pytest.raises(ValueError, match="unit_conversion: no channel 857 among the features 100 I, 100 Q"):
        conversion.build(NAMES)
    (difference,) = settings("[{kind: reference_difference, channel: '545'}]")
    with pytest.raises(ValueError, match="reference_difference: the features .* lack 545 Q, 545 U"):
        difference.build(NAMES)


def test_settings_are_read_without_waiting_for_torch():
    code = "import sys, cmbml.learning.transform_settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
