"""Where the cosmology of a simulation comes from, and what is kept of that."""

import numpy as np
import pytest

from cmbml.datasets import DeferredDataset, WmapChainsDataset
from cmbml.pipelines.simulation import one_sky
from cmbml.pipelines.simulation.cosmology import PHYSICAL_RANGES, TABLES, check_cosmology, mean_cosmology
from cmbml.pipelines.simulation.cosmology_draws import chain_cosmology, draw_from_chain
from cmbml.pipelines.simulation.cosmology_settings import CosmologicalParameters, SplitCosmology
from cmbml.pipelines.simulation.nodes import assign_seeds, draw_cosmology
from cmbml.pipelines.simulation.settings import CosmologySettings, Simulations
from cmbml.science.chains import ChainRow
from cmbml.science.seeds import generator_of
from tests.wmap_chains import FILES, TABLE, wmap_like, write_chain

PARAMETERS = mean_cosmology(TABLES["planck2018"])
SETTINGS = {
    "source": "table",
    "table": "wmap9",
    "correlated": True,
    "vary": True,
    "chains": "lcdm",
    "parameters": PARAMETERS,
    "fixed": [],
    "one_per_split": [],
    "given_spectrum": [],
}
LENGTH = 3000


@pytest.fixture(scope="module")
def columns():
    return wmap_like(LENGTH, mnu=True)


@pytest.fixture(scope="module")
def chain(columns, tmp_path_factory):
    folder = write_chain(tmp_path_factory.mktemp("chains"), columns)
    return WmapChainsDataset(path=str(folder), parameters=list(columns)).load()


def seeds(simulation="sim0000", split="test"):
    return one_sky.seeds(simulation, split=split, seed=1)


def drawn(simulation="sim0000", split="test", chain=None, **settings):
    choice = CosmologySettings(**{**SETTINGS, **settings}).of_split(split)
    return one_sky.cosmology(seeds(simulation, split), choice=choice, chain=chain)


# ---- Chains -------------------------------------------------------------------------------


def test_a_row_becomes_a_cosmology_by_cambs_names_and_units():
    row = {"omegabh2": 0.0226, "omegach2": 0.114, "H0": 70.0, "tau": 0.089, "a002": 2.41, "ns002": 0.972}
    cosmology = check_cosmology(chain_cosmology(row))
    assert cosmology == {
        "ombh2": 0.0226,
        "omch2": 0.114,
        "H0": 70.0,
        "tau": 0.089,
        "As": pytest.approx(2.41e-9, rel=1e-15),
        "ns": 0.972,
        "pivot_scalar": 0.002,
        "mnu": 0.0,
    }
    assert chain_cosmology({**row, "mnu": 0.4})["mnu"] == 0.4


def test_draws_keep_the_correlations_of_the_chain(chain, columns):
    n = 1500
    draws = [draw_from_chain(chain, generator_of(1, str(i)))[1] for i in range(n)]
    scale = {"As": 1e9}
    ours = np.array([[draw[name] * scale.get(name, 1) for name in FILES] for draw in draws]).T
    theirs = np.array([columns[file] for file in FILES.values()])
    # four standard errors of a mean and of a correlation
    deviation = (ours.mean(axis=1) - theirs.mean(axis=1)) / theirs.std(axis=1)
    np.testing.assert_allclose(deviation, 0, atol=4 / n**0.5)
    np.testing.assert_allclose(np.corrcoef(ours), np.corrcoef(theirs), atol=4 / n**0.5)
    assert abs(np.corrcoef(theirs)).max(where=~np.eye(6, dtype=bool), initial=0) > 0.8


def test_all_parameters_are_of_the_row_that_is_recorded(chain, columns):
    record = drawn(chain=chain, source="chains", chains="mnu")
    assert (record["source"], record["chain"], record["seed"]) == ("chain", "mnu", seeds()["cosmology"])
    row = record["row"] - 1  # the files count from 1
    for name, file in FILES.items():
        expected = columns[file][row] * (1e-9 if name == "As" else 1)
        assert record["parameters"][name] == pytest.approx(expected, rel=1e-14)
    assert record["parameters"]["mnu"] == pytest.approx(columns["mnu"][row], rel=1e-14)


def test_rows_are_equally_likely_and_each_simulation_has_its_own(chain):
    rows = np.array([drawn(f"sim{i:04d}", chain=chain, source="chains")["row"] for i in range(500)])
    counts = np.histogram(rows, bins=5, range=(1, LENGTH + 1))[0]
    assert np.abs(counts - 100).max() < 4 * 80**0.5  # binomial
    assert len(set(rows.tolist())) > 400  # of 500 draws from 3000, about 460


def test_growing_a_split_leaves_its_cosmologies(columns, tmp_path):
    write_chain(tmp_path, columns)
    inner = {
        "type": "cmbml.datasets.WmapChainsDataset",
        "path": str(tmp_path),
        "parameters": list(columns),
    }
    chain = DeferredDataset(dataset=inner).load()
    settings = CosmologySettings(**{**SETTINGS, "source": "chains"})
    few, many = (
        draw_cosmology(assign_seeds(Simulations(seed=1, train=n, valid=1, test=1))[0], settings, chain, None)
        for n in (2, 6)
    )
    assert {name: few[name]() for name in few} == {name: many[name]() for name in few}
    assert len({record()["row"] for record in many.values()}) == 6
    assert {name: few[name].fingerprint for name in few} == {name: many[name].fingerprint for name in few}
    assert few["sim0000"].recipe["inputs"]["chain"] == chain.fingerprint


