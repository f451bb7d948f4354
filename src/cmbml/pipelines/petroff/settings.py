"""Settings of the spherical network, checked before anything runs."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from cmbml.learning.settings import PartlyRecorded, PredictionSettings
from cmbml.pipelines.petroff.resolutions import check_depth
from cmbml.science.pixels import check_band_limit, check_nside

Probability = Annotated[float, Field(ge=0, lt=1)]


class Group(BaseModel):
    """Settings that cannot be changed, and hold nothing that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Petroff(Group):
    """What the network sees, and what it is to find there."""

    channels: str | int | tuple[str | int, ...]
    """Channels that the network sees: a named set, a range such as 70-857, or a list."""

    nside: int
    """HEALPix resolution of the channels and of the cleaned map."""

    lmax: int
    """Band limit of what the network sees and of the cleaned map; at most 3 nside - 1."""

    fwhm_arcmin: PositiveFloat
    """Full width at half maximum in arcmin of the beam of the cleaned map and of its error map."""

    inputs: Literal["differences", "maps"]
    """"maps": every channel at the inputs' beam, as published. "differences": a reference channel, and what
    the others differ from it, at `fwhm_arcmin` or at a coarser beam of their own; there is no CMB in it."""

    inputs_fwhm_arcmin: PositiveFloat | Literal["auto", "native"]
    """Common beam in arcmin of inputs "maps": "auto" for the widest of the channels' own, and not finer than
    `fwhm_arcmin`; "native" leaves each at its own. Differences do not use it."""

    reference: str
    """Channel that differences are taken from; "auto" for that of the lowest noise at `fwhm_arcmin`."""

    @field_validator("nside")
    @classmethod
    def _nside_is_known(cls, nside: int) -> int:
        return check_nside(nside)

    @model_validator(mode="after")
    def _settings_fit_one_another(self) -> Self:
        check_band_limit(self.lmax, self.nside)
        return self

    @property
    def of_targets(self) -> Self:
        """What targets depend on."""
        update = {"channels": "all", "inputs": "maps", "inputs_fwhm_arcmin": "auto", "reference": "auto"}
        return self.model_copy(update=update)


class NetworkSettings(PartlyRecorded):
    """The network."""

    NOT_IN_RESULTS: ClassVar[frozenset[str]] = frozenset({"recompute"})
    """What changes memory and time alone."""

    nside: int
    """HEALPix resolution of its first level."""

    kind: Literal["correcting", "published", "deepsphere"]
    """"published": Petroff et al.'s network, which makes the CMB of maps. "correcting": the same layers make
    weights of differences, with which the reference channel is corrected. "deepsphere": the U-Net after Adams
    et al. 2023, of maps."""

    depth: PositiveInt | Literal["auto"]
    """Steps from a resolution to half of it; "auto" for all down to nside 1 (deepsphere: 3)."""

    filters: PositiveInt
    """Features of a channel at every resolution; published 6. Deepsphere: of its first level, doubled from
    level to level, published 64."""

    order: int
    """Terms K of a convolution: pixels up to K - 1 steps away count; published 9, deepsphere 3."""

    initial_dropout: Probability
    """Probability of concrete dropout before training, published 0.1, deepsphere 0.001; 0 for none."""

    length_scale: NonNegativeFloat
    """Length scale l of the prior on weights, which are held small by l^2 / N; published 1e-4."""

    dropout_strength: NonNegativeFloat
    """What is divided by N for the regularisation of dropout, published 2; 0 leaves it to the data."""

    prior_skies: PositiveInt | Literal["train"]
    """Number N of skies in both: "train" for that of the training split, as published."""

    pooling: Literal["max", "mean"]
    """What a coarser pixel takes of its four children."""

    output: Literal["linear", "elu"]
    """What the last convolution goes through; published linear."""

    start: Literal["drawn", "trained"]
    """Where its weights begin: drawn from the seed, or those of a trained network, that of the global
    `starting_models`. A Bayesian deepsphere begins with those of a deterministic one."""

    compress: bool
    """Whether the correcting network's layers see asinh of the features."""

    recompute: bool
    """Whether a training computes features anew instead of keeping them: less memory, a third more time."""

    @field_validator("order")
    @classmethod
    def _there_is_a_term(cls, order: int) -> int:
        if order < 1:
            raise ValueError(f"order {order}: a convolution has at least one term; take 1 or more")
        return order

    @model_validator(mode="after")
    def _depth_fits(self) -> Self:
        if self.depth != "auto":
            check_depth(self.nside, self.depth)
        else:
            check_nside(self.nside)
        return self

    @property
    def steps(self) -> int:
        """Depth in numbers."""
        if self.depth != "auto":
            return self.depth
        deepest = self.nside.bit_length() - 1
        return min(3, deepest) if self.kind == "deepsphere" else deepest

    @property
    def used(self) -> Self:
        """What the network depends on, so that settings without effect do not make it stale."""
        used: dict[str, Any] = {"depth": self.steps}
        if self.kind != "correcting":
            used["compress"] = False
        if self.kind == "deepsphere":
            used |= {"pooling": "max", "output": "linear"}
        return self.model_copy(update=used)


class SamplingSettings(PredictionSettings):
    """Which network cleans, and how what it predicts becomes a map and its errors."""

    NOT_IN_RESULTS: ClassVar[frozenset[str]] = frozenset({"batch", "accelerator"})
    """Settings that tell how the work is done, not what comes out: a recipe does not name them."""

    samples: Annotated[int, Field(ge=2)]
    """Passes through the network with active dropout, whose mean and scatter are taken; one without
    dropout."""

    batch: PositiveInt
    """Passes at once; memory grows with it. The answer is the same but for rounding."""

    accelerator: Literal["auto", "cpu", "gpu"]
    """What computes the passes: `auto` takes a GPU where there is one. A GPU draws other random numbers."""

    seed: Annotated[int, Field(ge=0)]
    """Seed of what is dropped."""

    error_cut_uk: PositiveFloat
    """Error in uK_CMB above which a pixel is left out of the mask that is saved; published 50."""

    correct_spectrum: bool
    """Whether the cleaned map is filtered so that on training skies its spectrum is that of the truth."""

    calibrate_errors: bool
    """Whether errors are scaled so that on validation skies 68.3 per cent of them are not exceeded."""

    fitted_skies: PositiveInt
    """How many training and how many validation skies both are fitted to; published 100."""

    @model_serializer(mode="wrap")
    def _leave_out_of_recipes(
        self, serialise: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Leave out of a recipe what does not determine results."""
        fields: dict[str, Any] = serialise(self)
        if not (info.context and info.context.get("recipe")):
            return fields
        return {name: value for name, value in fields.items() if name not in self.NOT_IN_RESULTS}

    @property
    def of_passes(self) -> Self:
        """What passes depend on, so that what is made of them later does not make them stale."""
        update = {
            "checkpoint": "",
            "error_cut_uk": 1.0,
            "correct_spectrum": False,
            "calibrate_errors": False,
            "fitted_skies": 1,
        }
        return self.model_copy(update=update)
