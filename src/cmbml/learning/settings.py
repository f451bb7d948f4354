"""Settings of a training, checked before anything runs."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Share = Annotated[float, Field(ge=0, lt=1)]


def checkpoint_name(epoch: int) -> str:
    """Return the name under which the network after an epoch is kept."""
    return f"epoch_{epoch:04d}"


class Optimiser(BaseModel):
    """How weights follow their gradients.

    References
    ----------
    Kingma & Ba 2015, arXiv:1412.6980, algorithm 1 (Adam). Loshchilov & Hutter 2019, arXiv:1711.05101,
    algorithm 2 (AdamW). Reddi, Kale & Kumar 2018, arXiv:1904.09237, algorithm 2 (AMSGrad).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["adam", "adamw", "sgd"]
    """Algorithm: `adam`, `adamw` (weight decay apart from the gradient), or `sgd` (gradient descent with
    momentum)."""

    lr: PositiveFloat
    """Learning rate; where there is a schedule, its highest (exponential: its first)."""

    betas: tuple[Share, Share]
    """Decay of the mean of the gradient and of its square per step; `sgd` uses the first, as its momentum."""

    weight_decay: NonNegativeFloat
    """Pull of weights to zero per step and unit of learning rate; biases and norms are left alone."""

    amsgrad: bool
    """Whether steps are divided by the largest mean of the square so far, so that a rare large gradient is
    not forgotten; of `adam` and `adamw`."""

    @model_validator(mode="after")
    def _has_a_square(self) -> Self:
        if self.amsgrad and self.name == "sgd":
            raise ValueError("amsgrad true: sgd keeps no squares of gradients; take adam or adamw, or false")
        return self


class Schedule(BaseModel):
    """How the learning rate changes in the course of the training.

    References
    ----------
    Smith & Topin 2017, arXiv:1708.07120, section 2 (one cycle). Loshchilov & Hutter 2017, arXiv:1608.03983,
    equation 5 (cosine).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["constant", "exponential", "cosine", "one_cycle"]
    """Shape of the fall from `optimiser.lr` to `final_lr`: none, exponential, or half a cosine; `one_cycle`
    falls as cosine does, and rises to `optimiser.lr` by half a cosine from a 25th of it, where the others
    rise linearly."""

    final_lr: NonNegativeFloat
    """Learning rate at the end of the training; `constant` does not use it."""

    warm_up: Share
    """Share of the training in which the learning rate rises to `optimiser.lr`; 0 for no rise."""

    stepped: Literal["batch", "epoch"]
    """After what the learning rate changes."""

    @model_validator(mode="after")
    def _shape_is_possible(self) -> Self:
        if self.name == "exponential" and self.final_lr == 0:
            raise ValueError("final_lr 0: an exponential never reaches 0; take a positive rate, or cosine")
        if self.name == "one_cycle" and self.warm_up == 0:
            raise ValueError(
                "warm_up 0: one_cycle begins with a rise; give its share, such as 0.3, or take cosine"
            )
        return self


class EarlyStopping(BaseModel):
    """When a training ends because it no longer gets better."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patience: PositiveInt | None
    """Epochs without a better validation loss after which the training ends; null to train all epochs."""

    min_delta: NonNegativeFloat
    """By how much a loss must be lower to count as better."""


