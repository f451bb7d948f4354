"""What can be set of simulations, maps and instrument."""

from typing import Annotated, Literal, Self

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
        channel, or a list; on the command line "100+143".
    stokes
        "IQU", or "I" for intensity only.
    beam_scale
        Multiplies the table's beams; 1 leaves them.
    fwhm_floor_arcmin
        No beam is narrower than this; 0 leaves them.
    bandpass
        "delta": every channel sees its centre frequency alone; "tabulated": it
        averages over the band of the catalog's `bandpass_table`.
    """

    channels: str | int | list[str | int]
    stokes: Literal["I", "IQU"]
    bandpass: Literal["delta", "tabulated"]
    beam_scale: float = Field(gt=0)
    fwhm_floor_arcmin: NotNegative
