"""The cosmology of one simulation: drawn from a table or a chain, set, or none at all."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cmbml.pipelines.simulation.cosmology import (
    DRAWS,
    draw_cosmology,
    mean_cosmology,
    parameter_table,
    unphysical,
)
from cmbml.pipelines.simulation.cosmology_settings import SplitCosmology
from cmbml.science.chains import Chain
from cmbml.science.seeds import generator_of

CHAIN_NAMES: Mapping[str, tuple[str, float]] = {
    "omegabh2": ("ombh2", 1.0),
    "omegach2": ("omch2", 1.0),
    "H0": ("H0", 1.0),
    "tau": ("tau", 1.0),
    "a002": ("As", 1e-9),
    "ns002": ("ns", 1.0),
    "mnu": ("mnu", 1.0),
}
"""By the name of a WMAP chain's file: CAMB's name, and the chain's unit in CAMB's."""

CHAIN_PIVOT = 0.002
"""Wavenumber in 1/Mpc at which the chains have their amplitude and tilt: Hinshaw et al. 2013, Table 1."""

CHAIN_MNU = 0.0
"""Neutrino mass in eV of chains without that parameter: the WMAP team's basic model."""


def cosmology_record(
    seeds: Mapping[str, Any], choice: SplitCosmology, chain: Chain | None = None
) -> dict[str, Any]:
    """Return the cosmology of one simulation, and where it comes from.

    Parameters
    ----------
    seeds
        Seeds of the simulation.
    choice
        What its split is set to.
    chain
        The chain, where the choice is one.

    Returns
    -------
    dict
        "source" (table, chain, fixed or given); unless given, "parameters" by CAMB's names; where drawn,
        "seed"; where from a table, "table"; where from a chain, "chain" and "row", the index that the
        chain itself gives the row.
    """
    if not choice.has_parameters:
        return {"source": "given"}
    if choice.parameters is not None:
        return {"source": "fixed", "parameters": choice.parameters.model_dump()}
    if choice.table is not None and not choice.vary:
        table = parameter_table(choice.table)
        return {"source": "table", "table": choice.table, "parameters": mean_cosmology(table)}
    seed = seeds["split_cosmology" if choice.one_per_split else "cosmology"]
    rng = generator_of(int(seed))
    if choice.table is not None:
        drawn = draw_cosmology(parameter_table(choice.table), rng, correlated=bool(choice.correlated))
        return {"source": "table", "table": choice.table, "parameters": drawn, "seed": seed}
    if chain is None:
        raise ValueError(f"cosmology: no chain {choice.chain} to draw from; give the node its catalog entry")
    index, parameters = draw_from_chain(chain, rng)
    return {
        "source": "chain",
        "chain": choice.chain,
        "row": index,
        "parameters": parameters,
        "seed": seed,
    }


def draw_from_chain(chain: Chain, rng: np.random.Generator) -> tuple[int, dict[str, float]]:
    """Return index and cosmology of one row, every row equally likely.

    All parameters come from the same row, which keeps their correlations. A row outside `PHYSICAL_RANGES`
    is drawn again.

    Parameters
    ----------
    chain
        A chain with the parameters of `CHAIN_NAMES`; mnu may be missing.
    rng
        Generator that belongs to this simulation's cosmology.

    Raises
    ------
    ValueError
        If 1000 rows are unphysical, or the chain lacks a parameter or has another.
    """
    outside: list[str] = []
    for _ in range(DRAWS):
        row = chain.row(int(rng.integers(chain.length)))
        parameters = chain_cosmology(row.values)
        outside = unphysical(parameters)
        if not outside:
            return row.index, parameters
    raise ValueError(f"chain: none of {DRAWS} rows was physical, the last has {', '.join(outside)}")


def chain_cosmology(values: Mapping[str, float]) -> dict[str, float]:
    """Return a row of a chain as a cosmology by CAMB's names.

    Raises
    ------
    ValueError
        If a parameter is missing, or there is another.
    """
    missing = sorted(set(CHAIN_NAMES) - {"mnu"} - set(values))
    unknown = sorted(set(values) - set(CHAIN_NAMES))
    if missing or unknown:
        raise ValueError(
            f"chain: missing {', '.join(missing) or 'nothing'}, unknown {', '.join(unknown) or 'nothing'}; "
            f"the catalog entry must name {', '.join(CHAIN_NAMES)}, mnu only where it is a parameter"
        )
    converted = {CHAIN_NAMES[name][0]: value * CHAIN_NAMES[name][1] for name, value in values.items()}
    return {"mnu": CHAIN_MNU, "pivot_scalar": CHAIN_PIVOT} | converted
