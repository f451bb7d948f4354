"""Extragalactic components of the embedded sky."""

from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from cmbml.pipelines.simulation.cib import draw_cib
from cmbml.pipelines.simulation.radio_sources import draw_radio_sources
from cmbml.pipelines.simulation.settings import Extragalactic
from cmbml.science.instrument import Channel

Array = NDArray[Any]


@runtime_checkable
class ExtragalacticComponent(Protocol):
    """What adds its emission partly in pixels, before a channel is analysed, partly as coefficients."""

    def add_to_map(self, total: Array, channel: Channel) -> None:
        """Add what is given in pixels to a map (1 | 3, npix), uK_CMB, in place."""

    def add_to_alm(self, total: Array, channel: Channel) -> None:
        """Add what is given in coefficients to coefficients (1 | 3, alm_size), uK_CMB, in place."""


def extragalactic_components(
    settings: Extragalactic, seed: int, *, lmax: int, polarised: bool
) -> dict[str, ExtragalacticComponent]:
    """Draw the extragalactic components of one sky.

    Parameters
    ----------
    settings
        Which components there are.
    seed
        Seed of this sky's shape, of which every component takes a stream of its own.
    lmax
        Band limit, inclusive.
    polarised
        Whether to draw polarisation.

    Returns
    -------
    dict
        By name, "cib" and "radio".
    """
    components: dict[str, ExtragalacticComponent] = {}
    if settings.cib:
        components["cib"] = draw_cib(seed, lmax)
    if settings.radio:
        components["radio"] = draw_radio_sources(
            seed, settings.radio_flux_cut_jy, lmax=lmax, polarised=polarised
        )
    return components
