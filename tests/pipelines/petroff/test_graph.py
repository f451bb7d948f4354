"""The Laplacian is symmetric, knows no direction, has the spectrum it promises, and is the published one."""

import healpy as hp
import numpy as np
import pytest
from scipy.sparse import coo_array

from cmbml.learning.symmetry import N_SYMMETRIES, SphereSymmetry
from cmbml.pipelines.petroff import graph as graphs
from cmbml.pipelines.petroff.eigenvalues import LARGEST, largest_eigenvalue
from cmbml.pipelines.petroff.graph import kernel_width, laplacian, neighbours, scaled_laplacian
from cmbml.science.pixels import nside_to_npix

WEIGHTINGS = ("petroff", "deepsphere")


def dense(archive, name: str, nside: int) -> np.ndarray:
    """Return a stored sparse matrix, entries of the same place summed."""
    entries = archive[f"{name}_value"], (archive[f"{name}_row"], archive[f"{name}_col"])
    npix = nside_to_npix(nside)
    return coo_array(entries, shape=(npix, npix)).toarray()


@pytest.mark.parametrize("nside", [1, 4, 8])
def test_it_is_the_published_laplacian(shared_file, nside):
    with np.load(shared_file("reference/petroff/laplacian.npz")) as archive:
        plain = dense(archive, f"nside{nside}_normalised_laplacian", nside)
        scaled = dense(archive, f"nside{nside}_rescaled", nside)
        largest = float(archive[f"nside{nside}_lambda_max_times_1p02"])
    own = laplacian(nside, "petroff").matrix()
    np.testing.assert_allclose(own.toarray(), plain, rtol=0, atol=2e-6)
    np.testing.assert_allclose(
        scaled_laplacian(nside, "petroff").matrix().toarray(), scaled, rtol=0, atol=2e-6
    )
    assert 1.02 * largest_eigenvalue(own) == pytest.approx(largest, rel=2e-6)


def test_widths_are_those_of_the_published_table_and_its_continuation(shared_file):
    with np.load(shared_file("reference/petroff/laplacian.npz")) as archive:
        table = archive["kernel_width_all_nsides"]
    found = [kernel_width(int(nside)) for nside in table[:, 0]]
    np.testing.assert_allclose(found, table[:, 1], rtol=1e-6)


@pytest.mark.parametrize("nside", [2, 4])
def test_it_is_deepspheres_combinatorial_laplacian(shared_file, nside):
    with np.load(shared_file("reference/deepsphere/graph_laplacian.npz")) as archive:
        plain = dense(archive, f"nside{nside}_combinatorial", nside)
        largest = float(archive[f"nside{nside}_combinatorial_largest_eigenvalue_exact"])
    own = laplacian(nside, "deepsphere").matrix()
    np.testing.assert_allclose(own.toarray(), plain, rtol=0, atol=2e-6 * abs(plain).max())
    assert largest_eigenvalue(own) == pytest.approx(largest, rel=2e-6)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("nside", [1, 2, 4])
def test_it_is_symmetric(weighting, nside):
    matrix = scaled_laplacian(nside, weighting).matrix().toarray()
    assert np.array_equal(matrix, matrix.T)


@pytest.mark.parametrize(
    ("weighting", "top"), [("petroff", 2 * 0.75 / 1.02 - 1), ("deepsphere", 2 / 1.01 - 1)]
)
@pytest.mark.parametrize("nside", [1, 4])
def test_its_spectrum_reaches_from_minus_one_to_the_promised_end(weighting, top, nside):
    values = np.linalg.eigvalsh(scaled_laplacian(nside, weighting).matrix().toarray().astype(float))
    # the rounding of single precision
    assert values[0] == pytest.approx(-1, abs=1e-6)
    assert values[-1] == pytest.approx(top, abs=1e-6)


def test_a_combinatorial_laplacian_finds_nothing_in_a_constant():
    matrix = laplacian(8, "deepsphere").matrix()
    np.testing.assert_allclose(matrix @ np.ones(matrix.shape[0]), 0, atol=1e-14)


