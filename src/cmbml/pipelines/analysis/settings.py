"""What the analysis is told by `parameters_analysis.yml`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cmbml.science.apodisation import Taper
from cmbml.science.pixels import check_band_limit, check_nside

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Analysis(BaseModel):
    """How cleaned maps are compared with the truth.

    Parameters
    ----------
    nside
        Resolution of the maps.
    lmax
        Highest multipole of the spectra and of a change of beam, inclusive.
    map_fwhm_arcmin
        Beam of the truth and of the cleaned maps, in arcmin: the common target
        beam of the simulation.
    fwhm_arcmin
        Beam at which they are compared, in arcmin: the same or a wider one.
    apodisation_deg
        Width of the mask's taper in degrees, for spectra and changes of beam.
    taper
        "C1", "C2" or "smooth".
    bin_width
        Number of multipoles in a band of the binned spectra.
    figure_simulations
        How many skies of a split are drawn, from the first one on.
    map_range_uk
        The colours of a drawn map span plus and minus this, in uK_CMB.
    residual_range_uk
        The same for a drawn residual.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    nside: int
    lmax: int
    map_fwhm_arcmin: Positive
    fwhm_arcmin: Positive
    apodisation_deg: Annotated[float, Field(ge=0, le=90)]
    taper: Taper
    bin_width: Count
    figure_simulations: Annotated[int, Field(ge=0)]
    map_range_uk: Positive
    residual_range_uk: Positive

    @field_validator("nside")
    @classmethod
    def _known_to_healpix(cls, nside: int) -> int:
        return check_nside(nside)

    @model_validator(mode="after")
    def _band_limit_fits(self) -> "Analysis":
        check_band_limit(self.lmax, self.nside)
        return self

    @model_validator(mode="after")
    def _maps_are_not_sharpened(self) -> "Analysis":
        if self.fwhm_arcmin < self.map_fwhm_arcmin:
            raise ValueError(
                f"fwhm_arcmin {self.fwhm_arcmin:g}: maps at map_fwhm_arcmin {self.map_fwhm_arcmin:g} "
                "are not sharpened for the comparison; give the same beam or a wider one"
            )
        return self
