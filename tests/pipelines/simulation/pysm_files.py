"""Small template files in PySM's formats, one set for every preset, with invented numbers."""

from pathlib import Path

import h5py
import healpy as hp
import numpy as np
from astropy.io import fits
from pysm3.models import InterpolatingComponent, WebSkyCIB, WebSkyRadioGalaxies
from pysm3.sky import PRESET_MODELS

NSIDE, LMAX = 4, 8


def write_templates(folder: Path, preset: str) -> None:
    """Write all files that a preset reads below a folder, as PYSM_LOCAL_DATA wants it."""
    config = PRESET_MODELS[preset]
    rng = np.random.default_rng(len(preset) + sum(map(ord, preset)))
    for part in [config] if "class" in config else config.values():
        for key, value in part.items():
            if isinstance(value, str) and "/" in value and not value.startswith("MJy"):
                _write(folder, key, value, part, rng)
        _write_unlisted(folder, part, rng)


def _write(folder: Path, key: str, name: str, part: dict, rng: np.random.Generator) -> None:
    layers = range(1, part.get("num_layers", 1) + 1)
    nsides = part.get("available_nside", [NSIDE])[:1]
    names = dict.fromkeys(name.format(nside=nside, layer=layer) for nside in nsides for layer in layers)
    for path in map(folder.joinpath, names):
        path.parent.mkdir(parents=True, exist_ok=True)
        if key == "path":
            for frequency in part["freqs"]:
                _map(folder / name.format(nside=nsides[0]) / f"{frequency:05.1f}.fits", _sky(rng), "uK_RJ")
        elif key == "emissivity":
            frequency = np.geomspace(0.1, 5000, 300)
            np.savetxt(path, np.stack([frequency, np.exp(-0.5 * np.log(frequency / 30) ** 2)], axis=1))
        elif key == "catalog_filename":
            _catalogue(path, rng)
        elif "_cl" in key:
            _spectrum(path, key)
        elif "alm" in key:
            _alm(path, key, rng)
        elif key == "galplane_fix":
            weight = (np.abs(hp.pix2ang(NSIDE, np.arange(12 * NSIDE**2))[0] - np.pi / 2) > 0.3).astype(float)
            _map(path, [*_sky(rng), weight], "uK_RJ")
        elif key == "galplane_fix_beta_Td":
            _map(path, [_field(rng, 1.5, 0.1), _field(rng, 20, 1)], "", "K")
        else:
            _listed_map(path, key, part, rng)


def _listed_map(path: Path, key: str, part: dict, rng: np.random.Generator) -> None:
    if "index" in key:
        _map(path, [_field(rng, 1.5 if "mbb" in key else -3.0, 0.1)], "")
    elif "temperature" in key:
        _map(path, [_field(rng, 20, 1)], "K")
    elif "peak" in key:
        _map(path, [_field(rng, 20, 1)], "GHz")
    elif "curvature" in key:
        _map(path, [_field(rng, -0.05, 0.01)], "")
    elif key == "template_name":
        _map(path, [_field(rng, 0, 1)], "uK_CMB")
    else:
        polarised = key == "map_layers" or (key == "map_I" and "map_Q" not in part and "unit_I" not in part)
        _map(path, _sky(rng) if polarised else [_field(rng, 10, 1)], part.get("unit_layers", "uK_RJ"))


def _write_unlisted(folder: Path, part: dict, rng: np.random.Generator) -> None:
    """Write the files whose names PySM's classes build themselves."""
    if part["class"] == "COLines":
        _map(folder / "co/HFI_CompMap_CO-Type1_512_R2.00_ring.fits", [_field(rng, 10, 1)] * 3, "K_CMB")
        _map(folder / "co/mcmoleCO_HGL_512.fits", [_field(rng, 1, 0.1)] * 3, "K_CMB")
        for name in ("psimap", "gmap"):
            _map(folder / f"co/{name}_dust90_512.fits", [_field(rng, 0.5, 0.1)], "")
    if part["class"] == "HensleyDraine2017":
        _grains(folder / "pysm_2")
        # columns 3 and 5 are temperature and its deviation, 6 and 8 the index and its deviation
        commander = [_field(rng, *numbers) for numbers in [(20, 1)] * 4 + [(0.5, 0)] * 2 + [(1.5, 0.1)] * 2]
        commander.append(_field(rng, 0.02, 0))
        _map(folder / "pysm_2/COM_CompMap_dust-commander_0256_R2.00.fits", commander, "K")
    if part["class"] in ("WebSkyCIB", "WebSkyRadioGalaxies"):
        model: InterpolatingComponent = {"WebSkyCIB": WebSkyCIB, "WebSkyRadioGalaxies": WebSkyRadioGalaxies}[
            part["class"]
        ](nside=NSIDE)
        for name in model.maps.values():
            _map(folder / name, [_field(rng, 1, 0.1)], "")


