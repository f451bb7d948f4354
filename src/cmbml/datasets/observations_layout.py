"""What a catalog entry says about the observations of a sky, whatever file holds them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cmbml.datasets.healpix_layout import MapLayout
from cmbml.science.instrument import Observations, channel_names
from cmbml.science.skymap import HeaderValue, SkyMap

Choice = str | int | list[str | int] | None

CHANNEL = re.compile(r"^[1-9]\d*$")
"""What a channel is called: its nominal GHz, without leading zeros."""


@dataclass(frozen=True)
class ObservationsLayout:
    """Which channels and fields an entry reads, and what it says of each map.

    Parameters
    ----------
    channels
        A named set, a range such as "100-353", one channel, or a list; None for all.
    stokes
        "IQU" for all Stokes fields a channel has, or "I".
    maps
        What the entry says of every map.

    Raises
    ------
    ValueError
        If `stokes` is neither.
    """

    channels: Choice
    stokes: Literal["I", "IQU"]
    maps: MapLayout

    def __post_init__(self) -> None:
        if self.stokes not in ("I", "IQU"):
            raise ValueError(f"stokes {self.stokes!r}: must be 'I' or 'IQU'")
        if isinstance(self.channels, list | tuple):
            object.__setattr__(self, "channels", list(self.channels))  # the catalog's own stays its own
        if self.stokes == "I":
            object.__setattr__(self, "maps", replace(self.maps, fields=("I",)))

    def restricted(self, *, channels: Sequence[str], stokes: Literal["I", "IQU"]) -> "ObservationsLayout":
        """Return the layout that reads these channels, and "I" alone or what this one reads."""
        return replace(self, channels=list(channels), stokes="I" if stokes == "I" else self.stokes)

    def absent(self, available: Sequence[str]) -> list[str]:
        """Return the channels that the entry lists and that are not among those available."""
        wanted = self.channels if isinstance(self.channels, list) else []
        return [str(name) for name in wanted if str(name) not in available]

    def fitting(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return those of some channels that the entry chooses.

        Raises
        ------
        ValueError
            If it lists one that is not there, or chooses none.
        """
        try:
            return channel_names("all" if self.channels is None else self.channels, tuple(names))
        except ValueError as error:
            raise ValueError(
                f"channels {self.channels!r} of the catalog entry do not fit the channels {', '.join(names)}"
            ) from error

    def check(self, data: Observations) -> None:
        """Refuse to save what the entry would then not read.

        Raises
        ------
        ValueError
            If there is no channel, one has no legal name or is not read, or their
            maps differ in size.
        """
        names = tuple(data.maps)
        illegal = [name for name in names if not CHANNEL.match(name)]
        if illegal or not names:
            raise ValueError(f"channels {', '.join(illegal) or 'none'}: a channel's name is its nominal GHz")
        read = self.fitting(names)
        if set(read) != set(names):
            raise ValueError(
                f"not saved: the observations hold channels {', '.join(names)}, "
                f"of which the catalog entry reads only {', '.join(read)} (channels: {self.channels})"
            )
        check_one_size({name: data.maps[name].shape[-1] for name in names}, what="npix")

    def channel_map(self, data: Observations, name: str, header: Mapping[str, HeaderValue]) -> SkyMap:
        """Return one channel as a map to write.

        Raises
        ------
        ValueError
            If it is no map, has no unit, or fields that the entry would not read.
        """
        values = data.maps[name]
        if self.stokes == "I" and len(values) > 1:
            raise ValueError(
                f"channel {name} has {len(values)} fields, the catalog entry states stokes I; keep its first"
            )
        unit = data.units.get(name, self.maps.unit)
        if unit is None:
            raise ValueError(
                f"channel {name} has no unit; give it in Observations.units or as `unit:` in the catalog "
                "entry"
            )
        try:
            return SkyMap(values, unit, header=header)
        except ValueError as error:
            raise ValueError(f"channel {name}: {error}") from error


def check_one_size(sizes: Mapping[str, int], *, what: str) -> None:
    """Check that all channels have one resolution.

    Parameters
    ----------
    sizes
        By channel.
    what
        What the numbers are, for the message.

    Raises
    ------
    ValueError
        If they differ.
    """
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise ValueError(f"the channels have different {what} ({listed})")


def as_observations(maps: Mapping[str, SkyMap]) -> Observations:
    """Return the maps of the channels as one object.

    Raises
    ------
    ValueError
        If they have different resolutions.
    """
    check_one_size({name: sky_map.nside for name, sky_map in maps.items()}, what="nside")
    return Observations(
        {name: sky_map.values for name, sky_map in maps.items()},
        {name: sky_map.unit for name, sky_map in maps.items()},
    )
