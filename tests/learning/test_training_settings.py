import pytest
from pydantic import BaseModel, ValidationError

from cmbml.learning.settings import TrainingSettings
from cmbml.partitions import fingerprint_of
from tests.learning.small_trainings import SETTINGS, settings


class Method(BaseModel):
    training: TrainingSettings


HOW = {
    "accelerator": "gpu",
    "strategy": "ddp",
    "num_workers": 3,
    "checkpoint_every": 1,
    "checkpoint_also": (1, 3),
    "max_minutes": 5.0,
}


def test_every_setting_must_be_given():
    for name in SETTINGS:
        with pytest.raises(ValidationError, match="Field required"):
            TrainingSettings(**{key: value for key, value in SETTINGS.items() if key != name})


def test_how_the_work_is_done_is_all_that_a_recipe_leaves_out():
    assert set(HOW) == TrainingSettings.NOT_IN_RESULTS
    assert set(settings().recipe()) == set(SETTINGS) - set(HOW)


@pytest.mark.parametrize(("name", "value"), HOW.items())
def test_how_the_work_is_done_changes_no_fingerprint(name, value):
    one, other = settings(), settings(**{name: value})
    assert one != other
    assert fingerprint_of(one) == fingerprint_of(other)
    assert fingerprint_of(Method(training=one)) == fingerprint_of(Method(training=other))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 5),
        ("seed", 8),
        ("threads", 2),
        ("average", 0.9),
        ("optimiser", {"lr": 0.02}),
        ("optimiser", {"amsgrad": True}),
        ("devices", 3),
    ],
)
def test_what_determines_results_changes_the_fingerprint(name, value):
    changed = settings(**{name: value})
    assert fingerprint_of(settings()) != fingerprint_of(changed)
    assert fingerprint_of(Method(training=settings())) != fingerprint_of(Method(training=changed))


def test_trainings_from_before_amsgrad_are_those_without_it():
    before = {key: value for key, value in settings().recipe()["optimiser"].items() if key != "amsgrad"}
    assert settings().recipe()["optimiser"] == before
    assert settings(optimiser={"amsgrad": True}).recipe()["optimiser"] == {**before, "amsgrad": True}


def test_a_checkpoint_gets_all_settings_back():
    given = settings(max_minutes=3.5)
    assert TrainingSettings(**given.model_dump(mode="json")) == given


def test_kept_epochs_are_the_regular_ones_and_those_that_are_named():
    assert settings(epochs=7, checkpoint_every=3, checkpoint_also=(0, 1, 9)).kept_epochs() == {0, 1, 3, 6}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"huber_delta": 1.0}, "huber_delta 1.0: is given with loss huber, and only then; loss is l1"),
        ({"loss": "huber"}, "huber_delta None: is given with loss huber"),
        ({"devices": 2}, "batch_size 3: cannot be divided among 2 devices; take a multiple of 2"),
        ({"schedule": {"final_lr": 1.0}}, "schedule.final_lr 1.0: above optimiser.lr 0.01; the rate falls"),
        ({"schedule": {"final_lr": 0.0}}, "final_lr 0: an exponential never reaches 0"),
        ({"schedule": {"name": "one_cycle"}}, "warm_up 0: one_cycle begins with a rise"),
        (
            {"optimiser": {"name": "sgd", "amsgrad": True}},
            "amsgrad true: sgd keeps no squares of gradients; take adam or adamw, or false",
        ),
        ({"loss": "mae"}, "Input should be 'l1', 'l2', 'huber' or 'gaussian'"),
        ({"patience": 3}, "Extra inputs are not permitted"),
        ({"average": 1.0}, "Input should be less than 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValidationError, match=message):
        settings(**changes)
