"""What can be set of the cosmology and the CMB."""

from typing import Literal

from pydantic import Field

from cmbml.pipelines.simulation.map_settings import Group


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
