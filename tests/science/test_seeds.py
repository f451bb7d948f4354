import hashlib

import numpy as np

from cmbml.science.seeds import generator_of, seed_of

KEY = ("test", "sim0003", "noise", "143")


def test_the_seed_is_the_hash_of_the_length_prefixed_words():
    digest = hashlib.sha256(b"2:424:test7:sim00035:noise3:143").hexdigest()
    assert seed_of(42, *KEY) == int(digest[:32], 16)


def test_the_same_key_gives_the_same_draws():
    assert np.array_equal(generator_of(1, *KEY).normal(size=8), generator_of(1, *KEY).normal(size=8))


def test_every_part_of_the_key_matters():
    seeds = {seed_of(1, *KEY), seed_of(2, *KEY)}
    seeds |= {seed_of(1, *KEY[:k], "other", *KEY[k + 1 :]) for k in range(len(KEY))}
    assert len(seeds) == 2 + len(KEY)


def test_the_borders_of_words_matter():
    keys = [("ab", "c"), ("a", "bc"), ("abc",), ("a", "b", "c"), ("abc", ""), ("", "abc"), ("2:ab", "c")]
    assert len({seed_of(1, *key) for key in keys}) == len(keys)


def test_the_border_between_seed_and_words_matters():
    assert seed_of(12, "3") != seed_of(1, "23")


def test_the_order_of_words_matters():
    assert seed_of(1, "train", "test") != seed_of(1, "test", "train")


def test_a_number_and_a_numpy_number_are_the_same_seed():
    assert seed_of(int(np.int64(7)), "a") == seed_of(np.int64(7), "a") == seed_of(7, "a")


def test_seeds_fill_128_bits():
    seeds = [seed_of(0, str(number)) for number in range(200)]
    assert max(seeds) < 2**128
    # 200 fair draws all below 1/2 of the range: probability 2^-200.
    assert max(seeds) > 2**127


def test_draws_of_different_skies_do_not_correlate():
    draws = np.stack([generator_of(0, f"sim{number:04d}").normal(size=4000) for number in range(8)])
    correlation = np.corrcoef(draws)[~np.eye(8, dtype=bool)]
    # 28 pairs with a standard deviation of 4000^-1/2 = 0.016: five of these.
    assert np.abs(correlation).max() < 0.08
