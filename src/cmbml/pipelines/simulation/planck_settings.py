"""What can be set of Planck's own maps."""

from pydantic import Field

from cmbml.pipelines.simulation.map_settings import Group, NotNegative
from cmbml.science.instrument import Channel
from cmbml.science.units import Calibration


class PlanckMaps(Group):
    """What is known of Planck's maps beside what their files say.

    Parameters
    ----------
    nilc_fwhm_arcmin
        Beam of the NILC map of the CMB.
    mjy_per_k_545, mjy_per_k_857
        Surface brightness of the CMB's fluctuations in the channel, MJy/sr per
        K_CMB: the maps, variances and noise simulations of 545 and 857 GHz are
        converted by it. None converts noise by the simulated channel's own response:
        over a tabulated bandpass, or at the centre frequency, as CMB-ML does.
    debeam_floor
        The beam b is taken out of foregrounds by b / (b^2 + this), so that nothing
        is amplified where the beam leaves no signal.
    """

    nilc_fwhm_arcmin: NotNegative
    mjy_per_k_545: float | None = Field(gt=0)
    mjy_per_k_857: float | None = Field(gt=0)
    debeam_floor: float = Field(gt=0)

    def mjy_per_k(self, channel: str) -> float | None:
        """Return the MJy/sr per K_CMB of a channel; None if it is not stated."""
        number: float | None = getattr(self, f"mjy_per_k_{channel}", None)
        return number

    def calibration(self, channel: Channel) -> Calibration:
        """Return how surface brightness becomes temperature in files of a channel."""
        stated = self.mjy_per_k(channel.name)
        return channel.calibration if stated is None else Calibration(channel.frequency_ghz, stated)
