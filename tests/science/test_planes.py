"""The plane holds every pixel of the sphere once, where the published method puts it."""

import healpy as hp
import numpy as np
import pytest

from cmbml.science.planes import map_to_plane, plane_index, plane_to_map

NSIDES = pytest.mark.parametrize("nside", [1, 2, 8, 16])


@NSIDES
def test_every_pixel_has_one_place(nside):
    assert np.array_equal(np.sort(plane_index(nside), axis=None), np.arange(12 * nside**2))


@NSIDES
def test_there_and_back_is_exact(nside):
    maps = np.random.default_rng(1).standard_normal((2, 3, 12 * nside**2)).astype(np.float32)
    assert map_to_plane(maps).shape == (2, 3, 4 * nside, 3 * nside)
    np.testing.assert_array_equal(plane_to_map(map_to_plane(maps)), maps)


def test_tensors_are_rearranged_alike():
    torch = pytest.importorskip("torch")
    maps = np.random.default_rng(1).standard_normal((2, 768))
    planes = map_to_plane(torch.from_numpy(maps))
    np.testing.assert_array_equal(planes.numpy(), map_to_plane(maps))
    np.testing.assert_array_equal(plane_to_map(planes).numpy(), maps)


@NSIDES
def test_neighbours_in_a_block_are_neighbours_on_the_sphere(nside):
    index = plane_index(nside)
    vectors = np.stack(hp.pix2vec(nside, index), axis=-1)  # (4 nside, 3 nside, 3)
    steps = np.linalg.norm(np.diff(vectors, axis=0), axis=-1)
    inside = np.arange(1, 4 * nside) % nside != 0
    assert steps[inside].max(initial=0) < 2.1 * hp.nside2resol(nside)


def test_what_is_no_sky_is_refused():
    with pytest.raises(ValueError, match="a plane of 8 rows and 8 columns is no sky"):
        plane_to_map(np.zeros((8, 8)))
    with pytest.raises(ValueError, match="no full HEALPix sky"):
        map_to_plane(np.zeros((2, 100)))


@pytest.mark.parametrize("nside", [4, 8, 16])
def test_it_is_the_published_arrangement(shared_file, nside):
    with np.load(shared_file("reference/cmbnncs/rearrangement.npz")) as tables:
        published = tables[f"plane_from_ring_index_nside{nside}"]
    np.testing.assert_array_equal(plane_index(nside), published)


def test_the_blocks_are_those_of_the_paper_and_pixels_run_as_there():
    # base pixels of nside 1 are its pixels: rows of a northern, an equatorial and a southern one
    assert plane_index(1).tolist() == [[2, 6, 9], [3, 7, 10], [0, 4, 11], [1, 5, 8]]
    # of base pixel 0 (NESTED 0 to 3: south, east, west, north corner), the north is first and the south last
    assert plane_index(2)[4:6, :2].tolist() == hp.nest2ring(2, np.array([[3, 2], [1, 0]])).tolist()
