"""Settings of transforms: what a configuration says of the scaling of features and target."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from cmbml.learning.arrangements import Compose, ReferenceDifference
from cmbml.learning.features import split_name
from cmbml.learning.transforms import Factor, MaxAbs, MinMax, Standardise, Transform, UnitConversion


class _Settings(BaseModel, ABC):
    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def build(self, names: Sequence[str]) -> Transform:
        """Return the transform of features with these names, not fitted yet."""


class FactorSettings(_Settings):
    """All features divided by one number."""

    kind: Literal["factor"]
    """The word for this transform."""

    factor: float
    """The number, not 0."""

    @field_validator("factor")
    @classmethod
    def _not_zero(cls, factor: float) -> float:
        return Factor(factor).factor

    def build(self, names: Sequence[str]) -> Factor:
        """Return the transform."""
        return Factor(self.factor)


class _RangeSettings(_Settings):
    low: float
    """Lower end of the range."""

    high: float
    """Upper end of the range."""

    @model_validator(mode="after")
    def _rises(self) -> Self:
        MinMax(self.low, self.high)
        return self


class MaxAbsSettings(_RangeSettings):
    """Every feature scaled by its largest absolute value."""

    kind: Literal["max_abs"]
    """The word for this transform."""

    def build(self, names: Sequence[str]) -> MaxAbs:
        """Return the transform."""
        return MaxAbs(self.low, self.high)


class MinMaxSettings(_RangeSettings):
    """Every feature scaled by its smallest and largest value."""

    kind: Literal["min_max"]
    """The word for this transform."""

    def build(self, names: Sequence[str]) -> MinMax:
        """Return the transform."""
        return MinMax(self.low, self.high)


class StandardiseSettings(_Settings):
    """Every feature divided by its spread."""

    kind: Literal["standardise"]
    """The word for this transform."""

    centre: bool
    """Whether the centre is subtracted."""

    robust: bool
    """Whether centre and spread are those of the median, which bright pixels do not set."""

    def build(self, names: Sequence[str]) -> Standardise:
        """Return the transform."""
        return Standardise(self.centre, self.robust)


class UnitConversionSettings(_Settings):
    """The features of some channels in another unit."""

    kind: Literal["unit_conversion"]
    """The word for this transform."""

    factors: Mapping[str, float]
    """By channel, what its maps are multiplied by; those that are not named stay as they are."""

    @field_validator("factors")
    @classmethod
    def _not_zero(cls, factors: Mapping[str, float]) -> Mapping[str, float]:
        UnitConversion(tuple(factors.values()))
        return factors

    def build(self, names: Sequence[str]) -> UnitConversion:
        """Return the transform.

        Raises
        ------
        ValueError
            If a channel is named that has no feature.
        """
        channels = [split_name(name)[0] for name in names]
        unknown = [channel for channel in self.factors if channel not in channels]
        if unknown:
            raise ValueError(
                f"unit_conversion: no channel {', '.join(unknown)} among the features {', '.join(names)}"
            )
        return UnitConversion(tuple(self.factors.get(channel, 1.0) for channel in channels))


class ReferenceDifferenceSettings(_Settings):
    """Every channel less a reference channel, in which the CMB cancels."""

    kind: Literal["reference_difference"]
    """The word for this transform."""

    channel: str
    """Name of the reference channel, which stays as it is."""

    def build(self, names: Sequence[str]) -> ReferenceDifference:
        """Return the transform.

        Raises
        ------
        ValueError
            If the reference channel lacks a field of another channel.
        """
        fields = [f"{self.channel} {split_name(name)[1]}" for name in names]
        missing = sorted(set(fields) - set(names))
        if missing:
            raise ValueError(
                f"reference_difference: the features {', '.join(names)} lack {', '.join(missing)}; "
                "choose a reference channel that is among them"
            )
        return ReferenceDifference(tuple(names.index(field) for field in fields))


TransformSettings = Annotated[
    FactorSettings
    | MaxAbsSettings
    | MinMaxSettings
    | StandardiseSettings
    | UnitConversionSettings
    | ReferenceDifferenceSettings,
    Field(discriminator="kind"),
]
"""Settings of any one transform, told apart by `kind`."""


class ScalingSettings(BaseModel):
    """How features and target are scaled, by what the training split holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    features: tuple[TransformSettings, ...]
    """Transforms of the features, one after the other."""

    target: tuple[TransformSettings, ...]
    """Transforms of the target; the network's output goes through their inverse."""


def build_transform(settings: Sequence[_Settings], names: Sequence[str]) -> Transform:
    """Return the transforms of a list of settings as one, in their order; none leaves features as they are.

    Parameters
    ----------
    settings
        What the configuration lists.
    names
        Names of the features, see `cmbml.learning.features.feature_names`.

    Raises
    ------
    ValueError
        If one does not fit the features.
    """
    return Compose(tuple(item.build(names) for item in settings))
