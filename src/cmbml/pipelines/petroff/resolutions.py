"""How often a sphere can be coarsened."""

from cmbml.science.pixels import check_nside


def check_depth(nside: int, depth: int) -> int:
    """Return `depth` if a sphere of `nside` can be coarsened that often.

    Raises
    ------
    ValueError
        If `nside` is no power of two, or `depth` is not between 0 and its logarithm.
    """
    deepest = check_nside(nside).bit_length() - 1
    if not 0 <= depth <= deepest:
        raise ValueError(
            f"depth {depth}: a sphere of nside {nside} can be coarsened {deepest} times, down to nside 1; "
            f"take 0 to {deepest}"
        )
    return depth
