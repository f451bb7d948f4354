"""Largest eigenvalues of the sphere's Laplacians, by which their spectra are scaled.

At high resolution it takes longer to find one than to clean a sky, and every process needs it: those of usual
resolutions are written down. They were found by `largest_eigenvalue` with the tolerance 1e-9:

    largest_eigenvalue(laplacian(nside, weighting).matrix(), tolerance=1e-9)
"""

from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.linalg import eigsh

LARGEST: dict[tuple[str, int], float] = {
    ("petroff", 64): 1.714027108,
    ("petroff", 128): 1.736658564,
    ("petroff", 256): 1.752621103,
    ("petroff", 512): 1.761984036,
    ("petroff", 1024): 1.769887362,
    ("deepsphere", 64): 7.189530876,
    ("deepsphere", 128): 7.214146909,
    ("deepsphere", 256): 7.235404095,
    ("deepsphere", 512): 7.247991054,
}
"""By weighting and nside, of `cmbml.pipelines.petroff.graph.laplacian`."""

_DENSE = 100
"""Rows up to which a matrix is small enough to be decomposed whole."""


def largest_eigenvalue(matrix: "csr_array[Any]", *, tolerance: float = 1e-7) -> float:
    """Return the largest eigenvalue of a symmetric matrix, the same in every call.

    Parameters
    ----------
    matrix
        Double precision.
    tolerance
        Relative.
    """
    rows = matrix.shape[0]
    if rows <= _DENSE:
        return float(np.linalg.eigvalsh(matrix.toarray())[-1])
    start = np.cos(np.arange(rows, dtype=np.float64) ** 2)  # no symmetry of the sphere, no chance
    return float(eigsh(matrix, k=1, which="LA", tol=tolerance, v0=start, return_eigenvectors=False)[0])
