"""Names of the template files that PySM's models read."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pysm3.models
from pysm3.models import InterpolatingComponent
from pysm3.utils import get_relevant_frequencies

_ENDINGS = (".fits", ".fits.gz", ".txt", ".h5", ".dat")

_GRAIN_TABLES = ("pysm_2/sil_fe00_2.0.dat", "pysm_2/sil_fe05_2.0.dat", "pysm_2/car_1.0.dat")
_RADIATION_FIELD = "pysm_2/COM_CompMap_dust-commander_0256_R2.00.fits"
"""What the dust model of Hensley & Draine 2017 reads besides the files of its preset."""

Band = tuple[float, float]
"""Lowest and highest frequency of a channel in GHz; the same twice for a delta bandpass."""


def parts(config: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the single-class configurations a preset is made of."""
    return [config] if "class" in config else list(config.values())


def listed_templates(config: Mapping[str, Any], nside: int) -> Iterator[str]:
    """Yield the names of the files that every use of a preset reads, filled in as PySM does it.

    Parameters
    ----------
    config
        The preset's configuration.
    nside
        Resolution of the emission.
    """
    for part in parts(config):
        nearest = min(part.get("available_nside") or [nside], key=lambda there: abs(there - nside))
        for value in part.values():
            if isinstance(value, str) and value.endswith(_ENDINGS):
                layers = range(1, part.get("num_layers", 1) + 1)
                yield from dict.fromkeys(value.format(nside=nearest, layer=layer) for layer in layers)
        if part["class"] == "HensleyDraine2017":
            yield from _GRAIN_TABLES
            if part.get("rnd_uval", True):
                yield _RADIATION_FIELD
        if part["class"] == "COLines":
            yield from _carbon_monoxide(part, 512 if nside <= 512 else 2048)


def _carbon_monoxide(part: Mapping[str, Any], nside: int) -> Iterator[str]:
    yield f"co/HFI_CompMap_CO-Type1_{nside}_R2.00_ring.fits"
    if part["has_polarization"]:
        yield from (f"co/{name}_dust90_{nside}.fits" for name in ("psimap", "gmap"))
    if part.get("include_high_galactic_latitude_clouds"):
        yield f"co/mcmoleCO_HGL_{nside}.fits"


def interpolated_templates(config: Mapping[str, Any], nside: int, bands: Sequence[Band]) -> Iterator[str]:
    """Yield the names of the maps that a preset interpolates between to serve channels.

    PySM has these maps at tens of frequencies, and reads for a channel only those
    next to its band.

    Parameters
    ----------
    config
        The preset's configuration.
    nside
        Resolution of the emission.
    bands
        Of the channels; beyond its first and last map PySM emits nothing.
    """
    for part in parts(config):
        cls = getattr(pysm3.models, part["class"])
        if not issubclass(cls, InterpolatingComponent):
            continue
        model = cls(nside=nside, **{key: value for key, value in part.items() if key != "class"})
        wanted = {float(frequency) for band in bands for frequency in _neighbours(model.freqs, band)}
        for frequency in sorted(wanted):
            yield model.maps[frequency].format(nside=model.templates_nside)


def _neighbours(available: Sequence[float], band: Band) -> Sequence[float]:
    low, high = band
    same = [frequency for frequency in available if np.isclose(frequency, low)]
    if low == high and same:
        return same[:1]
    if low > available[-1] or high < available[0]:
        return []
    low, high = max(low, available[0]), min(high, available[-1])
    return list(get_relevant_frequencies(available, low, high))
