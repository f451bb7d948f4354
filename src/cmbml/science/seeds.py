"""Random generators that depend on what is drawn, never on when.

Every random number of the project comes from a generator keyed by
(seed, split, simulation, component, channel). Any one sky can so be remade
alone, bit for bit, and adding simulations changes none that exist.
"""

import hashlib

import numpy as np


def seed_of(seed: int, *key: str) -> int:
    """Return the seed that belongs to a key, as a 128-bit number.

    Parameters
    ----------
    seed
        The run's own seed.
    *key
        Words such as "test", "sim0003", "noise", "143". Their borders count:
        ("ab", "c") and ("a", "bc") give different seeds.

    Returns
    -------
    int
        The first 16 bytes of the SHA-256 of the length-prefixed words.
    """
    words = [str(int(seed)), *key]
    text = "".join(f"{len(word)}:{word}" for word in words)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def generator_of(seed: int, *key: str) -> np.random.Generator:
    """Return the random generator that belongs to a key, see `seed_of`."""
    return np.random.default_rng(seed_of(seed, *key))
