"""What can be set of the noise."""

from typing import Literal

from pydantic import Field

from cmbml.pipelines.simulation.map_settings import Group, NotNegative


class NoiseSettings(Group):
    """Which noise the channels have.

    Parameters
    ----------
    kind
        "none"; "sensitivity": white, from the levels of the instrument table;
        "variance": white, from Planck's (co)variance maps; "correlated": with the
        spectra of a noise model, see the pipeline `noise_model`.
    scale
        Multiplies the noise, whatever its kind; 0 is no noise.
    anisotropy
        How uneven the number of hits of the scan is: 0 the same everywhere, 1 as
        the scan makes it. For kind "sensitivity", and for "correlated" with
        pattern "scan".
    pattern
        Where correlated noise is deep and where shallow: as the hits of the
        "scan", or as Planck's "variance" maps.
    recipe
        How correlated noise is drawn: "scattered", or "reference", which
        reproduces CMB-ML's maps (intensity only).
    coherence
        Multipoles over which differences between the noise simulations must agree
        to count as differences of their spectra; what changes from one multipole to
        the next is scatter of realisations. For the recipe "scattered".
    average_map
        Whether the average of the noise simulations, the same in every map, is
        added to correlated noise.
    """

    kind: Literal["none", "sensitivity", "variance", "correlated"]
    scale: NotNegative
    anisotropy: float = Field(ge=0, le=1)
    pattern: Literal["scan", "variance"]
    recipe: Literal["scattered", "reference"]
    coherence: int = Field(ge=1)
    average_map: bool

    @property
    def uses_model(self) -> bool:
        """Whether a noise model is needed."""
        return self.kind == "correlated" and self.scale > 0

    @property
    def uses_average(self) -> bool:
        """Whether the average of the noise simulations is needed."""
        return self.uses_model and self.average_map

    @property
    def uses_variances(self) -> bool:
        """Whether Planck's variance maps are needed."""
        patterned = self.uses_model and self.pattern == "variance"
        return patterned or (self.kind == "variance" and self.scale > 0)


class NoiseModelSettings(Group):
    """How the model of correlated noise is made from noise simulations.

    Parameters
    ----------
    simulations
        How many of the noise simulations of a channel are used, the first by their
        names; null for all there are.
    lmax_factor
        Band limit of the model in units of the simulations' nside.
    mask_latitude_deg
        Spectra are measured at Galactic latitudes above this.
    mask_fwhm_deg
        Smoothing of the mask, a Gaussian's full width at half maximum.
    transforms
        "fast": one quadrature in single precision; "exact": three iterations in
        double precision, as the reference has it.
    components
        How many principal components of the spectra are kept; null for all.
    """

    simulations: int | None = Field(ge=2)
    lmax_factor: float = Field(gt=0, lt=3)
    mask_latitude_deg: float = Field(ge=0, lt=90)
    mask_fwhm_deg: NotNegative
    transforms: Literal["fast", "exact"]
    components: int | None = Field(ge=1)
