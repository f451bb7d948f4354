"""What can be set of the noise."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

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
        reproduces CMB-ML's maps (intensity only, with pattern "variance").
    reference_prefix
        What CMB-ML's texts for seeds begin with, for the recipe "reference":
        ``I-512-1450_`` for the published dataset, whose texts number the simulations
        without "sim"; "" for CMB-ML's newer branches.
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
    reference_prefix: str
    coherence: int = Field(ge=1)
    average_map: bool

    @model_validator(mode="after")
    def _reference_pattern(self) -> Self:
        if self.kind == "correlated" and self.recipe == "reference" and self.pattern == "scan":
            raise ValueError(
                "recipe reference: CMB-ML's noise is as deep as Planck's variance maps say; set "
                "pattern: variance, or take recipe: scattered"
            )
        return self

    @property
    def used(self) -> "NoiseSettings":
        """The settings with those set to 0 that noise of this kind does not depend on.

        So that no map is made stale by a setting that it was not made with.
        """
        if self.kind == "none" or self.scale == 0:
            return self.model_copy(update={"kind": "none", **_UNUSED})
        names = {"scale"}
        if self.kind == "correlated":
            names |= {"pattern", "recipe", "average_map"}
            names |= {"reference_prefix"} if self.recipe == "reference" else {"coherence"}
        if self.kind == "sensitivity" or (self.kind == "correlated" and self.pattern == "scan"):
            names |= {"anisotropy"}
        return self.model_copy(update={key: value for key, value in _UNUSED.items() if key not in names})

    @property
    def of_sources(self) -> "NoiseSettings":
        """The settings of what simulations share: neither scale nor seeds act on it."""
        return self.used.model_copy(update={"scale": 1.0, "reference_prefix": ""})

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


_UNUSED: dict[str, Any] = {
    "scale": 0.0,
    "anisotropy": 0.0,
    "pattern": "scan",
    "recipe": "scattered",
    "reference_prefix": "",
    "coherence": 1,
    "average_map": False,
}
"""What stands for a setting that is not used."""


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
