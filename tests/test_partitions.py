from dataclasses import dataclass

import numpy as np
import pytest
from pydantic import BaseModel

from cmbml.partitions import Known, Partition, check_origin, fingerprint_of, lift, load, made_from, plain


class Noise(BaseModel):
    level: float


@dataclass(frozen=True)
class Thing:
    name: str
    values: tuple[int, ...]


def add(number: int, offset: int, noise: Noise) -> float:
    return number + offset + noise.level


def lifted(level: float = 0.5, version: int = 1, offset: int = 10) -> dict[str, Partition]:
    return lift(
        add,
        version=version,
        partitioned={"number": {"sim0001": 1, "sim0000": 0}},
        shared={"offset": offset},
        parameters={"noise": Noise(level=level)},
    )


def test_lifting_computes_nothing_until_called():
    partitions = lifted()
    assert list(partitions) == ["sim0000", "sim0001"]
    assert [partition() for partition in partitions.values()] == [10.5, 11.5]


def test_equal_recipes_have_equal_fingerprints():
    assert lifted()["sim0000"].fingerprint == lifted()["sim0000"].fingerprint


@pytest.mark.parametrize("change", [{"level": 0.6}, {"version": 2}, {"offset": 11}])
def test_whatever_determines_the_result_changes_the_fingerprint(change):
    assert lifted(**change)["sim0000"].fingerprint != lifted()["sim0000"].fingerprint


def test_adding_simulations_changes_no_fingerprint_of_the_others():
    more = lift(
        add,
        version=1,
        partitioned={"number": {"sim0000": 0, "sim0001": 1, "sim0002": 2}},
        shared={"offset": 10},
        parameters={"noise": Noise(level=0.5)},
    )
    assert {name: more[name].fingerprint for name in lifted()} == {
        name: partition.fingerprint for name, partition in lifted().items()
    }


def test_a_partition_is_a_loader_of_the_next_one():
    first = lifted()
    second = lift(
        add,
        version=1,
        partitioned={"number": first},
        shared={"offset": 0},
        parameters={"noise": Noise(level=0)},
    )
    assert second["sim0001"]() == 11.5
    changed = lift(
        add,
        version=1,
        partitioned={"number": lifted(level=1)},
        shared={"offset": 0},
        parameters={"noise": Noise(level=0)},
    )
    assert changed["sim0001"].recipe["inputs"]["number"] != second["sim0001"].recipe["inputs"]["number"]


def test_inputs_with_different_simulations_are_refused():
    with pytest.raises(
        ValueError, match="inputs number and offset do not hold the same simulations.*sim0001"
    ):
        lift(add, version=1, partitioned={"number": {"sim0000": 0, "sim0001": 1}, "offset": {"sim0000": 0}})


def test_a_recipe_is_spelt_in_json_types():
    value = {"thing": Thing("a", (1, 2)), "noise": Noise(level=1), "scalar": np.float32(0.5), "none": None}
    assert plain(value) == {
        "thing": {"name": "a", "values": [1, 2]},
        "noise": {"level": 1.0},
        "scalar": 0.5,
        "none": None,
    }


def test_arrays_are_told_apart_by_content_type_and_shape():
    array = np.arange(6.0)
    others = [array + 1e-15, array.astype(np.float32), array.reshape(2, 3)]
    assert len({fingerprint_of(a) for a in [array, *others]}) == 4
    assert fingerprint_of(array[::1].copy()) == fingerprint_of(array)


def test_what_cannot_be_spelt_is_refused():
    with pytest.raises(TypeError, match="a set cannot be part of a fingerprint"):
        fingerprint_of({"a": {1, 2}})


def test_plain_values_load_as_themselves():
    assert load(3) == 3
    assert load(lifted()["sim0000"]) == 10.5


def test_small_shared_inputs_are_spelt_out_in_recipes():
    thing = Thing("a", (1, 2))
    made = lift(add, version=1, partitioned={"number": {"sim0000": 1}}, shared={"offset": thing})["sim0000"]
    assert made.recipe["inputs"]["offset"] == {"name": "a", "values": [1, 2]}
    assert made_from(made)["offset"] == fingerprint_of(thing)


def test_large_shared_inputs_are_known_by_their_fingerprint():
    array = np.arange(5000.0)
    made = lift(add, version=1, partitioned={"number": {"sim0000": 1}}, shared={"offset": array})["sim0000"]
    assert made.recipe["inputs"]["offset"] == fingerprint_of(array)


def test_partitions_made_from_another_thing_are_refused():
    made = lifted()
    check_origin(made, what="maps", remedy="make them anew", offset=10)
    with pytest.raises(
        ValueError, match="maps sim0000: made from another offset than the one at hand; make them anew"
    ):
        check_origin(made, what="maps", remedy="make them anew", offset=11)
    second = lift(
        add,
        version=1,
        partitioned={"number": made},
        shared={"offset": 0},
        parameters={"noise": Noise(level=0)},
    )
    check_origin(second, what="maps", remedy="", number=made)
    with pytest.raises(ValueError, match="made from another number"):
        check_origin(second, what="maps", remedy="", number=lifted(level=1))


def test_what_is_not_recorded_is_not_refused():
    check_origin({"sim0000": Known(1, "foreign")}, what="maps", remedy="", offset=3)


def test_numbers_that_are_none_equal_one_another():
    assert fingerprint_of({"a": float("nan")}) == fingerprint_of({"a": np.float32("nan")})


def listed(skies: dict[str, float], offset: float, directory: str = "") -> tuple[list[str], float, str]:
    return list(skies), sum(sky() for sky in skies.values()) + offset, directory


def split_partition(count: int, **changed: str) -> Partition:
    names = {f"sim{n:04d}": f"fingerprint {n}" for n in range(count)} | changed
    skies = {name: Known(1.0, mark) for name, mark in names.items()}
    return Partition(id="a", function=listed, version=1, inputs={"skies": skies}, parameters={"offset": 2})


def test_a_whole_split_is_handed_over_as_loaders():
    assert split_partition(2)()[:2] == (["sim0000", "sim0001"], 4.0)


def test_a_recipe_tells_a_whole_split_by_its_number_and_one_fingerprint():
    recipe = split_partition(800).recipe
    assert recipe["inputs"]["skies"]["count"] == 800
    assert list(recipe["inputs"]["skies"]) == ["count", "fingerprint"]
    made = [split_partition(800), split_partition(801), split_partition(800, sim0799="another")]
    assert len({partition.fingerprint for partition in made}) == 3
    assert split_partition(2).recipe["inputs"]["skies"] == {
        "sim0000": "fingerprint 0",
        "sim0001": "fingerprint 1",
    }


def test_where_a_partition_works_is_handed_over_and_is_no_part_of_its_recipe():
    made = split_partition(1)
    assert made(directory="there")[2] == "there"
    assert "directory" not in made.recipe["parameters"]
