"""Recipes of the network of Petroff et al., and the changes of them that `why_petroff_failed.py` tries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from cmbml.learning.settings import LearningSettings, TrainingSettings
from cmbml.learning.transform_settings import ScalingSettings
from cmbml.pipelines.petroff.settings import NetworkSettings, Petroff

MODELS: dict[str, type[BaseModel]] = {
    "petroff": Petroff,
    "petroff_scaling": ScalingSettings,
    "petroff_network": NetworkSettings,
    "petroff_learning": LearningSettings,
    "petroff_training": TrainingSettings,
}
"""What a training depends on, by group of parameters."""

Groups = dict[str, dict[str, Any]]

PUBLISHED: Groups = {
    "petroff": {"inputs": "maps"},
    "petroff_scaling": {
        "features": [{"kind": "max_abs", "low": -1.0, "high": 1.0}],
        "target": [{"kind": "max_abs", "low": 0.0, "high": 1.0}],
    },
    "petroff_network": {
        "kind": "published",
        "initial_dropout": 0.1,
        "prior_skies": "train",
        "compress": False,
    },
    "petroff_learning": {"symmetries": False, "masked_weight": 1.0},
    "petroff_training": {
        "batch_size": 1,
        "optimiser": {"lr": 0.001},
        "schedule": {"name": "constant", "warm_up": 0.0},
        "gradient_clip": None,
    },
}
"""What the published recipe changes of the default, but for the number of epochs."""

LEARNS: Groups = {
    **PUBLISHED,
    "petroff_scaling": {
        "features": [{"kind": "standardise", "centre": True, "robust": False}],
        "target": [{"kind": "standardise", "centre": False, "robust": True}],
    },
    "petroff_network": {"kind": "published", "compress": False},
    "petroff_learning": {"symmetries": True, "masked_weight": 1.0},
    "petroff_training": {"batch_size": 1},
}
"""The published network, inputs and loss, with what makes it learn within minutes: maps divided by their
standard deviations, and dropout and training of the default."""

RECIPES: dict[str, Groups] = {"published": PUBLISHED, "learns": LEARNS, "default": {}}

UNCONVERTED = "unconverted"
"""Stands for the conversion of 545 and 857 GHz to MJy/sr, the unit of Planck's files."""

ONE_SCALE = "one_scale"
"""Stands for the division of all features by the largest absolute value of all of them."""

ZERO_TO_ONE = {"low": 0.0, "high": 1.0}
PORT: Groups = {
    "petroff": {"inputs_fwhm_arcmin": "native"},
    "petroff_scaling": {key: [{"kind": "max_abs", **ZERO_TO_ONE}] for key in ("features", "target")},
    "petroff_network": {"depth": 3, "pooling": "mean", "output": "elu", "initial_dropout": 0.0},
    "petroff_training": {"loss": "l2", "optimiser": {"amsgrad": False}},
}
"""The port of 2024 with all its changes at once: a single output, and nside 2 as the lowest resolution."""

CHANGES: dict[str, tuple[str, Groups]] = {
    "none": ("nothing", {}),
    "elu": ("ELU on the output", {"petroff_network": {"output": "elu"}}),
    "mean_pool": ("mean instead of max-pooling", {"petroff_network": {"pooling": "mean"}}),
    "plain": (
        "no dropout, mean square loss",
        {"petroff_network": {"initial_dropout": 0.0}, "petroff_training": {"loss": "l2"}},
    ),
    "native": ("channels at their own beams", {"petroff": {"inputs_fwhm_arcmin": "native"}}),
    "max_abs": ("max-abs scaling, as published", {"petroff_scaling": PUBLISHED["petroff_scaling"]}),
    "min_max": (
        "min-max scaling to 0 and 1",
        {"petroff_scaling": {key: [{"kind": "min_max", **ZERO_TO_ONE}] for key in ("features", "target")}},
    ),
    "unscaled": ("features not scaled, uK_CMB", {"petroff_scaling": {"features": []}}),
    "unscaled_units": (
        "features not scaled, 545 and 857 in MJy/sr",
        {"petroff_scaling": {"features": [UNCONVERTED]}},
    ),
    "one_scale": ("one scale for all channels, uK_CMB", {"petroff_scaling": {"features": [ONE_SCALE]}}),
    "one_scale_units": (
        "one scale for all channels, 545 and 857 in MJy/sr",
        {"petroff_scaling": {"features": [UNCONVERTED, ONE_SCALE]}},
    ),
    "port": ("all changes of the port of 2024", PORT),
}
"""Of each change, what the table calls it, and the parameters it changes in a recipe."""


def changes_of(recipe: str) -> tuple[str, ...]:
    """Return the changes that are tried on a recipe."""
    if recipe == "default":
        return ("none",)
    return tuple(name for name in CHANGES if recipe == "learns" or name != "max_abs")


@dataclass(frozen=True)
class Training:
    """Which training a row is of.

    Parameters
    ----------
    recipe, change
        Keys of `RECIPES` and `CHANGES`.
    seed
        Of weights, order of skies and dropout.
    epochs
        How often each sky is shown.
    """

    recipe: str
    change: str
    seed: int
    epochs: int

    def groups(
        self, default: Mapping[str, Any], spelled_out: Callable[[list[Any]], list[Any]]
    ) -> dict[str, BaseModel]:
        """Return all settings of the training by group.

        Parameters
        ----------
        default
            Parameters of the project, by group.
        spelled_out
            Returns transforms with `UNCONVERTED` and `ONE_SCALE` in numbers.
        """
        run = {
            "petroff_training": {"seed": self.seed, "epochs": self.epochs, "checkpoint_every": self.epochs}
        }
        plain: dict[str, Any] = {name: default[name] for name in MODELS}
        for changed in (RECIPES[self.recipe], CHANGES[self.change][1], run):
            plain = merged(plain, changed)
        scaling = plain["petroff_scaling"]
        plain["petroff_scaling"] = {**scaling, "features": spelled_out(scaling["features"])}
        return {name: model.model_validate(plain[name]) for name, model in MODELS.items()}


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters with others in their place, group by group."""
    both = {
        name: merged(old.get(name, {}), value) if isinstance(value, dict) else value
        for name, value in new.items()
    }
    return {**old, **both}
