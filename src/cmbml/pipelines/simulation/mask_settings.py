"""What can be set of the masks."""

from pydantic import Field, field_validator

from cmbml.pipelines.simulation.map_settings import Group
from cmbml.science.pixels import check_nside


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
