"""The instrument, its channels, and what they observe."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.science.bandpasses import Bandpass, brightness_response
from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.pixels import npix_to_nside
from cmbml.science.units import MAP_UNIT, Calibration

STOKES = "IQU"


@dataclass(frozen=True)
class Channel:
    """One frequency channel.

    Parameters
    ----------
    name
        Nominal frequency in GHz, as text without leading zeros: "30", "143".
    frequency_ghz
        Centre frequency in GHz.
    fwhm_arcmin
        Full width at half maximum of its Gaussian beam, in arcmin.
    stokes
        The Stokes fields it measures, "I" or "IQU".
    noise_temperature_uk_arcmin, noise_polarisation_uk_arcmin
        Level of its white noise in I, and in each of Q and U, in uK_CMB arcmin:
        the standard deviation of a pixel times the square root of its area. NaN
        if not known.
    bandpass
        Its response to frequency, which must reach on both sides of the centre;
        None for a delta bandpass at the centre frequency.
    noise_brightness_kjy_sr_arcmin
        Level of its white noise in I as surface brightness, in kJy/sr arcmin, in
        place of a temperature: how much that is in uK_CMB depends on the bandpass.
    """

    name: str
    frequency_ghz: float
    fwhm_arcmin: float
    stokes: str
    noise_temperature_uk_arcmin: float = 0.0
    noise_polarisation_uk_arcmin: float = 0.0
    bandpass: Bandpass | None = None
    noise_brightness_kjy_sr_arcmin: float = math.nan

    def __post_init__(self) -> None:
        if self.stokes not in ("I", "IQU"):
            raise ValueError(f"channel {self.name}: stokes {self.stokes!r} must be 'I' or 'IQU'")
        if not self.frequency_ghz > 0:
            raise ValueError(
                f"channel {self.name}: centre frequency {self.frequency_ghz} GHz must be above 0"
            )
        if not self.fwhm_arcmin >= 0:
            raise ValueError(f"channel {self.name}: fwhm {self.fwhm_arcmin} arcmin must not be negative")
        temperature, brightness = self.noise_temperature_uk_arcmin, self.noise_brightness_kjy_sr_arcmin
        for level in (temperature, self.noise_polarisation_uk_arcmin):
            if level < 0:
                raise ValueError(
                    f"channel {self.name}: noise level {level} uK_CMB arcmin must not be negative"
                )
        if brightness < 0 or (brightness >= 0 and temperature > 0):
            raise ValueError(
                f"channel {self.name}: noise level {brightness} kJy/sr arcmin must not be negative, and not "
                f"be stated besides one of {temperature} uK_CMB arcmin; leave one out"
            )
        if self.bandpass is not None:
            lowest, *_, highest = self.bandpass.frequencies_ghz
            if not lowest <= self.frequency_ghz <= highest:
                raise ValueError(
                    f"channel {self.name}: bandpass from {lowest:g} to {highest:g} GHz does not hold the "
                    f"centre frequency {self.frequency_ghz:g} GHz; is it another channel's?"
                )

    @property
    def nominal_ghz(self) -> int:
        """Nominal frequency in GHz."""
        return int(self.name)

    @property
    def fwhm(self) -> float:
        """Full width at half maximum in radians."""
        return self.fwhm_arcmin * ARCMIN

    @property
    def calibration(self) -> Calibration:
        """What turns surface brightness into temperature in its maps: its band's response, if it has one."""
        band = None if self.bandpass is None else brightness_response(self)
        return Calibration(self.frequency_ghz, band)

    def beam_window(self, lmax: int) -> NDArray[np.float64]:
        """Return the window b_l of its beam, shape (lmax + 1,)."""
        return beam_window(self.fwhm, lmax)

    def noise_level(self, stokes: str) -> float:
        """Return the level of white noise of one Stokes field in uK_CMB arcmin.

        Parameters
        ----------
        stokes
            "I", "Q" or "U".

        Raises
        ------
        ValueError
            If the channel does not measure the field, or its level is not known.
        """
        if len(stokes) != 1 or stokes not in self.stokes:
            raise ValueError(f"channel {self.name}: no noise level of {stokes!r}, it measures {self.stokes}")
        level = self._noise_level(stokes)
        if math.isnan(level):
            raise ValueError(
                f"channel {self.name}: noise level of {stokes} is not known; add the columns "
                "noise_temperature and noise_polarisation to the instrument table"
            )
        return level

    def noise_at_beam(self, fwhm_arcmin: float, lmax: int) -> float:
        """Return the rms in uK_CMB of its white noise in I, once its map is at another beam.

        With its own beam b, the other beam B and noise n in uK rad,
        rms^2 = sum_l (2l + 1) / 4 pi n^2 B_l^2 / b_l^2; infinite where b has nothing left to bring anywhere.

        Parameters
        ----------
        fwhm_arcmin
            Full width at half maximum of the other beam.
        lmax
            Band limit, inclusive.

        Raises
        ------
        ValueError
            If the level of its noise is not known.
        """
        ell = np.arange(lmax + 1)
        noise, beam = self.noise_level("I") * ARCMIN, self.beam_window(lmax)
        if not beam.all():
            return float("inf")
        ratio = beam_window(fwhm_arcmin * ARCMIN, lmax) / beam
        return float(noise * np.sqrt(np.sum((2 * ell + 1) / (4 * np.pi) * ratio**2)))

    @property
    def unknown_noise(self) -> str:
        """The Stokes fields whose noise level is not known."""
        return "".join(stokes for stokes in self.stokes if math.isnan(self._noise_level(stokes)))

    def _noise_level(self, stokes: str) -> float:
        """Return the level in uK_CMB arcmin; NaN if it is not known."""
        if stokes != "I":
            return self.noise_polarisation_uk_arcmin
        if math.isnan(self.noise_brightness_kjy_sr_arcmin):
            return self.noise_temperature_uk_arcmin
        return self.noise_brightness_kjy_sr_arcmin / brightness_response(self) * 1e3  # mK to uK