def _field(rng: np.random.Generator, mean: float, sd: float) -> np.ndarray:
    return (mean + sd * rng.standard_normal(12 * NSIDE**2)).astype(np.float32)


def _sky(rng: np.random.Generator) -> list[np.ndarray]:
    return [_field(rng, 10, 1), _field(rng, 0, 0.3), _field(rng, 0, 0.3)]


def _map(path: Path, columns: list[np.ndarray], *units: str) -> None:
    """Write a map; one unit for all columns, or one for each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    units = [unit or None for unit in (units if len(units) > 1 else units * len(columns))]
    hp.write_map(path, columns, column_units=units, dtype=np.float32, overwrite=True)


def _alm(path: Path, key: str, rng: np.random.Generator) -> None:
    """Large scales of the logarithm of the brightness, of an index or a temperature, and a modulation."""
    size = hp.Alm.getsize(LMAX)
    mean = {"largescale_alm_mbb_temperature": 20.0, "largescale_alm_mbb_index": 1.5, "largescale_alm": 3.0}
    count = 3 if key == "largescale_alm" else 1
    alm = 0.01 * (rng.standard_normal((count, size)) + 1j * rng.standard_normal((count, size)))
    alm[:, : LMAX + 1] = alm[:, : LMAX + 1].real
    alm[0, 0] = mean.get(key, 1.0 if "modulation" in key else 0.0) * np.sqrt(4 * np.pi)
    hp.write_alm(path, alm, overwrite=True)
    unit = {"largescale_alm": "uK_RJ", "largescale_alm_mbb_temperature": "K"}.get(key, "")
    _set_unit(path, unit)


def _spectrum(path: Path, key: str) -> None:
    ell = np.arange(200)
    spectrum = 1e-3 / (1 + ell) ** 2
    if key == "small_scale_cl":
        hp.write_cl(path, [spectrum] * 3 + [0 * spectrum], overwrite=True)
        _set_unit(path, "uK_RJ2")
    else:
        hp.write_cl(path, spectrum, overwrite=True)
        _set_unit(path, "K2" if "temperature" in key else "")


def _set_unit(path: Path, unit: str) -> None:
    """Name the unit where PySM looks for it, at the first column."""
    with fits.open(path, mode="update") as file:
        file[1].header["TUNIT1"] = unit


def _grains(folder: Path) -> None:
    """Emissivities of dust grains over wavelength (microns) and strength of the radiation field."""
    wavelength = np.geomspace(50, 40000, 60)
    strength = np.arange(-3.0, 5.01, 0.1)
    x = 14387.8 / wavelength[:, None] / (20 * 10 ** (strength / 6))  # h nu / k T
    emissivity = wavelength[:, None] ** -5.5 / np.expm1(x)
    for name, steepness in (("sil_fe00_2.0", 0.0), ("sil_fe05_2.0", 0.1), ("car_1.0", -0.1)):
        tilted = emissivity * wavelength[:, None] ** steepness
        columns = np.concatenate([wavelength[:, None], np.zeros((60, 2)), tilted, 0.1 * tilted], axis=1)
        np.savetxt(folder / f"{name}.dat", columns)


def _catalogue(path: Path, rng: np.random.Generator) -> None:
    """Sources whose flux is a polynomial of the logarithm of the frequency, highest power first."""
    with h5py.File(path, "w") as file:
        for name, values in (("theta", rng.uniform(0.1, 3, 20)), ("phi", rng.uniform(0, 6, 20))):
            file[name] = values
            file[name].attrs["units"] = np.bytes_("rad")
        for name, scale in (("logpolycoefflux", 1.0), ("logpolycoefpolflux", 0.05)):
            file[name] = scale * np.stack([rng.uniform(-0.1, -0.05, 20), rng.uniform(1, 2, 20)])
            file[name].attrs["units"] = np.bytes_("Jy")