class NotFalling(BaseModel):
    """When a training is given up because it does not learn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    after_epochs: PositiveInt | None
    """Epochs after which the loss must have fallen; null to wait for ever."""

    share: PositiveFloat
    """Below which share of the loss of an output of zeros, which a network that has not learnt anything has
    too."""


class PartlyRecorded(BaseModel):
    """Settings of which some tell how the work is done, not what comes out: a recipe does not name those."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    NOT_IN_RESULTS: ClassVar[frozenset[str]] = frozenset()
    """The names of those."""

    @model_serializer(mode="wrap")
    def _leave_out_of_recipes(
        self, serialise: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Leave out of a recipe what does not determine results."""
        fields: dict[str, Any] = serialise(self)
        return self.results_of(fields) if info.context and info.context.get("recipe") else fields

    @classmethod
    def results_of(cls, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return of settings in JSON's types what determines results."""
        return {name: value for name, value in fields.items() if name not in cls.NOT_IN_RESULTS}


class TrainingSettings(PartlyRecorded):
    """How a network is trained."""

    NOT_IN_RESULTS: ClassVar[frozenset[str]] = frozenset(
        {"accelerator", "strategy", "num_workers", "checkpoint_every", "checkpoint_also", "max_minutes"}
    )
    """Settings that tell how the work is done, not what comes out: a recipe does not name them."""

    epochs: PositiveInt
    """How often every sky of the training split is used."""

    batch_size: PositiveInt
    """Skies per batch, of all devices together."""

    steps_per_batch: PositiveInt
    """Steps of the optimiser on each batch, one after the other."""

    loss: Literal["l1", "l2", "huber", "gaussian"]
    """What is made small: the absolute error, its square, the square up to `huber_delta` and linear beyond,
    or minus the log of a Gaussian likelihood (the network then returns as many fields again: the log of the
    variance)."""

    huber_delta: PositiveFloat | None
    """Error, in the target's scaled unit, at which `huber` becomes linear; null with another loss."""

    optimiser: Optimiser
    """How weights follow their gradients."""

    schedule: Schedule
    """How the learning rate changes."""

    gradient_clip: PositiveFloat | None
    """Largest norm of a gradient, to which a larger one is scaled down; null for no bound."""

    check_gradients: bool
    """Whether every gradient is checked to be finite; costs a wait for the device at every step."""

    average: Share | None
    """Decay per step of the moving average of weights that is validated and used; null to use the weights
    themselves."""

    precision: Literal["32", "64", "bf16-mixed"]
    """Arithmetic: single, double, or the layers in bfloat16 where that is safe and the weights in single."""

    channels_last: bool
    """Whether planes are kept with their channels last in memory, which is faster on most devices."""

    compile: bool
    """Whether the network is compiled by torch (takes a minute, needs a C++ compiler on a CPU)."""

    deterministic: bool
    """Whether algorithms whose result varies from run to run are refused."""

    seed: NonNegativeInt
    """Seed of the weights before training, of the order of skies, of dropout and of symmetries."""

    threads: PositiveInt
    """Threads on a CPU; fixed, because the last bits of results depend on them."""

    early_stopping: EarlyStopping
    """When the training ends before its last epoch."""

    stop_if_diverges: Annotated[float, Field(gt=1)] | None
    """How many times its lowest value the validation loss may reach before the training is given up; null for
    any."""

    stop_if_not_falling: NotFalling
    """When the training is given up because the network does not learn."""

    accelerator: Literal["auto", "cpu", "gpu"]
    """What computes: `auto` takes a GPU where there is one."""

    devices: PositiveInt
    """How many of them (processes on a CPU); the batch is divided among them."""

    strategy: Literal["ddp_spawn", "ddp"]
    """How several devices are used: processes made by this one, or (in a script of your own) by starting it
    again."""

    num_workers: NonNegativeInt
    """Processes that read skies; 0 reads them in the training process, which is best for small ones."""

    checkpoint_every: PositiveInt
    """Epochs between checkpoints that are kept; the best and the last one are kept in any case."""

    checkpoint_also: tuple[NonNegativeInt, ...]
    """Further epochs after which a checkpoint is kept; 0 is the untrained network."""

    max_minutes: PositiveFloat | None
    """Minutes after which to stop at the end of an epoch, to go on when started again; null for no limit."""

    @model_validator(mode="after")
    def _settings_fit_one_another(self) -> Self:
        if (self.loss == "huber") != (self.huber_delta is not None):
            raise ValueError(
                f"huber_delta {self.huber_delta}: is given with loss huber, and only then; loss is "
                f"{self.loss}"
            )
        if self.batch_size % self.devices:
            raise ValueError(
                f"batch_size {self.batch_size}: cannot be divided among {self.devices} devices; "
                f"take a multiple of {self.devices}"
            )
        if self.schedule.name != "constant" and self.schedule.final_lr > self.optimiser.lr:
            raise ValueError(
                f"schedule.final_lr {self.schedule.final_lr}: above optimiser.lr {self.optimiser.lr}; the "
                "rate falls"
            )
        return self

    @classmethod
    def results_of(cls, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return of settings in JSON's types, also of those of older checkpoints, what determines results.

        Settings that came later are left out where they ask for what was done before, so that trainings of
        that time stay what they are.
        """
        kept = super().results_of(fields)
        if not kept["optimiser"].get("amsgrad"):
            kept["optimiser"] = {name: v for name, v in kept["optimiser"].items() if name != "amsgrad"}
        return kept

    def recipe(self) -> dict[str, Any]:
        """Return what determines results, in JSON's types."""
        return self.model_dump(mode="json", context={"recipe": True})

    def kept_epochs(self) -> frozenset[int]:
        """Return the numbers of epochs after which a checkpoint is kept."""
        regular = range(self.checkpoint_every, self.epochs + 1, self.checkpoint_every)
        return frozenset({*regular, *(epoch for epoch in self.checkpoint_also if epoch <= self.epochs)})

    def kept_checkpoints(self) -> tuple[str, ...]:
        """Return the names of all checkpoints that a training to its last epoch keeps."""
        return ("best", "last", *map(checkpoint_name, sorted(self.kept_epochs())))


class PredictionSettings(BaseModel):
    """Which network cleans."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    checkpoint: str
    """"best" (by the validation loss), "last", or one that was kept, such as "epoch_0005"."""


class LearningSettings(BaseModel):
    """What a training is shown, beside the features and the targets themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symmetries: bool
    """Whether each sky is shown in another of the sphere's sixteen symmetries in every epoch."""

    masked_weight: Annotated[float, Field(ge=0, le=1)]
    """Weight in the loss of pixels that the mask leaves out; those that it keeps have 1."""
