import numpy as np
import pytest
import torch

from cmbml.learning.samples import EpochOrder, batches_of
from tests.learning.small_trainings import Skies, settings


def numbers(order: EpochOrder) -> list[int]:
    return [number for _, number in order]


def test_every_sky_is_read_once_per_epoch():
    assert sorted(numbers(EpochOrder(9, seed=3))) == list(range(9))


def test_the_order_is_a_function_of_seed_and_epoch():
    order, later = EpochOrder(9, seed=3), EpochOrder(9, seed=3, first_epoch=4)
    order.set_epoch(5)
    later.set_epoch(1)
    assert list(order) == list(later)
    assert {epoch for epoch, _ in order} == {5}
    order.set_epoch(6)
    assert numbers(order) != numbers(later)
    assert numbers(EpochOrder(9, seed=4, first_epoch=5)) != numbers(later)


def test_a_split_without_a_seed_has_one_order_and_one_epoch():
    order = EpochOrder(4, seed=None, first_epoch=2)
    order.set_epoch(3)
    assert list(order) == [(0, 0), (0, 1), (0, 2), (0, 3)]


@pytest.mark.parametrize("skies", [8, 7, 5])
def test_the_batches_of_several_devices_make_up_those_of_one(skies):
    size, world = 2, 2
    whole = numbers(EpochOrder(skies, seed=1))
    devices = [EpochOrder(skies, seed=1, rank=rank, world=world) for rank in range(world)]
    assert len({len(order) for order in devices}) == 1
    for batch in range(-(-skies // (size * world))):
        taken, everywhere = [], set()
        for order in devices:
            own = numbers(order)[batch * size : (batch + 1) * size]
            counted, total = order.counted(batch, size=size, skies=len(own))
            taken += [number for number, counts in zip(own, counted, strict=True) if counts]
            everywhere.add(total)
        assert sorted(taken) == sorted(whole[batch * 4 : (batch + 1) * 4])
        assert everywhere == {len(taken)}


@pytest.mark.parametrize("workers", [0, 2])
def test_skies_are_read_for_their_epoch_also_by_workers_that_outlive_one(workers):
    skies, order = Skies(5, jitter=1.0), EpochOrder(5, seed=2)
    loader = batches_of(skies, settings(num_workers=workers), order, pinned=False)
    for epoch in (0, 1):
        order.set_epoch(epoch)
        read = torch.cat([features for features, _, _ in loader])
        expected = Skies(5, jitter=1.0)
        expected.set_epoch(epoch)
        np.testing.assert_array_equal(read, torch.stack([expected[number][0] for _, number in order]))
