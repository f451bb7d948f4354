"""Units, and the one place that says which are used.

Inside the code maps are uK_CMB, frequencies GHz, angles radians and spectra
uK_CMB2 (the lensing potential: no unit). Another unit is part of the name, such
as `fwhm_arcmin`. FITS columns and YAML always name theirs.

Maps come in thermodynamic temperature (K_CMB), Rayleigh-Jeans temperature
(K_RJ) or surface brightness (Jy/sr), with an SI prefix, to the first power or,
for variances, the second. Those three are no multiples of each other: a
conversion between them needs the frequency.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import astropy.units as u

MAP_UNIT = "uK_CMB"
"""Unit of every map inside the code."""

_PREFIXES = {"": 1.0, "n": 1e-9, "u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9}
_PATTERN = re.compile(
    r"^\(?(?P<prefix>(?-i:[nuµμmkMG]?))(?P<base>K_?CMB|K_?RJ|K|JY/SR)\)?(\^?(\*\*)?(?P<power>[12]))?$",
    re.IGNORECASE | re.ASCII,
)
T_CMB = 2.7255
"""Temperature of the CMB in K: Fixsen 2009, ApJ 707, 916."""


@dataclass(frozen=True)
class MapUnit:
    """A unit of a sky map: `factor` x `base` ^ `power`.

    Parameters
    ----------
    base
        "K_CMB", "K_RJ" or "Jy/sr".
    prefix
        SI prefix of the base: "", "u", "M", ...
    power
        1 for a map, 2 for a variance.
    """

    base: str
    prefix: str
    power: int

    @property
    def factor(self) -> float:
        """Size of the unit in (base)^power."""
        return _PREFIXES[self.prefix] ** self.power

    def __str__(self) -> str:
        """Spell it as astropy reads it: uK_CMB, uK_CMB2, MJy/sr, MJy2/sr2."""
        if self.base == "Jy/sr" and self.power == 2:
            return f"{self.prefix}Jy2/sr2"
        return f"{self.prefix}{self.base}{self.power if self.power > 1 else ''}"


def parse_unit(text: str) -> MapUnit:
    """Read the unit of a map in any of the spellings found in published files.

    `Kcmb`, `K_CMB`, `(K_CMB)^2`, `uK_CMB`, `MJy/sr`, `MJY/SR`, `(Mjy/sr)^2` ...;
    a bare `K`, `mK` or `uK` is thermodynamic temperature, as CMB maps have it.

    Raises
    ------
    ValueError
        If the spelling is none of them.
    """
    squeezed = text.strip().replace(" ", "")
    squeezed = re.sub(r"^(.?)Jy2/sr2$", r"(\1Jy/sr)^2", squeezed)  # as `MapUnit` spells it
    match = _PATTERN.match(squeezed)
    if match is None or squeezed.count("(") != squeezed.count(")"):
        raise ValueError(
            f"unit {text!r}: not a unit of a sky map; known are K_CMB, K_RJ (with the prefixes "
            f"{', '.join(filter(None, _PREFIXES))}) and Jy/sr, and their squares"
        )
    base = match["base"].upper().replace("_", "")
    names = {"K": "K_CMB", "KCMB": "K_CMB", "KRJ": "K_RJ", "JY/SR": "Jy/sr"}
    prefix = match["prefix"].replace("µ", "u").replace("μ", "u")
    return MapUnit(names[base], prefix, int(match["power"] or 1))


@lru_cache(maxsize=1024)
def unit_factor(unit: str, to: str, *, frequency_ghz: float | None = None) -> float:
    """Return the number that turns a map in `unit` into one in `to`.

    Parameters
    ----------
    unit, to
        Spellings that `parse_unit` reads, of one power.
    frequency_ghz
        Frequency of a delta bandpass; needed between K_CMB, K_RJ and Jy/sr.

    Raises
    ------
    ValueError
        If the powers differ, or the frequency is needed and missing.

    Notes
    -----
    K_CMB with the temperature 2.7255 K of the CMB; by astropy's
    `thermodynamic_temperature` and `brightness_temperature`.
    """
    old, new = parse_unit(unit), parse_unit(to)
    if old.power != new.power:
        raise ValueError(f"unit {unit}: cannot become {to}, one is a variance and one is not")
    if old.base == new.base:
        return old.factor / new.factor
    if frequency_ghz is None:
        raise ValueError(f"unit {unit}: becoming {to} needs the frequency of the channel")
    per_base = _janskys(old.base, frequency_ghz) / _janskys(new.base, frequency_ghz)
    return float(old.factor / new.factor * per_base**old.power)


@dataclass(frozen=True)
class Calibration:
    """What turns the units of a channel's maps into one another.

    Parameters
    ----------
    frequency_ghz
        Centre frequency of the channel.
    mjy_per_k
        What its whole band makes of fluctuations of the CMB, MJy/sr per K_CMB; None for that at the centre
        frequency.
    """

    frequency_ghz: float
    mjy_per_k: float | None = None

    def factor(self, unit: str, to: str) -> float:
        """Return the number that turns a map in `unit` into one in `to`; see `unit_factor`."""
        old, new = parse_unit(unit), parse_unit(to)
        if self.mjy_per_k is None or old.power != new.power or {old.base, new.base} != {"K_CMB", "Jy/sr"}:
            return unit_factor(unit, to, frequency_ghz=self.frequency_ghz)
        janskys = self.mjy_per_k * 1e6
        per_base = janskys if old.base == "K_CMB" else 1 / janskys
        return float(old.factor / new.factor * per_base**old.power)


def _janskys(base: str, frequency_ghz: float) -> float:
    """Return one unit of `base` in Jy/sr."""
    if base == "Jy/sr":
        return 1.0
    frequency = frequency_ghz * u.GHz
    if base == "K_CMB":
        equivalence = u.thermodynamic_temperature(frequency, T_CMB * u.K)
    else:
        equivalence = u.brightness_temperature(frequency)
    return float((1 * u.K).to_value(u.Jy / u.sr, equivalencies=equivalence))
