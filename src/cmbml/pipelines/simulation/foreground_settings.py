"""What can be set of the foregrounds."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from cmbml.pipelines.simulation.map_settings import Group, NotNegative
from cmbml.science.pixels import check_nside


class Normal(Group):
    """A spectral parameter drawn from a normal distribution.

    Parameters
    ----------
    distribution
        "normal".
    quantity
        "offset": what is drawn is added to the component's own parameter
        everywhere. "value": it replaces the mean of that parameter over the sky.
    mean, sd
        Of the draws.
    """

    distribution: Literal["normal"]
    quantity: Literal["offset", "value"]
    mean: float
    sd: NotNegative


class Uniform(Group):
    """A spectral parameter drawn from a range.

    Parameters
    ----------
    distribution
        "uniform".
    quantity
        As in `Normal`.
    low, high
        Ends of the range.
    """

    distribution: Literal["uniform"]
    quantity: Literal["offset", "value"]
    low: float
    high: float

    @model_validator(mode="after")
    def _range(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"uniform from {self.low:g} to {self.high:g}: low must not be above high")
        return self


Spread = NotNegative | Annotated[Normal | Uniform, Field(discriminator="distribution")]


class Variation(Group):
    """By how much foregrounds differ between simulations.

    A number is the standard deviation of a normal offset around 0; `Normal` and
    `Uniform` say more, such as {distribution: uniform, quantity: value, low: 1.4, high: 1.6}.

    Parameters
    ----------
    morphology
        Whether every simulation has shapes of its own, where they are drawn: those of the embedded sky, and
        the small scales of d11 and s6. False: all have those of the one sky of `vary: false`.
    brightness
        Standard deviation of the natural logarithm of each component's brightness.
    dust_index, synchrotron_index, free_free_index
        Of the spectral index, the same offset everywhere.
    dust_temperature_kelvin
        Of the dust temperature in K, the same offset everywhere.
    """

    morphology: bool
    brightness: NotNegative
    dust_index: Spread
    dust_temperature_kelvin: Spread
    synchrotron_index: Spread
    free_free_index: Spread

    def index_of(self, kind: str) -> float | Normal | Uniform:
        """Return the spread of a kind of component's spectral index; 0 where it does not vary."""
        spread: float | Normal | Uniform = getattr(self, f"{kind}_index", 0.0)
        return spread

    def temperature_of(self, kind: str) -> float | Normal | Uniform:
        """Return the spread of a kind of component's temperature in K; 0 where it does not vary."""
        spread: float | Normal | Uniform = getattr(self, f"{kind}_temperature_kelvin", 0.0)
        return spread

    def values_of(self, kind: str) -> tuple[str, ...]:
        """Return which parameters of a kind of component are drawn themselves: "index", "temperature"."""
        spreads = {"index": self.index_of(kind), "temperature": self.temperature_of(kind)}
        return tuple(
            name for name, spread in spreads.items() if getattr(spread, "quantity", "offset") == "value"
        )


def _value(**numbers: float) -> Normal | Uniform:
    if "mean" in numbers:
        return Normal(distribution="normal", quantity="value", **numbers)
    return Uniform(distribution="uniform", quantity="value", **numbers)


NAMED_VARIATIONS = {
    "cmb_ml_dev": Variation(
        morphology=True,
        brightness=0.0,
        dust_index=_value(low=1.332, high=1.628),
        dust_temperature_kelvin=_value(low=17.64, high=21.56),
        synchrotron_index=_value(mean=-3.1, sd=0.31),
        free_free_index=_value(mean=-2.14, sd=0.21),
    )
}
"""Variations with a name; `cmb_ml_dev` has what CMB-ML's development branch gives d9, s4 and f1."""


_NO_VARIATION = Variation(
    morphology=False,
    brightness=0.0,
    dust_index=0.0,
    dust_temperature_kelvin=0.0,
    synchrotron_index=0.0,
    free_free_index=0.0,
)


class Extragalactic(Group):
    """Extragalactic components of the embedded sky; PySM's presets have their own.

    Parameters
    ----------
    cib
        Whether there is a cosmic infrared background.
    radio
        Whether there are radio sources.
    radio_flux_cut_jy
        Flux at 148 GHz in Jy from which on sources are left out, as a survey that
        finds them one by one would mask them.
    """

    cib: bool
    radio: bool
    radio_flux_cut_jy: float = Field(gt=1e-4)


_NOTHING_EXTRAGALACTIC = Extragalactic(cib=False, radio=False, radio_flux_cut_jy=1.0)


class SkyStatistics(Group):
    """What is measured besides the run's own foregrounds.

    Parameters
    ----------
    presets
        Preset strings of PySM 3.
    """

    presets: list[str]


class ForegroundSettings(Group):
    """Where the foregrounds come from, and how they differ between simulations.

    Parameters
    ----------
    source
        "embedded" (synthetic, needs no download), "pysm" (PySM 3's presets) or
        "planck" (Planck's channels minus the NILC map of the CMB, for a sky that does not vary).
    presets
        Preset strings of PySM 3, for the source "pysm".
    nside
        Resolution at which the emission is computed, a power of two.
    vary
        Whether simulations differ: by `variation`, and for the embedded sky also
        in morphology. False: one sky for all simulations, as the published
        benchmark has it.
    variation
        By how much: a `Variation`, or the name of one ("cmb_ml_dev").
    extragalactic
        Extragalactic components, for the source "embedded".
    """

    source: Literal["embedded", "pysm", "planck"]
    presets: list[str]
    nside: int
    vary: bool
    variation: Variation
    extragalactic: Extragalactic

    @field_validator("variation", mode="before")
    @classmethod
    def _variation(cls, variation: Any) -> Any:
        if not isinstance(variation, str):
            return variation
        if variation not in NAMED_VARIATIONS:
            raise ValueError(
                f"variation {variation!r}: must be {', '.join(NAMED_VARIATIONS)}, or be spelt out"
            )
        return NAMED_VARIATIONS[variation]

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
        if source not in ("embedded", "pysm", "planck"):
            raise ValueError(f"source {source!r}: must be 'embedded', 'pysm' or 'planck'")
        return source

    @model_validator(mode="after")
    def _one_sky(self) -> Self:
        if self.source == "planck" and self.vary:
            raise ValueError("source planck: it is one sky and does not vary; set foregrounds.vary to false")
        return self

    @property
    def used(self) -> Self:
        """What a sky depends on, so that settings without effect do not make it stale."""
        used: dict[str, Any] = {}
        if not self.vary:
            used["variation"] = _NO_VARIATION
        if self.source != "pysm":
            used["presets"] = []
        if self.source != "embedded":
            used["extragalactic"] = _NOTHING_EXTRAGALACTIC
        elif not self.extragalactic.radio:
            used["extragalactic"] = self.extragalactic.model_copy(update={"radio_flux_cut_jy": 1.0})
        if self.source == "planck":
            used["nside"] = 1
        return self.model_copy(update=used)
