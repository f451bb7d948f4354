"""Settings of the needlet ILC, checked before anything runs."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    field_validator,
    model_validator,
)

from cmbml.pipelines.pyilc.needlets import FEWEST_CHANNELS, check_peaks
from cmbml.science.pixels import check_band_limit, check_nside


class NeedletILC(BaseModel):
    """How the needlet ILC cleans.

    References
    ----------
    McCarthy, F. & Hill, J. C. 2023, arXiv:2307.01043, whose code's names are
    given in brackets.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    peaks: tuple[int, ...]
    """Multipoles at which the cosine needlets peak, the last one lmax + 1 (`ellpeaks`).

    There is one scale more than there are peaks: the first falls from l = 0 to the first peak.
    """

    lmax: int
    """Highest multipole of the cleaned map, at most 3 nside - 1 (`ELLMAX`)."""

    nside: int
    """HEALPix resolution of the channels and of the cleaned map (`N_side`)."""

    fwhm_arcmin: PositiveFloat
    """Full width at half maximum in arcmin of the Gaussian beam that all channels are brought to,
    and that the cleaned map has (`perform_ILC_at_beam`)."""

    bias_tolerance: PositiveFloat
    """Share of the CMB's power that chance correlations may cost; the smaller, the larger the
    region over which a covariance is averaged (`ILC_bias_tol`)."""

    beam_criterion: Annotated[float, Field(gt=0, lt=1)]
    """A channel is used at a scale if its beam window drops to this value no earlier than the
    scale's filter does (`wavelet_beam_criterion`)."""

    taper_width: Annotated[int, Field(ge=0)]
    """Distance in multipoles from lmax at which a taper has lowered the coefficients to a half;
    0 for no taper (`taper_width`)."""

    channels: tuple[str, ...] | Literal["all"]
    """Names of the channels to use, or "all" (`drop_channels` says the opposite); on the command line
    "100+143"."""

    stokes: Literal["I", "IQU"]
    """Fields of the cleaned map: "I", or "IQU" to clean T, E and B, each from the channels that have it."""

    transforms: Literal["fast", "reference"]
    """How covariances are averaged: "fast" on larger pixels where the region of the average
    is wide enough for them; "reference" step by step as McCarthy & Hill's published code does, at many
    times the cost."""

    @field_validator("nside")
    @classmethod
    def _nside_is_known(cls, nside: int) -> int:
        return check_nside(nside)

    @field_validator("channels", mode="before")
    @classmethod
    def _channels_may_be_joined(cls, channels: Any) -> Any:
        """Take "100+143", as on the command line, and numbers for names."""
        listed = channels.split("+") if isinstance(channels, str) and "+" in channels else channels
        return tuple(str(name).strip() for name in listed) if isinstance(listed, list | tuple) else listed

    @field_validator("channels")
    @classmethod
    def _channels_are_enough(cls, channels: tuple[str, ...] | str) -> tuple[str, ...] | str:
        if channels == "all":
            return channels
        if len(channels) < FEWEST_CHANNELS or len(set(channels)) < len(channels):
            raise ValueError(
                f"channels {tuple(channels)}: name at least {FEWEST_CHANNELS} channels, each once, "
                'or write "all"'
            )
        return channels

    @model_validator(mode="after")
    def _multipoles_fit(self) -> Self:
        check_band_limit(self.lmax, self.nside)
        check_peaks(self.peaks, self.lmax)
        if self.taper_width > self.lmax:
            raise ValueError(
                f"taper_width {self.taper_width}: must not exceed lmax {self.lmax}; lower taper_width"
            )
        return self

    def channel_numbers(self, available: Sequence[str]) -> tuple[int, ...]:
        """Return the places of the chosen channels among those available.

        Parameters
        ----------
        available
            Names of the channels at hand, in the order of their maps.

        Returns
        -------
        tuple of int
            In the order of `available`.

        Raises
        ------
        ValueError
            If a chosen channel is not available.
        """
        if self.channels == "all":
            return tuple(range(len(available)))
        missing = [channel for channel in self.channels if channel not in available]
        if missing:
            raise ValueError(
                f"channels {missing}: not among the channels of the observations, {list(available)}; "
                "take them out of the ILC's channels or simulate them"
            )
        return tuple(number for number, channel in enumerate(available) if channel in self.channels)
