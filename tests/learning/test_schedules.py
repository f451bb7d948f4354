import numpy as np
import pytest

from cmbml.learning.schedules import learning_rate
from tests.learning.small_trainings import settings


def rates(*, batches: int = 5, epochs: int = 4, lr: float = 0.1, **schedule) -> np.ndarray:
    """Learning rate of every batch of a training."""
    given = settings(epochs=epochs, optimiser={"lr": lr}, schedule=schedule)
    return np.array(
        [
            learning_rate(given, epoch=epoch, batch=batch, batches=batches)
            for epoch in range(epochs)
            for batch in range(batches)
        ]
    )


@pytest.mark.parametrize("case", ["a", "b"])
def test_the_exponential_is_the_published_one(shared_file, case):
    with np.load(shared_file("reference/cmbnncs/learning_rate.npz")) as archive:
        first, last, epochs, batches, repeats = archive[f"{case}__params_lr0_lr1_epochs_batches_repeats"]
        published = archive[f"{case}__lr_used_per_optimiser_step"]
        after = archive[f"{case}__lr_after_last_batch"]
    made = rates(
        batches=int(batches), epochs=int(epochs), lr=float(first), name="exponential", final_lr=float(last)
    )
    np.testing.assert_allclose(np.repeat(made, int(repeats)), published, rtol=1e-12)
    end = settings(epochs=int(epochs), optimiser={"lr": float(first)}, schedule={"final_lr": float(last)})
    assert learning_rate(end, epoch=int(epochs), batch=0, batches=int(batches)) == pytest.approx(
        float(after), rel=1e-12
    )


def test_a_constant_rate_is_constant():
    assert set(rates(name="constant")) == {0.1}


def test_a_cosine_falls_by_half_at_half_way():
    made = rates(name="cosine", final_lr=0.0)
    assert made[0] == 0.1
    assert made[10] == pytest.approx(0.05)
    assert (np.diff(made) < 0).all()


def test_a_warm_up_rises_linearly_and_reaches_the_highest_rate():
    made = rates(name="constant", warm_up=0.25)
    np.testing.assert_allclose(made[:6], 0.1 * np.arange(1, 7) / 6)
    assert set(made[5:]) == {0.1}


def test_one_cycle_rises_from_a_25th_to_the_highest_rate_and_falls():
    made = rates(name="one_cycle", final_lr=1e-5, warm_up=0.5)
    assert made[0] == pytest.approx(0.1 / 25)
    assert made[5] == pytest.approx((0.1 / 25 + 0.1) / 2)
    assert made[10] == 0.1
    assert (np.diff(made[:11]) > 0).all()
    assert (np.diff(made[10:]) < 0).all()


@pytest.mark.parametrize("name", ["exponential", "cosine"])
def test_a_rate_stepped_by_epochs_stays_in_an_epoch_and_is_that_of_its_first_batch(name):
    by_epoch, by_batch = (rates(name=name, final_lr=1e-3, stepped=stepped) for stepped in ("epoch", "batch"))
    np.testing.assert_allclose(by_epoch.reshape(4, 5), np.repeat(by_batch[::5, None], 5, axis=1))
