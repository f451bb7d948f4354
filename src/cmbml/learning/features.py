"""The features of a sky: what each row of an array of all its channels is."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbml.science.instrument import Observations
from cmbml.science.skymap import UNSEEN, is_unseen
from cmbml.science.units import MAP_UNIT, unit_factor


def feature_names(stokes_of: Mapping[str, str]) -> tuple[str, ...]:
    """Return the name of every feature, channel by channel: "100 I", "100 Q", "100 U", "545 I".

    Parameters
    ----------
    stokes_of
        By channel, in the order of the features, its Stokes fields.
    """
    return tuple(f"{channel} {field}" for channel, stokes in stokes_of.items() for field in stokes)


def split_name(name: str) -> tuple[str, str]:
    """Return channel and Stokes field of a feature."""
    channel, _, field = name.rpartition(" ")
    return channel, field


def sign_flips(names: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of the features that change sign when the sky is seen in a mirror: those of U."""
    return tuple(number for number, name in enumerate(names) if split_name(name)[1] == "U")


def feature_array(observations: Observations, names: Sequence[str]) -> NDArray[np.float32]:
    """Return the features of one sky in uK_CMB.

    Parameters
    ----------
    observations
        Its maps; those that are not in uK_CMB must be in a multiple of it.
    names
        Names of the features, see `feature_names`.

    Returns
    -------
    numpy.ndarray
        Shape (n_features, npix), float32, in the order of the names.

    Raises
    ------
    ValueError
        If a channel or a field is missing, or a unit cannot become uK_CMB.
    """
    rows = [_row(observations, *split_name(name)) for name in names]
    array = np.empty((len(rows), rows[0].shape[-1]), np.float32)
    for row, values in zip(array, rows, strict=True):
        row[:] = values
    return array


def _row(observations: Observations, channel: str, field: str) -> NDArray[Any]:
    if channel not in observations.maps:
        raise ValueError(f"channel {channel}: not observed; there are {', '.join(observations.maps)}")
    fields: NDArray[Any] = observations.maps[channel]
    number = "IQU".index(field)
    if number >= len(fields):
        raise ValueError(f"channel {channel}: holds only I, not {field}; take stokes I, or leave it out")
    unit = observations.units.get(channel, MAP_UNIT)
    try:
        factor = unit_factor(unit, MAP_UNIT)
    except ValueError as error:
        raise ValueError(f"channel {channel}: {error}; convert its maps to {MAP_UNIT} first") from error
    values: NDArray[Any] = fields[number] if factor == 1 else fields[number] * factor
    return values


def check_map(fields: NDArray[Any], name: str, *, nside: int, group: str) -> None:
    """Check that a network can be given a map: that it has its resolution and a value in every pixel.

    Parameters
    ----------
    fields
        Shape (n_fields, npix).
    name
        What the map is of, for the message.
    nside
        HEALPix resolution of the network's maps.
    group
        Parameters that set it, for the message.

    Raises
    ------
    ValueError
        If the map has another resolution, or pixels that are not finite or not observed.
    """
    npix = 12 * nside**2
    if fields.shape[-1] != npix:
        raise ValueError(
            f"{name}: map has npix {fields.shape[-1]}, the network's has {npix} ({group}.nside {nside})"
        )
    bad = int(np.count_nonzero(~np.isfinite(fields) | is_unseen(fields)))
    if bad:
        raise ValueError(
            f"{name}: {bad} pixels are not finite or not observed; a network needs a value in every pixel"
        )


def check_pixels(array: NDArray[Any], *, what: str, names: Sequence[str] = ()) -> None:
    """Check that a network can learn from an array: that its pixels are finite and observed.

    Parameters
    ----------
    array
        Shape ``(n, *space)``.
    what
        What a row is, for the message.
    names
        Names of the rows, for the message.

    Raises
    ------
    ValueError
        If they are not; says in which row, and how many.
    """
    if -UNSEEN / 2 > array.max() >= array.min() > UNSEEN / 2:  # false where there is a NaN
        return
    for number, row in enumerate(array):
        bad = ~np.isfinite(row) | is_unseen(row)
        if bad.any():
            raise ValueError(
                f"{what} {label(number, names)} has {np.count_nonzero(bad)} pixels that are NaN, infinite or "
                "not observed; mend that map, or leave the sky out"
            )


def label(number: int, names: Sequence[str]) -> str:
    """Return what messages call a row: its number, and its name where it has one."""
    return f"{number} ({names[number]})" if number < len(names) else str(number)
