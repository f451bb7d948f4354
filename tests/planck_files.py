"""Make small files in the format of Planck's maps, of a sky that is known.

NESTED order, averages over pixels, K_CMB or MJy/sr, ten columns for a channel with
polarisation and three for one without, COSMO convention, pixels without a value.
"""

from pathlib import Path

import healpy as hp
import numpy as np

from cmbml.science.beams import ARCMIN, beam_window
from cmbml.science.harmonics import alm_to_map, filter_alm
from cmbml.science.instrument import Instrument
from cmbml.science.pixel_window import pixel_window
from cmbml.science.skymap import UNSEEN
from tests.released_dataset import DUST, SYNCHROTRON, field

NSIDE, LMAX = 32, 47
"""Of the files; a run uses half of that nside."""

LFI = (
    "I_Stokes",
    "Q_Stokes",
    "U_Stokes",
    "Hits",
    "II_cov",
    "IQ_cov",
    "IU_cov",
    "QQ_cov",
    "QU_cov",
    "UU_cov",
)
HFI = tuple(name.upper() for name in LFI)
RESPONSE = {"545": 58.04, "857": 2.27}
"""MJy/sr per K_CMB: Planck 2013 results IX, Table 6."""

HOLES = (7, 300, 301, 5000)
"""NESTED numbers of the pixels without a value."""


def cmb_alm(fields: int = 3) -> np.ndarray:
    """Coefficients of the CMB, uK_CMB."""
    return field(77, LMAX, -2.0, fields)


def foreground_alm(frequency_ghz: float, fields: int = 3) -> np.ndarray:
    """Coefficients of everything else at a frequency, uK_CMB, with a monopole."""
    ratio = frequency_ghz / 100
    dust, synchrotron = (field(seed, LMAX, -3.0, fields) for seed in (1, 2))
    sky = 0.3 * ratio**DUST * dust + 0.3 * ratio**SYNCHROTRON * synchrotron
    sky[0, 0] = 50.0
    return sky


def write_planck_files(
    root: Path, planck: Instrument, names: dict[str, str], *, holes: bool, noise_uk: float = 0.0
) -> Path:
    """Write the channels and the NILC map where the pipeline `assets` puts them.

    Parameters
    ----------
    root
        Folder of the assets.
    planck
        Planck, with its true beams.
    names
        By channel, the name of its file.
    holes
        Whether pixels without a value are in the channels.
    noise_uk
        Standard deviation of white noise in each pixel of the channels, uK_CMB.
    """
    for channel in planck:
        fields = len(channel.stokes)
        sky = (cmb_alm() + foreground_alm(channel.frequency_ghz))[:fields]
        noise = np.random.default_rng(channel.nominal_ghz).normal(0, noise_uk * 1e-6, (fields, 12 * NSIDE**2))
        maps = (_as_measured(sky, channel.fwhm_arcmin) + noise) * RESPONSE.get(channel.name, 1.0)
        if holes:
            maps[:, list(HOLES)] = UNSEEN
        columns = LFI if channel.nominal_ghz < 100 else HFI
        unit = "MJy/sr" if channel.name in RESPONSE else ("K_CMB" if channel.nominal_ghz < 100 else "Kcmb")
        further = np.ones((7, maps.shape[1])) if fields == 3 else np.ones((2, maps.shape[1]))
        chosen = columns if fields == 3 else (columns[0], columns[3], columns[4])
        units = [unit] * fields + [""] + [f"({unit})^2"] * (len(further) - 1)
        _write(root / "planck/maps" / names[channel.name], np.concatenate([maps, further]), chosen, units)
    nilc = _as_measured(cmb_alm(), 5.0)
    masks = np.tile(_kept(), (2, 1))
    columns = ("I_STOKES", "Q_STOKES", "U_STOKES", "TMASK", "PMASK")
    path = root / "planck/nilc/COM_CMB_IQU-nilc_2048_R3.00_full.fits"
    _write(path, np.concatenate([nilc, masks]), columns, ["K_CMB"] * 3 + ["none"] * 2)
    return root


def _as_measured(alm: np.ndarray, fwhm_arcmin: float) -> np.ndarray:
    """Averages over pixels in NESTED order, K_CMB."""
    window = beam_window(fwhm_arcmin * ARCMIN, LMAX) * pixel_window(NSIDE, LMAX)
    return hp.reorder(alm_to_map(filter_alm(alm, window), NSIDE), r2n=True) * 1e-6


def _kept() -> np.ndarray:
    """1 where the sky is kept, in NESTED order."""
    _, latitude = hp.pix2ang(NSIDE, np.arange(12 * NSIDE**2), nest=True, lonlat=True)
    return np.where(np.abs(latitude) > 15, 1.0, 0.0)


def _write(path: Path, values: np.ndarray, columns: tuple[str, ...], units: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cards = [("POLCCONV", "COSMO"), ("BAD_DATA", UNSEEN), ("TELESCOP", "PLANCK")]
    options = {"nest": True, "coord": "G", "dtype": np.float32, "extra_header": cards}
    hp.write_map(path, values, column_names=list(columns), column_units=units, **options)
