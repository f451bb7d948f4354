"""Templates of PySM's presets, laid out as PySM looks for them."""

from collections.abc import Sequence

from cmbml.pipelines.simulation.pysm_presets import TEMPLATE_URL, template_names
from cmbml.remote_files import RemoteFile
from cmbml.science.instrument import Channel, Instrument

GROUP = "pysm_templates"
FOLDER = "pysm"


def pysm_templates(
    presets: Sequence[str], nside: int, instrument: Instrument, *, mirror: str
) -> list[RemoteFile]:
    """Return the templates that presets read.

    Parameters
    ----------
    presets
        Preset strings such as "d1".
    nside
        Resolution of the emission.
    instrument
        Channels; of maps at many frequencies only those next to a channel are
        needed.
    mirror
        Address of a copy of the assets folder; anything else is passed over.

    Raises
    ------
    ValueError
        If PySM has no such preset, or it cannot take part.
    """
    bands = [_band(channel) for channel in instrument]
    base = f"{mirror.rstrip('/')}/{FOLDER}/" if "://" in mirror else TEMPLATE_URL
    return [
        RemoteFile(f"{FOLDER}/{name}", f"{base}{name}", GROUP)
        for name in template_names(presets, nside, bands)
    ]


def _band(channel: Channel) -> tuple[float, float]:
    """Return the lowest and the highest frequency of a channel in GHz."""
    if channel.bandpass is None:
        return channel.frequency_ghz, channel.frequency_ghz
    return channel.bandpass.frequencies_ghz[0], channel.bandpass.frequencies_ghz[-1]
