import numpy as np

from cmbml.science.harmonics import alm_size, alm_to_map, change_lmax, map_to_alm
from cmbml.science.resolution import resample


def test_maps_change_resolution_as_the_reference_has_it(shared_file):
    with np.load(shared_file("reference/cmbml/downgrade_by_alm.npz")) as reference:
        found = resample(reference["map_in"][None], 16)
        scale = np.abs(reference["map_out"]).max()
        np.testing.assert_allclose(found[0], reference["map_out"], rtol=1e-9, atol=1e-9 * scale)


def test_what_both_resolutions_carry_is_kept():
    rng = np.random.default_rng(0)
    alm = rng.normal(size=(3, alm_size(16))) + 1j * rng.normal(size=(3, alm_size(16)))
    alm[:, :17] = alm[:, :17].real
    alm[1:, [0, 1, 17]] = 0
    coarse, fine = alm_to_map(alm, 16), alm_to_map(alm, 32)
    for found, expected in ((resample(fine, 16), coarse), (resample(coarse, 32), fine)):
        # to what three iterations leave at lmax of 3 nside - 1
        np.testing.assert_allclose(found, expected, atol=1e-2 * np.abs(expected).max())


def test_multipoles_that_coarse_pixels_do_not_carry_are_cut_and_not_folded_back():
    rng = np.random.default_rng(0)
    alm = (rng.normal(size=(1, alm_size(60))) + 1j * rng.normal(size=(1, alm_size(60)))).astype(np.complex64)
    alm[:, :61].imag = 0
    found = resample(alm_to_map(alm, 32), 8)
    assert found.dtype == np.float32
    kept = alm_to_map(change_lmax(alm, 23), 8)
    np.testing.assert_allclose(found, kept, atol=2e-3 * np.abs(kept).max())
    assert np.abs(map_to_alm(found, 23)).max() < 10
