"""Small files in the formats of what the published set-ups are made from, with invented numbers."""

from pathlib import Path

import healpy as hp
import numpy as np
from astropy.io import fits

from cmbml.science.masks import galactic_mask
from tests.pipelines.simulation.pysm_files import write_templates
from tests.wmap_chains import wmap_like, write_chain

PRESETS = ("d9", "s4", "f1", "a1", "cib1", "ksz1", "tsz1", "rg1")
NILC = "planck/nilc/COM_CMB_IQU-nilc_2048_R3.00_full.fits"
MAPS = {
    30: "LFI_SkyMap_030-BPassCorrected_1024_R3.00_full.fits",
    44: "LFI_SkyMap_044-BPassCorrected_1024_R3.00_full.fits",
    70: "LFI_SkyMap_070-BPassCorrected_1024_R3.00_full.fits",
    100: "HFI_SkyMap_100_2048_R3.01_full.fits",
    143: "HFI_SkyMap_143_2048_R3.01_full.fits",
    217: "HFI_SkyMap_217_2048_R3.01_full.fits",
    353: "HFI_SkyMap_353-psb_2048_R3.01_full.fits",
    545: "HFI_SkyMap_545_2048_R3.01_full.fits",
    857: "HFI_SkyMap_857_2048_R3.01_full.fits",
}
LFI_NSIDE, HFI_NSIDE = 32, 64
"""Instead of 1024 and 2048."""

_STOKES = ("I_STOKES", "Q_STOKES", "U_STOKES")
_COVARIANCES = ("II_COV", "IQ_COV", "IU_COV", "QQ_COV", "QU_COV", "UU_COV")


def write_inputs(assets: Path) -> Path:
    """Write all inputs below the assets folder, and return the folder of PySM's templates."""
    rng = np.random.default_rng(3)
    for channel in MAPS:
        _write_channel(assets, channel, rng)
    _write_nilc(assets / NILC)
    write_chain(assets / "wmap_chains/mnu", wmap_like(500, mnu=True))
    for preset in PRESETS:
        write_templates(assets / "pysm", preset)
    return assets / "pysm"


def _write_channel(assets: Path, channel: int, rng: np.random.Generator) -> None:
    """Write the map of a channel with its variances, and three simulations of its noise."""
    npix = 12 * (LFI_NSIDE if channel < 100 else HFI_NSIDE) ** 2
    stokes, pairs = (_STOKES, _COVARIANCES) if channel < 500 else (_STOKES[:1], _COVARIANCES[:1])
    unit, level = ("K_CMB", 2e-5) if channel < 500 else ("MJy/sr", 2e-3)
    columns = {name: np.zeros(npix) for name in stokes} | {"HITS": np.ones(npix)}
    columns |= {pair: level**2 * (pair[0] == pair[1]) * rng.uniform(0.5, 2, npix) for pair in pairs}
    units = [unit] * len(stokes) + [""] + [f"({unit})^2"] * len(pairs)
    _write(assets / "planck/maps" / MAPS[channel], columns, units)
    for number in range(3):
        noise = {name: level * rng.normal(size=npix) for name in stokes}
        name = f"ffp10_noise_{channel:03}_full_map_mc_{number:05}.fits"
        _write(assets / "planck/noise" / str(channel) / name, noise, [unit] * len(stokes))


def _write_nilc(path: Path) -> None:
    sky = np.random.default_rng(0).normal(0, 1e-4, size=(3, 12 * HFI_NSIDE**2))
    columns = dict(zip(_STOKES, sky, strict=True))
    columns |= {"TMASK": galactic_mask(HFI_NSIDE, 15), "PMASK": galactic_mask(HFI_NSIDE, 25)}
    _write(path, columns, ["K_CMB"] * 3 + ["", ""])


def _write(path: Path, columns: dict[str, np.ndarray], units: list[str]) -> None:
    """Write NESTED maps, as Planck's are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column(name, "E", unit=unit or None, array=hp.reorder(values, r2n=True).astype(np.float32))
            for (name, values), unit in zip(columns.items(), units, strict=True)
        ]
    )
    nside = hp.npix2nside(len(next(iter(columns.values()))))
    table.header.update(
        {
            "ORDERING": "NESTED",
            "NSIDE": nside,
            "COORDSYS": "GALACTIC",
            "POLCCONV": "COSMO",
            "PIXTYPE": "HEALPIX",
        }
    )
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)
