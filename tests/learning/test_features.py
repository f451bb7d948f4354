import numpy as np
import pytest

from cmbml.learning.features import check_map, feature_array, feature_names, sign_flips
from cmbml.science.instrument import Observations
from cmbml.science.skymap import UNSEEN

STOKES = {"100": "IQU", "545": "I"}
MAPS = {
    "100": np.arange(36, dtype=np.float32).reshape(3, 12),
    "545": np.ones((1, 12), np.float32),
    "857": np.ones((1, 12), np.float32),
}


def test_features_are_the_fields_of_channel_after_channel():
    assert feature_names(STOKES) == ("100 I", "100 Q", "100 U", "545 I")


def test_only_u_changes_sign_in_a_mirror():
    assert sign_flips(feature_names(STOKES)) == (2,)


def test_features_are_taken_by_name_and_in_uk_cmb():
    observations = Observations(MAPS, {"100": "mK_CMB", "545": "uK_CMB"})
    features = feature_array(observations, ("545 I", "100 U", "100 I"))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, [MAPS["545"][0], 1e3 * MAPS["100"][2], 1e3 * MAPS["100"][0]])


def test_a_missing_channel_is_named_with_those_there():
    with pytest.raises(ValueError, match="channel 143: not observed; there are 100, 545, 857"):
        feature_array(Observations(MAPS), ("143 I",))


def test_a_missing_field_is_named():
    with pytest.raises(ValueError, match="channel 545: holds only I, not Q; take stokes I, or leave it out"):
        feature_array(Observations(MAPS), ("545 Q",))


def test_a_unit_that_needs_the_frequency_is_refused():
    with pytest.raises(
        ValueError, match="channel 857: unit MJy/sr: becoming uK_CMB needs the frequency.*convert its maps"
    ):
        feature_array(Observations(MAPS, {"857": "MJy/sr"}), ("857 I",))


def test_a_map_of_another_resolution_is_refused():
    check_map(MAPS["100"], "truth", nside=1, group="spherical")
    with pytest.raises(
        ValueError, match=r"truth: map has npix 12, the network's has 48 \(spherical.nside 2\)"
    ):
        check_map(MAPS["100"], "truth", nside=2, group="spherical")


@pytest.mark.parametrize("bad", [np.nan, np.inf, UNSEEN])
def test_a_map_with_pixels_that_hold_nothing_is_refused(bad):
    fields = np.where(np.arange(12) < 2, bad, MAPS["100"])
    with pytest.raises(ValueError, match="channel 100: 6 pixels are not finite or not observed; a network"):
        check_map(fields, "channel 100", nside=1, group="spherical")
