"""Small files in the formats of Planck's maps and noise simulations."""

from pathlib import Path

import healpy as hp
import numpy as np
import yaml
from astropy.io import fits

from tests.kedro_runs import ROOT
from tests.pipelines.simulation.noise_inputs import gaussian_maps

CHANNELS = {"30": 16, "143": 32, "545": 32}
"""Channels, with the native nside of LFI and HFI scaled down."""

PER_MICROKELVIN = {"30": 1e-6, "143": 1e-6, "545": 58.04e-6}
"""K_CMB, or MJy/sr by the response of the channel (Planck 2013 results IX, Table 6), per uK_CMB."""

SIGMA_UK = {"30": 300.0, "143": 40.0, "545": 5000.0}
"""Standard deviation of a native pixel in I; that of Q and U is twice it."""

COVARIANCES = ("II_COV", "IQ_COV", "IU_COV", "QQ_COV", "QU_COV", "UU_COV")


def is_polarised(channel: str) -> bool:
    return channel != "545"


def unit_of(channel: str) -> tuple[str, str]:
    return ("MJy/sr", "(MJy/sr)^2") if channel == "545" else ("K_CMB", "(K_CMB)^2")


def depth(nside: int) -> np.ndarray:
    """Relative standard deviation of pixels, NESTED: shallower in the south."""
    z = hp.pix2vec(nside, np.arange(12 * nside**2), nest=True)[2]
    return 1 - 0.4 * z


def write_table(path: Path, columns: dict[str, tuple[np.ndarray, str]], nside: int, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = fits.BinTableHDU.from_columns(
        [
            fits.Column(key, "E", unit, array=values.astype(np.float32))
            for key, (values, unit) in columns.items()
        ]
    )
    facts = {"PIXTYPE": "HEALPIX", "ORDERING": "NESTED", "NSIDE": nside, "INDXSCHM": "IMPLICIT"}
    facts |= {"COORDSYS": "GALACTIC", "POLCCONV": "COSMO", "EXTNAME": name}
    table.header.update(facts | {"FIRSTPIX": 0, "LASTPIX": 12 * nside**2 - 1, "BAD_DATA": -1.6375e30})
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)


def map_file(channel: str) -> str:
    catalog = yaml.safe_load((ROOT / "conf/base/catalog_planck.yml").read_text())
    return {str(key): name for key, name in catalog["planck_maps"]["files"].items()}[channel]


def write_map(folder: Path, channel: str) -> None:
    """A frequency map with its ten columns; three at 545 GHz."""
    nside = CHANNELS[channel]
    map_unit, variance_unit = unit_of(channel)
    factor = PER_MICROKELVIN[channel]
    stokes = ("I", "Q", "U") if is_polarised(channel) else ("I",)
    columns = {f"{field}_STOKES": (np.zeros(12 * nside**2), map_unit) for field in stokes}
    columns["HITS"] = (1 / depth(nside) ** 2, "none")
    intensity = (SIGMA_UK[channel] * factor * depth(nside)) ** 2
    for name, size in zip(COVARIANCES, (1, 0.1, 0.2, 4, 0.5, 4), strict=True):
        if is_polarised(channel) or name == "II_COV":
            columns[name] = (size * intensity, variance_unit)
    write_table(folder / "planck" / "maps" / map_file(channel), columns, nside, "FREQ-MAP")


def write_noise(folder: Path, channel: str, count: int) -> None:
    """Noise simulations: white, with a rise towards large scales in intensity."""
    nside = CHANNELS[channel]
    map_unit, _ = unit_of(channel)
    factor = PER_MICROKELVIN[channel]
    for number in range(count):
        rng = np.random.default_rng([number, int(channel)])
        fields = rng.standard_normal((3, 12 * nside**2)) * [[1], [2], [2]] * depth(nside)
        large_scales = 20 * np.where(np.arange(9) > 0, 4 * np.pi / (12 * nside**2), 0)[None]
        fields[0] += hp.reorder(gaussian_maps(1, large_scales, nside, seed=1000 + number)[0][0], r2n=True)
        names = ("I", "Q", "U") if is_polarised(channel) else ("I",)
        columns = {
            f"{field}_STOKES": (values * SIGMA_UK[channel] * factor, map_unit)
            for field, values in zip(names, fields, strict=False)
        }
        file = f"ffp10_noise_{int(channel):03}_full_map_mc_{number:05}.fits"
        write_table(folder / "planck" / "noise" / channel / file, columns, nside, "FREQ-MAP")
