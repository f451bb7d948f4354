"""What can be set of released datasets."""

from cmbml.pipelines.simulation.map_settings import Group, NotNegative


class ReleasedTruth(Group):
    """What is known of the true CMB maps of a released dataset.

    Parameters
    ----------
    fwhm_arcmin
        Beam that they have already; 0 for maps without a beam, as CMB-ML's are.
    """

    fwhm_arcmin: NotNegative
