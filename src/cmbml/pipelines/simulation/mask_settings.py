"""What can be set of the masks."""

from typing import Literal

from pydantic import Field, field_validator

from cmbml.pipelines.simulation.map_settings import Group
from cmbml.science.apodisation import Taper
from cmbml.science.pixels import check_nside


class Cut(Group):
    """Which part of the sky is left out.

    Parameters
    ----------
    source
        "galactic": a band around the Galactic plane. "planck": what the file of
        the catalog entry `mask_input` leaves out, by default the masks that come
        with Planck's NILC map.
    latitude_deg
        For "galactic": the sky below this Galactic latitude is left out.
    threshold
        For "planck": a pixel of the maps is kept where the mean of the file's
        mask over it is at least this.
    """

    source: Literal["galactic", "planck"]
    latitude_deg: float = Field(ge=0, lt=90)
    threshold: float = Field(gt=0, le=1)


class MaskSettings(Cut):
    """Which part of the sky is compared, and how its edges are softened.

    Parameters
    ----------
    nside
        Resolution, a power of two.
    apodisation_deg
        Width of the taper in degrees; 0 is none.
    taper
        "C1", "C2" or "smooth".
    polarisation
        A cut for Q and U, with `source`, `latitude_deg` and `threshold`; null: the
        mask of the intensity.
    """

    nside: int
    apodisation_deg: float = Field(ge=0, le=90)
    taper: Taper
    polarisation: Cut | None

    @field_validator("nside")
    @classmethod
    def _nside(cls, nside: int) -> int:
        return check_nside(nside)

    @property
    def cuts(self) -> tuple[Cut, Cut]:
        """The cut for the intensity, and the one for the polarisation."""
        return self, self.polarisation or self
