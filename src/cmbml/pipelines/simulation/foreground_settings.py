"""What can be set of the foregrounds."""

from typing import Any, Literal

from pydantic import field_validator

from cmbml.pipelines.simulation.map_settings import Group, NotNegative
from cmbml.science.pixels import check_nside


class Variation(Group):
    """Standard deviations by which foregrounds differ between simulations.

    Parameters
    ----------
    brightness
        Of the natural logarithm of each component's brightness.
    dust_index, synchrotron_index, free_free_index
        Of the offset that is added to the spectral index everywhere.
    dust_temperature_kelvin
        Of the offset that is added to the dust temperature everywhere, in K.
    """

    brightness: NotNegative
    dust_index: NotNegative
    dust_temperature_kelvin: NotNegative
    synchrotron_index: NotNegative
    free_free_index: NotNegative

    def index_of(self, kind: str) -> float:
        """Return the deviation of a kind of component's spectral index; 0 where it does not vary."""
        return float(getattr(self, f"{kind}_index", 0.0))

    def temperature_of(self, kind: str) -> float:
        """Return the deviation of a kind of component's temperature in K; 0 where it does not vary."""
        return float(getattr(self, f"{kind}_temperature_kelvin", 0.0))


class ForegroundSettings(Group):
    """Where the foregrounds come from, and how they differ between simulations.

    Parameters
    ----------
    source
        "embedded" (synthetic, needs no download) or "pysm" (PySM 3's presets).
    presets
        Preset strings of PySM 3, for the source "pysm".
    nside
        Resolution at which the emission is computed, a power of two.
    vary
        Whether simulations differ: by `variation`, and for the embedded sky also
        in morphology. False: one sky for all simulations, as the published
        benchmark has it.
    variation
        By how much.
    """

    source: Literal["embedded", "pysm"]
    presets: list[str]
    nside: int
    vary: bool
    variation: Variation

    @field_validator("nside")
    @classmethod
    def _nside(cls, nside: int) -> int:
        return check_nside(nside)

    @field_validator("presets")
    @classmethod
    def _presets(cls, presets: list[str]) -> list[str]:
        if len(set(presets)) != len(presets) or not presets:
            raise ValueError(f"presets {presets}: each at most once, and at least one")
        return presets

    @field_validator("source", mode="before")
    @classmethod
    def _source(cls, source: Any) -> Any:
        if source not in ("embedded", "pysm"):
            raise ValueError(f"source {source!r}: must be 'embedded' or 'pysm'")
        return source
