"""What can be fetched: file names, addresses and sizes.

Sizes of maps follow from their columns (4 bytes per pixel and column) and leave out
the headers, so that they are about right; archives are as their publishers state
them. Checksums are published only for CMB-ML's datasets.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from cmbml.remote_files import RemoteFile

GROUPS = (
    "planck_maps",
    "planck_nilc",
    "ffp10_noise",
    "wmap_chains",
    "planck_theory",
    "pysm_templates",
    "cmbml_dataset",
)

PLANCK_CHANNELS = ("30", "44", "70", "100", "143", "217", "353", "545", "857")

FFP10_SIMULATIONS = 300
"""Noise simulations that the Planck Legacy Archive has of each channel."""

CHAINS = {"lcdm": "wmap_lcdm_wmap9_chains_v5", "mnu": "wmap_lcdm_mnu_wmap9_chains_v5"}
"""Archives of the nine-year WMAP chains (Hinshaw et al. 2013) without and with neutrino mass."""

CHAIN_BYTES = {"lcdm": 784_000_000, "mnu": 382_000_000}

CHAIN_GROWTH = 4.0
"""Bytes of a chain per byte of its compressed archive, about, measured on drawn numbers in rows such as
`1       0.7168800E+02`, padded and compressed likewise."""

NILC = "COM_CMB_IQU-nilc_2048_R3.00_full.fits"
THEORY = "COM_PowerSpect_CMB-base-plikHM-TTTEEE-lowl-lowE-lensing-minimum-theory_R3.01.txt"

_PLA = "https://pla.esac.esa.int/pla/aio/product-action"
_IRSA = "https://irsa.ipac.caltech.edu/data/Planck/release_3"
ADDRESSES = {
    "planck_maps": {"irsa": f"{_IRSA}/all-sky-maps/maps/", "esa": f"{_PLA}?MAP.MAP_ID="},
    "planck_nilc": {
        "irsa": f"{_IRSA}/all-sky-maps/maps/component-maps/cmb/",
        "esa": f"{_PLA}?MAP.MAP_ID=",
    },
    "planck_theory": {
        "irsa": f"{_IRSA}/ancillary-data/cosmoparams/",
        "esa": f"{_PLA}?COSMOLOGY.FILE_ID=",
    },
    "ffp10_noise": {"esa": f"{_PLA}?SIMULATED_MAP.FILE_ID="},
    "wmap_chains": {"lambda": "https://lambda.gsfc.nasa.gov/data/map/dr5/dcp/chains/"},
}
"""By group and mirror, what stands before the name of a file; the first is used where a mirror has none."""

_PIXELS = {1024: 12 * 1024**2, 2048: 12 * 2048**2}


def address(group: str, name: str, *, path: str, mirror: str) -> str:
    """Return where a file of a group is.

    Parameters
    ----------
    group
        Its group.
    name
        Its name.
    path
        Its path in the assets folder.
    mirror
        Name of a mirror, or the address of a copy of the assets folder.
    """
    if "://" in mirror:
        return f"{mirror.rstrip('/')}/{path}"
    mirrors = ADDRESSES[group]
    return mirrors.get(mirror, next(iter(mirrors.values()))) + name


def planck_map_name(channel: str) -> str:
    """Return the name of the full-mission map of a channel: release 3, 353 GHz from its PSBs alone."""
    if is_lfi(channel):
        return f"LFI_SkyMap_{int(channel):03d}-BPassCorrected_1024_R3.00_full.fits"
    return f"HFI_SkyMap_{channel}{'-psb' if channel == '353' else ''}_2048_R3.01_full.fits"


def is_lfi(channel: str) -> bool:
    """Return whether a channel is one of the Low Frequency Instrument."""
    return int(channel) <= 70


def is_polarised(channel: str) -> bool:
    """Return whether a channel measures Q and U."""
    return int(channel) <= 353


def planck_maps(channels: Iterable[str], mirror: str) -> list[RemoteFile]:
    """Return the frequency maps of channels."""
    files = []
    for channel in channels:
        columns = (
            10 if is_polarised(channel) else 3
        )  # I, Q, U, hits and six covariances; or I, hits, variance
        size = 4 * columns * _PIXELS[1024 if is_lfi(channel) else 2048]
        files.append(_file("planck_maps", "planck/maps", planck_map_name(channel), size=size, mirror=mirror))
    return files


def planck_nilc(mirror: str) -> list[RemoteFile]:
    """Return the NILC map of the CMB, which holds its masks: I, Q, U, two masks, I, Q, U inpainted."""
    return [_file("planck_nilc", "planck/nilc", NILC, size=4 * 8 * _PIXELS[2048], mirror=mirror)]


def ffp10_noise(channels: Iterable[str], numbers: Sequence[int], mirror: str) -> list[RemoteFile]:
    """Return noise simulations of channels, by their numbers."""
    files = []
    for channel in channels:
        size = 4 * (3 if is_polarised(channel) else 1) * _PIXELS[1024 if is_lfi(channel) else 2048]
        for number in numbers:
            name = f"ffp10_noise_{int(channel):03d}_full_map_mc_{number:05d}.fits"
            files.append(_file("ffp10_noise", f"planck/noise/{channel}", name, size=size, mirror=mirror))
    return files


def wmap_chains(chains: Iterable[str], mirror: str) -> list[RemoteFile]:
    """Return the archives of chains, unpacked into one folder each, one file per parameter."""
    return [
        _file(
            "wmap_chains",
            "wmap_chains",
            f"{CHAINS[chain]}.tar.gz",
            size=CHAIN_BYTES[chain],
            mirror=mirror,
            unpack_to=f"wmap_chains/{chain}",
            strip=True,
            growth=CHAIN_GROWTH,
        )
        for chain in chains
    ]


def planck_theory(mirror: str) -> list[RemoteFile]:
    """Return the best-fit theory spectra of Planck 2018."""
    return [_file("planck_theory", "planck/theory", THEORY, size=None, mirror=mirror)]


def copies(name: str, mirrors: Iterable[str]) -> list[RemoteFile]:
    """Return one Planck map as each mirror has it.

    Parameters
    ----------
    name
        A channel, or "nilc".
    mirrors
        Names of mirrors, or addresses of copies of the assets folder.

    Raises
    ------
    ValueError
        If there is no such map.
    """
    if name != "nilc" and name not in PLANCK_CHANNELS:
        raise ValueError(f"map {name!r}: must be nilc or a channel: {', '.join(PLANCK_CHANNELS)}")
    return [(planck_nilc(mirror) if name == "nilc" else planck_maps([name], mirror))[0] for mirror in mirrors]


def _file(
    group: str, folder: str, name: str, *, size: int | None, mirror: str, **unpacked: Any
) -> RemoteFile:
    path = f"{folder}/{name}"
    return RemoteFile(path, address(group, name, path=path, mirror=mirror), group, size=size, **unpacked)