def test_a_normalised_laplacian_finds_nothing_in_the_root_of_the_degrees():
    matrix = laplacian(8, "petroff").matrix().toarray()
    _, vectors = np.linalg.eigh(matrix)
    assert (vectors[:, 0] > 0).all() or (vectors[:, 0] < 0).all()
    np.testing.assert_allclose(matrix @ vectors[:, 0], 0, atol=1e-13)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("number", range(1, N_SYMMETRIES))
def test_it_is_the_same_in_every_symmetry_of_the_sphere(weighting, number):
    pixels = SphereSymmetry(4, seed=0, layout=hp.nest2ring(4, np.arange(192))).table[number]
    matrix = scaled_laplacian(4, weighting).matrix().toarray()
    np.testing.assert_allclose(matrix[np.ix_(pixels, pixels)], matrix, rtol=0, atol=1e-6)


@pytest.mark.parametrize("nside", [4, 16])
def test_pixels_have_eight_neighbours_but_at_eight_corners_of_three_where_they_have_seven(nside):
    found = neighbours(nside)
    assert found.shape == (nside_to_npix(nside), 8)
    assert (found < 0).sum() == 24
    assert ((found < 0).sum(axis=1) <= 1).all()


@pytest.mark.parametrize("nside", [1, 2, 16])
def test_a_table_holds_a_pixel_first_and_nothing_of_what_is_missing(nside):
    graph = scaled_laplacian(nside, "deepsphere")
    assert np.array_equal(graph.columns[:, 0], np.arange(graph.npix))
    again = graph.columns[:, 1:] == graph.columns[:, :1]
    assert not graph.values[:, 1:][again].any()
    assert graph.columns.dtype == np.int32
    assert graph.values.dtype == np.float32


def test_it_is_made_once_and_cannot_be_changed():
    graph = scaled_laplacian(2, "petroff")
    assert scaled_laplacian(2, "petroff") is graph
    for array in (graph.values, graph.columns):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


@pytest.mark.parametrize("nside", [0, 3, -4])
def test_a_resolution_that_is_no_power_of_two_is_refused(nside):
    with pytest.raises(ValueError, match=f"nside {nside}: must be a power of two"):
        scaled_laplacian(nside, "petroff")


def test_an_eigenvalue_that_is_written_down_is_used(monkeypatch):
    computed = scaled_laplacian(8, "petroff").values
    monkeypatch.setitem(LARGEST, ("petroff", 8), 2 * largest_eigenvalue(laplacian(8, "petroff").matrix()))
    monkeypatch.setattr(graphs, "largest_eigenvalue", None)
    halved = scaled_laplacian.__wrapped__(8, "petroff").values
    np.testing.assert_allclose(2 * (halved[:, 1:]), computed[:, 1:], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_eigenvalues_that_are_written_down_are_found_again(weighting):
    found = largest_eigenvalue(laplacian(64, weighting).matrix(), tolerance=1e-9)
    assert LARGEST[weighting, 64] == pytest.approx(found, rel=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("weighting", ["petroff", "deepsphere"])
@pytest.mark.parametrize("nside", [128, 256])
def test_large_eigenvalues_that_are_written_down_are_just_above_a_quotient_of_rayleighs(weighting, nside):
    """A quotient is never above the largest eigenvalue; its error is the square of that of its vector."""
    found = largest_eigenvalue(laplacian(nside, weighting).matrix(), tolerance=1e-4)
    written = LARGEST[weighting, nside]
    assert written * (1 - 1e-6) < found < written * (1 + 1e-9)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_eigenvalues_that_are_written_down_grow_with_resolution_towards_a_limit(weighting):
    values = [value for (name, _), value in LARGEST.items() if name == weighting]
    steps = np.diff([largest_eigenvalue(laplacian(32, weighting).matrix()), *values])
    assert (steps > 0).all()
    assert (steps < 0.05).all()