class Rows:
    """A chain in memory."""

    def __init__(self, *values):
        self.values, self.length = values, len(values)

    def row(self, number):
        return ChainRow(number, self.values[number])


def test_an_unphysical_row_is_drawn_again():
    good = {name: float(np.mean(column)) for name, column in wmap_like(10).items()}
    mixed = Rows(good, {**good, "tau": 0.001}, {**good, "H0": 120.0})
    assert {draw_from_chain(mixed, generator_of(i))[0] for i in range(30)} == {0}
    with pytest.raises(ValueError, match=r"chain: none of 1000 rows was physical, the last has tau 0.001"):
        draw_from_chain(Rows({**good, "tau": 0.001}), generator_of(0))


def test_a_chain_has_the_parameters_of_a_cosmology():
    good = {name: float(column[0]) for name, column in wmap_like(1).items()}
    with pytest.raises(ValueError, match="chain: missing tau, unknown sigma8; the catalog entry must name"):
        chain_cosmology({("sigma8" if name == "tau" else name): value for name, value in good.items()})


def test_without_its_chain_nothing_is_drawn():
    with pytest.raises(ValueError, match="cosmology: no chain lcdm to draw from"):
        drawn(source="chains")


# ---- Tables and fixed sets ------------------------------------------------------------------


def test_draws_of_today_stay():
    parameters = one_sky.cosmology(
        one_sky.seeds("sim0001", split="test", seed=8675309),
        choice=CosmologySettings(**SETTINGS).of_split("test"),
    )["parameters"]
    # as first published; a last bit may depend on the linear algebra library
    assert parameters["H0"] == pytest.approx(67.65257564932394, rel=1e-13)
    assert parameters["As"] == pytest.approx(2.4837718406776192e-09, rel=1e-13)


def test_independent_normals_have_the_errors_but_no_correlations():
    n = 2000
    records = [drawn(f"sim{i:04d}", correlated=False)["parameters"] for i in range(n)]
    draws = np.array([[record[name] for name in TABLE.names] for record in records]).T
    np.testing.assert_allclose(np.corrcoef(draws), np.eye(6), atol=4 / n**0.5)
    np.testing.assert_allclose(draws.std(axis=1) / TABLE.sigma, 1, atol=4 / (2 * n) ** 0.5)
    np.testing.assert_allclose((draws.mean(axis=1) - TABLE.mean) / TABLE.sigma, 0, atol=4 / n**0.5)


def test_a_mean_has_no_seed():
    record = drawn(vary=False)
    assert record == {"source": "table", "table": "wmap9", "parameters": mean_cosmology(TABLE)}


@pytest.mark.parametrize("options", [{"source": "fixed"}, {"fixed": ["test"]}])
def test_a_fixed_set_is_as_it_is_written(options):
    assert drawn(**options) == {"source": "fixed", "parameters": PARAMETERS}
    others = {drawn(split="train", **options)["source"]}
    assert others == ({"fixed"} if "source" in options else {"table"})


@pytest.mark.parametrize("source", ["table", "chains"])
def test_a_split_can_share_one_draw(source, chain):
    options = {"chain": chain, "source": source, "one_per_split": "valid+test"}
    first, second = (drawn(name, **options) for name in ("sim0000", "sim0001"))
    assert first == second
    assert first["seed"] == seeds()["split_cosmology"]
    assert drawn(split="valid", **options)["parameters"] != first["parameters"]
    assert drawn(split="train", **options) != drawn("sim0001", split="train", **options)


def test_a_split_with_a_given_spectrum_has_no_cosmology():
    assert drawn(given_spectrum="test") == {"source": "given"}


def test_settings_of_one_split_do_not_concern_another():
    plain = CosmologySettings(**SETTINGS)
    other = CosmologySettings(
        **{**SETTINGS, "given_spectrum": "test", "one_per_split": "valid", "chains": "mnu"}
    )
    assert plain.of_split("train") == other.of_split("train")
    assert [plain.of_split(split) == other.of_split(split) for split in ("valid", "test")] == [False, False]


def test_a_chain_is_an_input_only_where_it_is_drawn_from():
    seeds_of = assign_seeds(Simulations(seed=1, train=1, valid=1, test=1))
    absent = object()  # would fail if it were looked at
    table = draw_cosmology(seeds_of[0], CosmologySettings(**SETTINGS), absent, absent)
    assert set(table["sim0000"].recipe["inputs"]) == {"seeds"}
    assert check_cosmology(table["sim0000"]()["parameters"])


def test_fixed_parameters_are_checked():
    with pytest.raises(ValueError, match=r"unphysical tau 0.9 \(must lie between"):
        CosmologicalParameters(**{**PARAMETERS, "tau": 0.9})
    assert set(CosmologicalParameters.model_fields) == set(PHYSICAL_RANGES)
    assert SplitCosmology(parameters=PARAMETERS).has_parameters
    assert not SplitCosmology().has_parameters
