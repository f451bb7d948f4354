"""Settings of CMBNNCS, checked before anything runs."""

from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from cmbml.pipelines.cmbnncs.network import fitting_depths
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.pixels import check_band_limit, check_nside

LEAST_BEAM = 0.01
"""Of the common beam at lmax: down to here float32 maps of a truth give it back without its beam."""


class Group(BaseModel):
    """Settings that cannot be changed, and hold nothing that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Cmbnncs(Group):
    """What the network sees, and what it is to find there."""

    channels: str | int | tuple[str | int, ...]
    """Channels that the network sees: a named set, a range such as 100-353, or a list."""

    stokes: Literal["I", "IQU"]
    """Fields of the cleaned map, and of the channels that have them."""

    nside: int
    """HEALPix resolution of the channels and of the cleaned map."""

    lmax: int
    """Band limit of the cleaned map, and of inputs that are no plain maps; at most 3 nside - 1."""

    fwhm_arcmin: PositiveFloat
    """Full width at half maximum in arcmin of the beam of the cleaned map."""

    inputs: Literal["differences", "maps"]
    """"differences": a reference channel, and what the others differ from it at the common beam or at a
    coarser one of their own, in which there is no CMB. "maps": every channel as it is observed, as
    published."""

    reference: str
    """Channel that the network corrects, of inputs "differences"; "auto" for that of the lowest noise at
    the common beam."""

    target: Literal["common_beam", "unbeamed"]
    """What the network is to find: the CMB at `fwhm_arcmin`, or without a beam; the cleaned map is at
    `fwhm_arcmin` in either case."""

    @field_validator("nside")
    @classmethod
    def _nside_is_known(cls, nside: int) -> int:
        return check_nside(nside)

    @model_validator(mode="after")
    def _multipoles_fit(self) -> Self:
        check_band_limit(self.lmax, self.nside)
        window = beam_window(self.fwhm_arcmin * ARCMIN, self.lmax)
        if self.target == "unbeamed" and window[-1] < LEAST_BEAM:
            raise ValueError(
                f"target unbeamed: the beam of {self.fwhm_arcmin} arcmin is {window[-1]:.1e} at lmax "
                f"{self.lmax}, and below {LEAST_BEAM} it cannot be taken off the truth; lower lmax, or take "
                "common_beam"
            )
        return self

    @property
    def of_features(self) -> Self:
        """What features depend on, so that settings without effect do not make them stale."""
        if self.inputs == "differences":
            return self
        return self.model_copy(update={"target": "common_beam", "fwhm_arcmin": 1.0, "reference": "auto"})

    @property
    def of_targets(self) -> Self:
        """What targets depend on."""
        return self.model_copy(update={"channels": "all", "reference": "auto", "inputs": "maps"})


class NetworkSettings(Group):
    """The network."""

    nside: int
    """HEALPix resolution of its planes, of 4 nside x 3 nside pixels."""

    kind: Literal["correcting", "published"]
    """"correcting": the U-Net makes weights of differences from the reference channel; needs inputs
    "differences". "published": the U-Net makes the CMB of the maps; needs inputs "maps"."""

    depth: PositiveInt | Literal["auto"]
    """Steps down, and up, of the U-Net; "auto" for as many as nside allows: at most 5 below nside 256,
    else 8."""

    filters: PositiveInt
    """Features at full resolution, of the correcting network; the published one has none there."""

    max_filters: PositiveInt
    """Most features of a step: they double from step to step up to it. Published: 512 at depth 5,
    2048 at 8."""

    batch_norm: bool
    """Whether the correcting network normalises over the batch; the published one does."""

    compress: bool
    """Whether the correcting network's U-Net sees asinh of the features."""

    @model_validator(mode="after")
    def _depth_fits(self) -> Self:
        fitting = fitting_depths(4 * check_nside(self.nside), 3 * self.nside)
        if not fitting:
            raise ValueError(f"nside {self.nside}: its planes cannot be halved even once; take 2 or more")
        if self.depth != "auto" and self.depth not in fitting:
            raise ValueError(
                f"depth {self.depth}: nside {self.nside} cannot be halved that often; depths that fit: "
                f"{', '.join(map(str, fitting))}"
            )
        if self.kind == "published" and self.max_filters % 2 ** (self.steps - 1):
            raise ValueError(
                f"max_filters {self.max_filters}: must be a multiple of {2 ** (self.steps - 1)} to be halved "
                f"at each of {self.steps} steps"
            )
        return self

    @property
    def used(self) -> Self:
        """What the network depends on, so that settings without effect do not make it stale."""
        used: dict[str, Any] = {"depth": self.steps}
        if self.kind == "published":
            used |= {"filters": 1, "batch_norm": True, "compress": False}
        return self.model_copy(update=used)

    @property
    def steps(self) -> int:
        """Depth in numbers."""
        if self.depth != "auto":
            return self.depth
        return min(max(fitting_depths(4 * self.nside, 3 * self.nside)), 8 if self.nside >= 256 else 5)
