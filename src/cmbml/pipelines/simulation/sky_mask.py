"""The mask of the comparison: which pixels are kept, and with which weights."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.pipelines.simulation.mask_settings import Cut, MaskSettings
from cmbml.science.apodisation import apodise
from cmbml.science.masks import degrade_mask, fsky, fsky_modes, fsky_power, galactic_mask
from cmbml.science.skymap import SkyMap, is_unseen

Array = NDArray[Any]

MASK_FIELDS = ("I_MASK", "P_MASK", "I_APODISED", "P_APODISED")
"""Rows of the mask: pixels that are kept (0 or 1), and weights with soft edges, each for I and for Q, U."""


def sky_mask(settings: MaskSettings, published: SkyMap | None) -> SkyMap:
    """Return the masks for intensity and polarisation, and both with soft edges.

    Parameters
    ----------
    settings
        The cuts and the taper.
    published
        The mask that the source "planck" reads: its first field for the
        intensity, its last one for a polarisation with a cut of its own. None
        where no cut has that source.

    Returns
    -------
    SkyMap
        Fields `MASK_FIELDS`. The fraction of the sky of each is in the header,
        with the taper.

    Raises
    ------
    ValueError
        If a cut or its taper leaves no pixel, or the published mask is not
        between 0 and 1.
    """
    rows = (0, 0 if settings.polarisation is None else -1)
    kept = [_kept(cut, settings.nside, published, row) for cut, row in zip(settings.cuts, rows, strict=True)]
    soft = [apodise(mask, settings.apodisation_deg, taper=settings.taper) for mask in kept]
    for name, mask in zip(MASK_FIELDS, kept + soft, strict=True):
        if not mask.any():
            raise ValueError(
                f"mask: {name} leaves no pixel of the sky at nside {settings.nside}; "
                "make the cut smaller or mask.apodisation_deg narrower"
            )
    header = {
        "FSKY": fsky(kept[0]),
        "FSKY_P": fsky(kept[1]),
        "FSKY_A": fsky(soft[0]),
        "FSKY_PA": fsky(soft[1]),
        "TAPER": settings.taper,
        "TAPERDEG": settings.apodisation_deg,
    }
    return SkyMap(np.stack(kept + soft), "", MASK_FIELDS, header)


def _kept(cut: Cut, nside: int, published: SkyMap | None, row: int) -> Array:
    """Return 1 where the sky is kept, 0 elsewhere; pixels without a value are left out."""
    if cut.source == "galactic":
        return galactic_mask(nside, cut.latitude_deg)
    if published is None:
        raise ValueError("mask.source planck: needs the mask of the catalog entry mask_input; none was given")
    values = published.values[row]
    return degrade_mask(np.where(is_unseen(values), 0, values), nside, threshold=cut.threshold)


def mask_statistics(mask: SkyMap) -> dict[str, dict[str, float]]:
    """Return how much of the sky each field of a mask keeps.

    Returns
    -------
    dict
        By field: "fsky", the mean of the weights w; "mean_w2" and "mean_w4", by
        which power and its variance fall; "fsky_modes", the fraction of modes
        mean(w^2)^2 / mean(w^4).
    """
    return {
        name: {
            "fsky": fsky(weights),
            "mean_w2": fsky_power(weights),
            "mean_w4": fsky_power(np.square(weights)),
            "fsky_modes": fsky_modes(weights),
        }
        for name, weights in zip(mask.fields, mask.values, strict=True)
    }
