"""Whether a file is one of its format, and whole, so that a page saying "not found" does not pass for one."""

import warnings
from pathlib import Path

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

_STARTS = {
    ".fits": b"SIMPLE  =",
    ".gz": b"\x1f\x8b",
    ".h5": b"\x89HDF\r\n\x1a\n",
}
"""By the last ending of the name."""

_PAGES = (b"<!doctype", b"<html", b"<?xml")


def check_format(path: Path, name: str) -> None:
    """Check that a file begins as one of its format does, and a FITS file also that it is whole.

    Parameters
    ----------
    path
        The file.
    name
        What it is called in the end.

    Raises
    ------
    ValueError
        If it is empty, does not begin as its ending says, is a web page, or is a
        FITS file that ends too early.
    """
    with open(path, "rb") as file:
        start = file.read(64)
    suffix = Path(name).suffix.lower()
    wanted = _STARTS.get(suffix, b"")
    if not start:
        raise ValueError(f"{name} is empty")
    if start.lstrip().lower().startswith(_PAGES):
        raise ValueError(f"this is not {name}, but a web page")
    if not start.startswith(wanted):
        raise ValueError(f"this is not {name}: it begins with {start[:16]!r}, not with {wanted!r}")
    if suffix == ".fits":
        _check_whole(path, name)


def _check_whole(path: Path, name: str) -> None:
    """Check that the data of every HDU are there, and at least some; padding at the end may be missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # only warns at a file cut short
        try:
            with fits.open(path, memmap=True) as hdus:
                ends = [hdu.fileinfo()["datLoc"] + hdu.size for hdu in hdus if hdu.size]
                following = hdus[-1].fileinfo()["datLoc"] + hdus[-1].fileinfo()["datSpan"]
        except (OSError, fits.VerifyError) as error:
            raise ValueError(f"{name} is damaged ({error})") from error
    length = path.stat().st_size
    with open(path, "rb") as file:
        file.seek(following)
        has_half_a_header = file.read(8) == b"XTENSION"
    if has_half_a_header or not ends or length < max(ends):
        needed = f"its data end at {max(ends)}" if ends else "which hold no data"
        raise ValueError(f"{name} is cut short: it has {length} bytes, {needed}")
