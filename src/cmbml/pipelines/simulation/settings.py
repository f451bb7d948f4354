"""What can be set in the simulation; every field's value is in `conf/`."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cmbml.science.beams import check_target_beam
from cmbml.science.pixels import check_band_limit, check_nside

NotNegative = Annotated[float, Field(ge=0)]


class Group(BaseModel):
    """A group of parameters: unknown keys are errors, nothing changes after reading."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Simulations(Group):
    """How many simulations each split has, and the seed of all of them.

    Parameters
    ----------
    seed
        Every random number follows from it, but for the morphology of the one
        embedded sky that simulations share where foregrounds do not vary.
    train, valid, test
        Number of simulations of the split, at least 1. Raising one leaves the
        simulations that are there untouched.
    """

    seed: int
    train: int = Field(ge=1)
    valid: int = Field(ge=1)
    test: int = Field(ge=1)


class Maps(Group):
    """Resolution of the maps.

    Parameters
    ----------
    nside
        HEALPix resolution, a power of two.
    lmax
        Band limit, inclusive, at most 3 nside - 1; the same for every channel.
    """

    nside: int
    lmax: int

    @field_validator("nside")
    @classmethod
    def _nside(cls, nside: int) -> int:
        return check_nside(nside)

    @model_validator(mode="after")
    def _band_limit(self) -> Self:
        check_band_limit(self.lmax, self.nside)
        return self


class Target(Maps):
    """The common beam at which truth and cleaned maps are compared.

    Parameters
    ----------
    fwhm_arcmin
        Full width at half maximum; its window at lmax must not be above 0.8.
    nside, lmax
        As in `Maps`.
    """

    fwhm_arcmin: float = Field(gt=0)

    @model_validator(mode="after")
    def _beam(self) -> Self:
        check_target_beam(self.fwhm_arcmin, self.lmax)
        return self


class InstrumentSettings(Group):
    """Which part of the instrument table is used.

    Parameters
    ----------
    channels
        "all", "lfi", "hfi", "polarised", a range of nominal GHz ("100-353"), one
        channel, or a list.
    stokes
        "IQU", or "I" for intensity only.
    beam_scale
        Multiplies the table's beams; 1 leaves them.
    fwhm_floor_arcmin
        No beam is narrower than this; 0 leaves them.
    """

    channels: str | int | list[str | int]
    stokes: Literal["I", "IQU"]
    beam_scale: float = Field(gt=0)
    fwhm_floor_arcmin: NotNegative


class CosmologySettings(Group):
    """Where the cosmological parameters come from.

    Parameters
    ----------
    table
        Name of a published parameter table: "wmap9", "planck2018" or "planck2018_bao".
    vary
        Whether each simulation draws its own; otherwise all have the means.
    """

    table: Literal["wmap9", "planck2018", "planck2018_bao"]
    vary: bool


class CMBSettings(Group):
    """How CMB spectra and maps are computed.

    Parameters
    ----------
    lmax
        Band limit of the lensed CMB, inclusive.
    lens_potential_accuracy
        CAMB's setting of that name, at least 1: below, the lensing potential is
        that of the linear matter spectrum and too small at high multipoles.
    """

    lmax: int = Field(ge=2)
    lens_potential_accuracy: float = Field(ge=1)


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


class NoiseSettings(Group):
    """White noise from the sensitivities of the instrument table.

    Parameters
    ----------
    scale
        Multiplies the sensitivities; 0 is no noise.
    anisotropy
        How uneven the number of hits is: 0 the same everywhere, 1 as the scan
        makes it.
    """

    scale: NotNegative
    anisotropy: float = Field(ge=0, le=1)


class MaskSettings(Group):
    """Which part of the sky is compared.

    Parameters
    ----------
    nside
        Resolution, a power of two.
    latitude_deg
        The sky below this Galactic latitude is left out.
    """

    nside: int
    latitude_deg: float = Field(ge=0, lt=90)

    @field_validator("nside")
    @classmethod
    def _nside(cls, nside: int) -> int:
        return check_nside(nside)
