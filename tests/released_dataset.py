"""Make a small dataset in the exact format in which CMB-ML releases its own.

Folders, file names, columns, units and types are those of the released tree: maps
by healpy, RING, intensity or I, Q, U; a true CMB without a beam; beside them what a
release holds as well and nobody needs here.
"""

from pathlib import Path

import healpy as hp
import numpy as np

from cmbml.science.harmonics import alm_size, alm_to_map, filter_alm
from cmbml.science.instrument import Instrument

COLUMNS = ("I_STOKES", "Q_STOKES", "U_STOKES")
SPLITS = {"train": "Train", "valid": "Valid", "test": "Test"}
DUST, SYNCHROTRON = 1.59, -3.0
"""Spectral indices in brightness temperature; enough for foregrounds that differ by channel."""


def field(seed: int, lmax: int, slope: float, fields: int) -> np.ndarray:
    """Coefficients (fields, nalm) of a Gaussian sky with C_l like l^slope from l = 2 on."""
    rng = np.random.default_rng(seed)
    alm = rng.standard_normal((fields, alm_size(lmax), 2)).view(np.complex128)[..., 0]
    alm[:, : lmax + 1].imag = 0
    ell = np.arange(lmax + 1)
    window = np.where(ell > 1, np.maximum(ell, 1.0) ** (slope / 2), 0)
    return filter_alm(alm, window) * np.array([[100.0], [8.0], [4.0]])[:fields]


def true_cmb(number: int, nside: int, fields: int) -> np.ndarray:
    """Coefficients of a simulation's CMB, up to the highest multipole that its pixels hold."""
    return field(1000 + number, 3 * nside - 1, -2.0, fields)


def observed(number: int, instrument: Instrument, nside: int, fields: int) -> dict[str, np.ndarray]:
    """Maps by channel: beam * (CMB + two foregrounds) + noise."""
    lmax = 3 * nside - 1
    cmb = true_cmb(number, nside, fields)
    dust, synchrotron = (field(seed, lmax, -3.0, fields) for seed in (1, 2))  # the same in every simulation
    rng = np.random.default_rng(number)
    maps = {}
    for channel in instrument:
        ratio = channel.frequency_ghz / 100
        sky = cmb + 0.3 * ratio**DUST * dust + 0.3 * ratio**SYNCHROTRON * synchrotron
        sky = sky[: fields if channel.stokes == "IQU" else 1]
        signal = alm_to_map(filter_alm(sky, channel.beam_window(lmax)), nside)
        maps[channel.name] = signal + rng.normal(0, 1.0, signal.shape)
    return maps


def write_map(path: Path, values: np.ndarray, *, dtype: type, **options: object) -> None:
    rows = values if len(values) > 1 else values[0]
    hp.write_map(path, rows, dtype=dtype, overwrite=True, column_units="uK_CMB", **options)


def write_released_dataset(
    root: Path,
    instrument: Instrument,
    *,
    nside: int,
    simulations: dict[str, int],
    fields: int = 1,
    folder: str = "Simulation",
    truth: str = "cmb_map_fid.fits",
) -> Path:
    """Write a dataset.

    Parameters
    ----------
    root
        Its folder.
    instrument
        The channels, with the beams that the maps shall have.
    nside
        Resolution.
    simulations
        By split, how many.
    fields
        1 for intensity, 3 for I, Q, U.
    folder
        "Simulation" or "Simulations": both spellings exist.
    truth
        File name of the true CMB.
    """
    for split, count in simulations.items():
        for number in range(count):
            place = root / folder / SPLITS[split] / f"sim{number:04d}"
            place.mkdir(parents=True)
            key = number + 100 * list(SPLITS).index(split)
            for name, values in observed(key, instrument, nside, fields).items():
                dtype = np.float64 if name in ("30", "857") else np.float32  # both occur
                columns = list(COLUMNS[: len(values)])
                write_map(place / f"obs_{name}_map.fits", values, dtype=dtype, column_names=columns)
            cmb = alm_to_map(true_cmb(key, nside, fields), nside)
            write_map(place / truth, cmb, dtype=np.float32)  # TEMPERATURE (Q_POLARISATION, ...)
            _write_by_products(root / f"{folder}_Working", SPLITS[split], f"sim{number:04d}")
    _write_cache(root / f"{folder}_Working", instrument, nside)
    (root / "Simulation_Mask").mkdir()
    hp.write_map(root / "Simulation_Mask" / "mask.fits", released_mask(nside), dtype=np.float32)
    return root


def released_mask(nside: int) -> np.ndarray:
    """1 where the sky is kept: away from the plane, and from one hole in the north."""
    longitude, latitude = hp.pix2ang(nside, np.arange(12 * nside**2), lonlat=True)
    hole = (np.abs(longitude - 90) < 15) & (latitude > 50)
    return np.where((np.abs(latitude) > 15) & ~hole, 1.0, 0.0)


def _write_by_products(working: Path, split: str, simulation: str) -> None:
    """Parameters and spectra, which no pipeline reads, and which must not be in its way."""
    configs = working / "Simulation_C_Configs" / split
    spectra = working / "Simulation_CMB_Power_Spectra" / split / simulation
    for place in (configs / simulation, spectra):
        place.mkdir(parents=True, exist_ok=True)
    (configs / "split_config.yaml").write_text("ps_fidu_fixed: false\nn_sims: 2\nwmap_chain_idcs: [262150]\n")
    (configs / simulation / "wmap_params.yaml").write_text("H0: 70.0\nns002: 0.97\nchain_idx: 262150\n")
    (spectra / "cmb_ps_fid.txt").write_text("#    L    TT    EE    BB    TE    PP    PT    PE\n")


def _write_cache(working: Path, instrument: Instrument, nside: int) -> None:
    cache = working / "Simulation_B_NoiseCache"
    cache.mkdir(parents=True, exist_ok=True)
    for channel in instrument:
        values = np.ones((1, 12 * nside**2))
        path = cache / f"{channel.name}_noise_sd_map.fits"
        write_map(path, values, dtype=np.float32, column_names=["I_STOKES"])
