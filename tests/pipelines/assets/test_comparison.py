import numpy as np
import pytest

from cmbml.pipelines.assets.comparison import ColumnDifference, compare_cards, compare_columns


def test_a_table_agrees_with_itself_also_where_nothing_was_observed():
    column = np.array([1.0, np.nan, np.inf, -1.6375e30], dtype=np.float32)
    assert compare_columns([({"I": column}, {"I": column.copy()})]) == {"I": ColumnDifference(4, 0, 0.0)}


def test_differences_are_counted_and_the_largest_kept_over_all_pieces():
    one, other = np.zeros(8), np.array([0, 0, -3.0, 0, 0.5, 0, 0, 0])
    pieces = [({"I": one[i : i + 2]}, {"I": other[i : i + 2]}) for i in range(0, 8, 2)]
    assert compare_columns(pieces) == {"I": ColumnDifference(8, 2, 3.0)}


def test_it_does_not_matter_how_a_table_is_cut():
    rng = np.random.default_rng(2)
    one, other = rng.normal(size=100), rng.normal(size=100)
    whole = compare_columns([({"I": one}, {"I": other})])
    pieces = [({"I": one[i : i + 7]}, {"I": other[i : i + 7]}) for i in range(0, 100, 7)]
    assert compare_columns(pieces) == whole


def test_values_that_are_not_finite_in_one_copy_differ_and_have_no_size():
    one, other = np.array([np.nan, 1.0, np.inf]), np.array([1.0, 1.0, 2.0])
    assert compare_columns([({"I": one}, {"I": other})]) == {"I": ColumnDifference(3, 2, 0.0)}


def test_counts_of_hits_are_compared_without_overflow():
    one, other = np.array([2**31 - 1], dtype=np.int32), np.array([-(2**31)], dtype=np.int32)
    assert compare_columns([({"HITS": one}, {"HITS": other})])["HITS"].largest == 2**32 - 1


def test_texts_are_compared_but_have_no_size():
    found = compare_columns([({"name": np.array(["a", "b"])}, {"name": np.array(["a", "c"])})])["name"]
    assert (found.count, found.differing) == (2, 1)
    assert np.isnan(found.largest)


def test_tables_of_other_columns_are_not_compared():
    with pytest.raises(ValueError, match="columns I and I, Q: not the same"):
        compare_columns([({"I": np.zeros(2)}, {"I": np.zeros(2), "Q": np.zeros(2)})])


def test_columns_of_another_shape_are_not_compared():
    with pytest.raises(ValueError, match=r"column I: shapes \(2,\) and \(2, 4\) are not the same"):
        compare_columns([({"I": np.zeros(2)}, {"I": np.zeros((2, 4))})])


def test_cards_that_differ_are_found_on_both_sides():
    one, other = {"DATE": "2018", "NSIDE": "2048"}, {"NSIDE": "2048", "ORIGIN": "IRSA"}
    assert compare_cards(one, other) == {"DATE": ("2018", ""), "ORIGIN": ("", "IRSA")}
