"""What can be set of the noise."""

from pydantic import Field

from cmbml.pipelines.simulation.map_settings import Group, NotNegative


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
