import pickle

import healpy as hp
import numpy as np
import pytest

from cmbml.learning.symmetry import N_SYMMETRIES, SphereSymmetry, is_mirror, pixel_table
from cmbml.science.harmonics import alm_size, alm_to_map
from cmbml.science.planes import map_to_plane, plane_index

every_nside = pytest.mark.parametrize("nside", [1, 2, 4, 8, 16, 32, 64])
every_symmetry = pytest.mark.parametrize("number", range(N_SYMMETRIES))


def seen_from(number: int, theta: np.ndarray, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where symmetry k + 4 m + 8 s takes a value from: mirrors undone first, then the turn."""
    k, m, s = number % 4, number // 4 % 2, number // 8
    theta, phi = (np.pi - theta if s else theta), (-phi if m else phi)
    return theta, (phi - k * np.pi / 2) % (2 * np.pi)


@every_nside
@every_symmetry
def test_pixel_centres_move_onto_pixel_centres(nside, number):
    pixels = np.arange(12 * nside**2)
    moved = pixel_table(nside)[number]
    np.testing.assert_array_equal(np.sort(moved), pixels)
    theta, phi = seen_from(number, *hp.pix2ang(nside, pixels))
    there = hp.ang2vec(*hp.pix2ang(nside, moved))
    np.testing.assert_allclose(there, hp.ang2vec(theta, phi), atol=1e-13)


@every_nside
def test_all_sixteen_differ_and_the_first_leaves_the_sky(nside):
    table = pixel_table(nside)
    assert len({row.tobytes() for row in table}) == N_SYMMETRIES
    np.testing.assert_array_equal(table[0], np.arange(12 * nside**2))


def test_they_are_a_group():
    table = pixel_table(8)
    rows = {row.tobytes(): number for number, row in enumerate(table)}
    products = np.array([[rows[one[other].tobytes()] for other in table] for one in table])
    np.testing.assert_array_equal(np.sort(products, axis=1), np.arange(16) + np.zeros((16, 1)))
    mirrors = np.array([is_mirror(number) for number in range(16)])
    np.testing.assert_array_equal(mirrors[products], mirrors[:, None] ^ mirrors)


def test_a_table_is_not_written_to():
    with pytest.raises(ValueError, match="read-only"):
        pixel_table(4)[0, 0] = 1


def turned(alm: np.ndarray, lmax: int, number: int) -> np.ndarray:
    """Coefficients (T, E, B) of the sky in a symmetry, from how spherical harmonics change.

    Y_lm(theta, phi - k pi/2) = (-i)^(m k) Y_lm; Y_lm(theta, -phi) = Y_lm^*, which for a real
    field is alm -> alm^*; Y_lm(pi - theta, phi) = (-1)^(l + m) Y_lm. A mirror turns B into -B.
    """
    ell, m = hp.Alm.getlm(lmax)
    out = alm * np.exp(-0.5j * np.pi * m * (number % 4))
    if number & 4:
        out = out.conj()
    if number & 8:
        out = out * (-1.0) ** (ell + m)
    return out * np.array([[1], [1], [-1 if is_mirror(number) else 1]])


@every_symmetry
def test_turning_i_q_u_maps_equals_turning_their_coefficients(number):
    nside, lmax = 8, 16
    rng = np.random.default_rng(3)
    alm = rng.standard_normal((3, alm_size(lmax), 2)) @ [1, 1j]
    alm[:, : lmax + 1] = alm[:, : lmax + 1].real
    alm[1:, hp.Alm.getlm(lmax)[0] < 2] = 0
    maps = alm_to_map(alm, nside)
    moved = SphereSymmetry(nside, 0).apply(maps, number, flips=(2,))
    np.testing.assert_allclose(moved, alm_to_map(turned(alm, lmax, number), nside), atol=1e-10)


@every_symmetry
def test_planes_are_turned_as_maps_are(number):
    maps = np.random.default_rng(1).standard_normal((3, 768)).astype(np.float32)
    on_sphere = SphereSymmetry(8, 0).apply(maps, number, flips=(1,))
    on_plane = SphereSymmetry(8, 0, plane_index(8)).apply(map_to_plane(maps), number, flips=(1,))
    np.testing.assert_array_equal(on_plane, map_to_plane(on_sphere))


def test_applying_leaves_the_array_as_it_is():
    maps = np.arange(2 * 768.0).reshape(2, 768)
    SphereSymmetry(8, 0).apply(maps, 5, flips=(0,))
    np.testing.assert_array_equal(maps, np.arange(2 * 768.0).reshape(2, 768))


def test_sixteen_epochs_show_every_symmetry_once():
    symmetry = SphereSymmetry(4, 7)
    for first in (0, 16, 160):
        assert sorted(symmetry.draw(first + e, "sim0003") for e in range(16)) == list(range(16))


def test_draws_follow_from_seed_epoch_and_sky_alone():
    def drawn(seed: int, sky: str, first: int) -> list[int]:
        return [SphereSymmetry(4, seed).draw(first + epoch, sky) for epoch in range(16)]

    assert drawn(7, "sim0003", 0) == drawn(7, "sim0003", 0)
    others = [drawn(8, "sim0003", 0), drawn(7, "sim0004", 0), drawn(7, "sim0003", 16)]
    assert all(drawn(7, "sim0003", 0) != other for other in others)


def test_every_symmetry_is_drawn_as_often_as_any_other():
    counts = np.bincount([SphereSymmetry(4, 1).draw(0, f"sim{i:04d}") for i in range(1600)], minlength=16)
    assert np.abs(counts - 100).max() < 5 * np.sqrt(100)


def test_the_table_does_not_travel():
    symmetry = SphereSymmetry(16, 7, plane_index(16))
    expected = symmetry.table
    sent = pickle.dumps(symmetry)
    assert len(sent) < expected.nbytes
    np.testing.assert_array_equal(pickle.loads(sent).table, expected)


def test_a_layout_that_loses_a_pixel_is_refused():
    with pytest.raises(
        ValueError, match=r"a layout of shape \(12,\) must hold each of the 12 pixels of nside 1"
    ):
        SphereSymmetry(1, 0, np.zeros(12, int))


def test_an_array_of_another_nside_is_refused():
    with pytest.raises(ValueError, match=r"shape \(1, 12\) has 12 places in each row.*nside 2 with 48"):
        SphereSymmetry(2, 0).apply(np.zeros((1, 12)), 1)
