"""Power spectra that know what they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Scaling = Literal["cl", "dl"]

_POTENTIAL_POWER = {"PP": 2.0, "PT": 1.5, "PE": 1.5, "TP": 1.5, "EP": 1.5}
"""D_l of the lensing potential carries [l(l+1)]^2 (PP) or [l(l+1)]^1.5 (PT, PE), as CAMB writes it."""


def dl_factor(name: str, lmax: int) -> NDArray[np.float64]:
    """Return D_l / C_l of one spectrum.

    l(l+1)/2pi; with the lensing potential, [l(l+1)]^2/2pi for PP and
    [l(l+1)]^1.5/2pi for PT and PE.

    Parameters
    ----------
    name
        Two letters of T, E, B, P.
    lmax
        Band limit, inclusive.

    Returns
    -------
    numpy.ndarray
        Shape (lmax + 1,).
    """
    ell = np.arange(lmax + 1, dtype=np.float64)
    factor: NDArray[np.float64] = (ell * (ell + 1)) ** _POTENTIAL_POWER.get(name, 1.0) / (2 * np.pi)
    return factor


@dataclass(frozen=True)
class PowerSpectra:
    """Spectra of one sky or one cosmology, from l = 0 to lmax.

    Parameters
    ----------
    values
        By two letters of T, E, B, P (lensing potential), shape (lmax + 1,).
    scaling
        Whether the values are C_l or D_l (see `dl_factor`).
    lensed
        Whether T, E, B are lensed.
    unit
        Unit of the T, E, B spectra: "uK_CMB2", "K_CMB2", or "" without unit.
    """

    values: Mapping[str, NDArray[Any]]
    scaling: Scaling
    lensed: bool
    unit: str = "uK_CMB2"

    def __post_init__(self) -> None:
        lengths = {name: np.shape(value) for name, value in self.values.items()}
        if not lengths:
            raise ValueError("power spectra need at least one spectrum")
        if len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
            raise ValueError(f"power spectra must be arrays over ell of one length; got shapes {lengths}")
        if self.scaling not in ("cl", "dl"):
            raise ValueError(f"scaling {self.scaling!r}: must be 'cl' or 'dl'")

    @property
    def lmax(self) -> int:
        """Highest multipole."""
        return len(next(iter(self.values.values()))) - 1

    @property
    def fields(self) -> str:
        """Letters of the fields that occur, in the order T, E, B, P."""
        letters = "".join(self.values)
        return "".join(letter for letter in "TEBP" if letter in letters)

    def cl(self, name: str) -> NDArray[np.float64]:
        """Return one spectrum as C_l, shape (lmax + 1,); zero at l = 0 if kept as D_l.

        Raises
        ------
        KeyError
            If the spectrum is not there in either order of its letters.
        """
        key, value = self._stored(name)
        if self.scaling == "cl":
            return value
        factor = dl_factor(key, self.lmax)
        return np.divide(value, factor, out=np.zeros_like(value), where=factor > 0)

    def dl(self, name: str) -> NDArray[np.float64]:
        """Return one spectrum as D_l, shape (lmax + 1,).

        Raises
        ------
        KeyError
            If the spectrum is not there in either order of its letters.
        """
        key, value = self._stored(name)
        return value if self.scaling == "dl" else value * dl_factor(key, self.lmax)

    def _stored(self, name: str) -> tuple[str, NDArray[np.float64]]:
        """Return the name under which a spectrum is kept, and a copy of it."""
        for key in (name, name[::-1]):
            if key in self.values:
                return key, np.array(self.values[key], dtype=np.float64)
        raise KeyError(f"spectrum {name}: not among {', '.join(self.values)}")

    def require_unlensed(self) -> "PowerSpectra":
        """Return the spectra if they are unlensed.

        Raises
        ------
        ValueError
            If they are lensed: lensing them again would lens the sky twice.
        """
        if self.lensed:
            raise ValueError(
                "lensed spectra cannot be lensed again: draw them as a Gaussian field, "
                "or give unlensed spectra and the lensing potential"
            )
        return self


@dataclass(frozen=True, eq=False)
class TheorySpectra:
    """The spectra of one cosmology, before and after lensing.

    Parameters
    ----------
    unlensed
        TT, EE, TE without lensing, and the lensing potential: PP, PT, PE. None
        where only lensed spectra are known, such as those of a published best fit.
    lensed
        TT, EE, BB, TE with lensing, as a sky shows them.

    Raises
    ------
    ValueError
        If the two are not what their names say.
    """

    unlensed: PowerSpectra | None
    lensed: PowerSpectra

    def __post_init__(self) -> None:
        if (self.unlensed is not None and self.unlensed.lensed) or not self.lensed.lensed:
            raise ValueError("theory spectra: one set must be unlensed and the other lensed, in this order")

    def require_unlensed(self) -> PowerSpectra:
        """Return the unlensed spectra.

        Raises
        ------
        ValueError
            If only lensed ones are known.
        """
        if self.unlensed is None:
            raise ValueError(
                "theory spectra: only lensed spectra are known, from which no unlensed sky can be drawn; "
                "draw a Gaussian field of the lensed ones"
            )
        return self.unlensed.require_unlensed()