@dataclass(frozen=True)
class Instrument:
    """The channels of an instrument, in the order of its table."""

    channels: tuple[Channel, ...]

    def __post_init__(self) -> None:
        names = [channel.name for channel in self.channels]
        if not names:
            raise ValueError("an instrument needs at least one channel")
        if len(set(names)) != len(names):
            raise ValueError(f"channels {', '.join(names)}: a name occurs twice")

    def __iter__(self) -> Iterator[Channel]:
        return iter(self.channels)

    def __len__(self) -> int:
        return len(self.channels)

    def __getitem__(self, name: str) -> Channel:
        for channel in self.channels:
            if channel.name == name:
                return channel
        raise KeyError(f"channel {name}: not in the instrument, which has {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(channel.name for channel in self.channels)

    @property
    def has_bandpasses(self) -> bool:
        """Whether any channel has a bandpass that is no delta."""
        return any(channel.bandpass is not None for channel in self.channels)

    @property
    def is_polarised(self) -> bool:
        """Whether any channel measures Q and U."""
        return any(channel.stokes == STOKES for channel in self.channels)

    def select(self, names: tuple[str, ...]) -> "Instrument":
        """Return the instrument with only these channels, in their order here.

        Raises
        ------
        KeyError
            If a name is not in the instrument.
        """
        chosen = {self[name].name for name in names}
        return Instrument(tuple(channel for channel in self.channels if channel.name in chosen))

    def with_stokes(self, stokes: str) -> "Instrument":
        """Return the instrument reduced to `stokes`: "I" drops Q and U everywhere."""
        if stokes == "IQU":
            return self
        return Instrument(tuple(replace(channel, stokes=stokes) for channel in self.channels))

    def with_bandpasses(self, bandpasses: Mapping[str, Bandpass] | None) -> "Instrument":
        """Return the instrument with tabulated bandpasses, by channel name; None for deltas.

        Raises
        ------
        ValueError
            If a channel is not in the table.
        """
        if bandpasses is None:
            return Instrument(tuple(replace(channel, bandpass=None) for channel in self.channels))
        missing = [name for name in self.names if name not in bandpasses]
        if missing:
            raise ValueError(
                f"channels {', '.join(missing)}: not in the table of bandpasses, which has "
                f"{', '.join(bandpasses)}; add them, or choose other channels"
            )
        return Instrument(
            tuple(replace(channel, bandpass=bandpasses[channel.name]) for channel in self.channels)
        )

    def with_beams(self, *, scale: float, floor_arcmin: float) -> "Instrument":
        """Return the instrument with beams max(scale * fwhm, floor)."""
        return Instrument(
            tuple(
                replace(channel, fwhm_arcmin=max(scale * channel.fwhm_arcmin, floor_arcmin))
                for channel in self.channels
            )
        )


NAMED_CHANNEL_SETS: Mapping[str, tuple[int, int]] = {
    "all": (0, 10**6),
    "lfi": (30, 70),
    "hfi": (100, 857),
    "polarised": (30, 353),
}
"""Ranges of nominal GHz that have a name."""


def channel_names(
    choice: str | int | list[Any] | tuple[Any, ...], available: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the channels that a choice means.

    Parameters
    ----------
    choice
        A named set ("all", "lfi", "hfi", "polarised"), a range of nominal GHz
        ("100-353", both ends included), one channel, or a list of channels; a list
        may be text with "+" between the channels ("100+143"), as on the command line.
    available
        Names of the channels there are.

    Raises
    ------
    ValueError
        If a listed channel is not available, or nothing is chosen.
    """
    if isinstance(choice, list | tuple):
        wanted = tuple(str(name) for name in choice)
    elif "+" in str(choice):
        wanted = tuple(name.strip() for name in str(choice).split("+"))
    elif str(choice) in available:
        wanted = (str(choice),)
    else:
        low, high = _range_of(str(choice))
        wanted = tuple(name for name in available if low <= int(name) <= high)
    unknown = [name for name in wanted if name not in available]
    if unknown or not wanted:
        raise ValueError(
            f"channels {choice!r}: {', '.join(unknown) or 'no channel'} "
            f"{'is' if wanted else 'fits'} {'not ' if wanted else ''}in the instrument table, "
            f"which has {', '.join(available)}; sets with a name: {', '.join(NAMED_CHANNEL_SETS)}"
        )
    return tuple(name for name in available if name in wanted)


def _range_of(choice: str) -> tuple[int, int]:
    """Return the range of nominal GHz of a named set or of "low-high"."""
    if choice in NAMED_CHANNEL_SETS:
        return NAMED_CHANNEL_SETS[choice]
    low, dash, high = choice.partition("-")
    if dash and low.isdigit() and high.isdigit():
        return int(low), int(high)
    return (1, 0)  # an empty range


@dataclass(frozen=True)
class Observations:
    """All channels of one sky.

    Parameters
    ----------
    maps
        By channel name, shape (n_stokes, npix), RING, float32; one field for a
        channel without polarisation, three (I, Q, U) for one with it.
    units
        By channel name, the unit of its map as astropy spells it; a channel that
        is not named is in uK_CMB.
    """

    maps: Mapping[str, NDArray[Any]]
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def nside(self) -> int:
        """Resolution of the maps."""
        return npix_to_nside(next(iter(self.maps.values())).shape[-1])

    def intensity(self, instrument: Instrument) -> NDArray[Any]:
        """Return the intensity of the channels of an instrument in uK_CMB.

        Maps in another unit are converted by the channel's `calibration`.

        Returns
        -------
        numpy.ndarray
            Shape (n_channels, npix), in the order of the instrument.

        Raises
        ------
        ValueError
            If a channel is missing.
        """
        return np.stack([fields[0] for fields in self._converted(instrument, "I")])  # (n_channels, npix)

    def stokes(self, instrument: Instrument) -> list[NDArray[Any]]:
        """Return all fields of the channels of an instrument in uK_CMB.

        Maps in another unit are converted by the channel's `calibration`.

        Returns
        -------
        list of numpy.ndarray
            By channel, in the order of the instrument, shape (1, npix) for a channel without
            polarisation and (3, npix) for one with it.

        Raises
        ------
        ValueError
            If a channel is missing, or lacks a field that the instrument says it measures.
        """
        return self._converted(instrument, STOKES)

    def _converted(self, instrument: Instrument, stokes: str) -> list[NDArray[Any]]:
        missing = [name for name in instrument.names if name not in self.maps]
        if missing:
            raise ValueError(
                f"channels {', '.join(missing)}: not observed; these observations hold {', '.join(self.maps)}"
            )
        return [self._channel(channel, len(set(stokes) & set(channel.stokes))) for channel in instrument]

    def _channel(self, channel: Channel, n_stokes: int) -> NDArray[Any]:
        values = self.maps[channel.name]
        if len(values) < n_stokes:
            raise ValueError(
                f"channel {channel.name}: measures {channel.stokes}, but the observations hold only I; "
                "simulate stokes IQU, or clean the intensity alone"
            )
        unit = self.units.get(channel.name, MAP_UNIT)
        factor = channel.calibration.factor(unit, MAP_UNIT)
        converted: NDArray[Any] = values[:n_stokes] * factor
        return converted
