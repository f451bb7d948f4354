"""Write Markov chains in the format of the WMAP team's: a file per parameter, rows `index value`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cmbml.pipelines.simulation.cosmology import TABLES

TABLE = TABLES["wmap9"]
FILES = {"ombh2": "omegabh2", "omch2": "omegach2", "H0": "H0", "tau": "tau", "As": "a002", "ns": "ns002"}
"""By CAMB's name, the name of the file."""


def write_chain(
    folder: Path,
    values: Mapping[str, np.ndarray],
    *,
    ragged: bool = False,
    header: str = "",
    first: int = 1,
) -> Path:
    """Write rows of one width, as published, or as wide as their numbers happen to be."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, column in values.items():
        rows = (
            f"{index} {value!r}\n" if ragged else f"{index:<8d}{value:.18f}\n"
            for index, value in enumerate(map(float, column), start=first)
        )
        (folder / name).write_text(header + "".join(rows))
    (folder / "description.txt").write_text("What the files hold.\n")
    return folder


def wmap_like(length: int, *, mnu: bool = False) -> dict[str, np.ndarray]:
    """Return a chain with the means and covariance of nine-year WMAP, in the chains' units."""
    rng = np.random.default_rng(5)
    drawn = rng.multivariate_normal(np.zeros(6), np.array(TABLE.correlation), size=length)
    drawn = np.array(TABLE.mean) + drawn * np.array(TABLE.sigma)
    columns = dict(zip((FILES[name] for name in TABLE.names), drawn.T, strict=True))
    columns["a002"] = columns["a002"] * 1e9
    return columns | ({"mnu": np.abs(rng.normal(0, 0.5, length))} if mnu else {})
