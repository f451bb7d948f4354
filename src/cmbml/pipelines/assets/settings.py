"""What the fetching of raw assets is told by `parameters_assets.yml`."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from cmbml.pipelines.assets.catalogue import CHAINS, FFP10_SIMULATIONS, GROUPS, PLANCK_CHANNELS
from cmbml.science.instrument import channel_names

MIRRORS = ("esa", "irsa")


class AssetSettings(BaseModel):
    """Which raw assets are fetched, from where, and how patiently.

    Parameters
    ----------
    fetch
        Groups: planck_maps, planck_nilc, ffp10_noise, wmap_chains, planck_theory,
        pysm_templates, cmbml_dataset, or "all". None: everything is listed and
        nothing fetched.
    channels
        Of Planck maps and noise simulations: as `instrument.channels`.
    noise_simulations
        Of ffp10_noise: how many, the first ones; or a range "10-19", or a list of
        numbers below 300.
    chains
        Of wmap_chains: "lcdm", "mnu" or both.
    dataset_name
        Of cmbml_dataset: its folder, below `cmb_ml/` of the assets.
    dataset_simulations
        Of cmbml_dataset: splits ("test"), parts of them ("test:0-9"), names in
        the record ("NoiseModel"), or "all".
    mirror
        "irsa" or "esa", for what Planck's archives both have; or an address that
        serves a folder laid out like the assets folder.
    retries
        How often a transfer that brings nothing new is tried again.
    wait_seconds
        Wait before the first retry; doubled at each further one, up to a minute.
    timeout_seconds
        How long a server may be silent.
    verify
        "quick": files not touched since they were verified are good; "full":
        every file is read and its checksum compared.
    dry_run
        Whether the list is all that is wanted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fetch: tuple[str, ...]
    channels: tuple[str, ...]
    noise_simulations: tuple[int, ...]
    chains: tuple[str, ...]
    dataset_name: str = Field(pattern=r"^[\w.-]*\w$")
    dataset_simulations: tuple[str, ...]
    mirror: str
    retries: int = Field(ge=0)
    wait_seconds: float = Field(ge=0)
    timeout_seconds: float = Field(gt=0)
    verify: Literal["quick", "full"]
    dry_run: bool

    @field_validator("fetch", mode="before")
    @classmethod
    def _groups(cls, value: Any) -> Any:
        return _chosen(value, GROUPS, what="group of assets")

    @field_validator("chains", mode="before")
    @classmethod
    def _chains(cls, value: Any) -> Any:
        return _chosen(value, tuple(CHAINS), what="chain")

    @field_validator("channels", mode="before")
    @classmethod
    def _channels(cls, value: Any) -> Any:
        return channel_names(value, PLANCK_CHANNELS)

    @field_validator("noise_simulations", mode="before")
    @classmethod
    def _numbers(cls, value: Any) -> Any:
        numbers = tuple(range(value)) if isinstance(value, int) else number_list(split_list(value))
        if not numbers or not all(0 <= number < FFP10_SIMULATIONS for number in numbers):
            raise ValueError(
                f"noise_simulations {value!r}: give at least one number, from 0 to {FFP10_SIMULATIONS - 1}"
            )
        return numbers

    @field_validator("dataset_simulations", mode="before")
    @classmethod
    def _simulations(cls, value: Any) -> Any:
        return split_list(value)

    @field_validator("mirror")
    @classmethod
    def _mirror(cls, mirror: str) -> str:
        if mirror not in MIRRORS and "://" not in mirror:
            raise ValueError(f"mirror {mirror!r}: must be {', '.join(MIRRORS)}, or an address with ://")
        return mirror


def split_list(value: Any) -> tuple[str, ...]:
    """Return the items of a list, or of a text with "+" between them, as the command line has it.

    Examples
    --------
    >>> split_list("100+143"), split_list([30, "44"]), split_list(353), split_list("")
    (('100', '143'), ('30', '44'), ('353',), ())
    """
    items = value if isinstance(value, list | tuple) else str("" if value is None else value).split("+")
    return tuple(text for text in (str(item).strip() for item in items) if text)


def number_list(items: tuple[str, ...]) -> tuple[int, ...]:
    """Return the numbers that texts such as "7" and "10-19" mean, each once, in order.

    Raises
    ------
    ValueError
        If an item is neither.

    Examples
    --------
    >>> number_list(("7", "2-4"))
    (2, 3, 4, 7)
    """
    numbers: set[int] = set()
    for item in items:
        first, dash, last = item.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise ValueError(f"{item!r}: must be a number or a range such as 10-19")
        numbers |= set(range(int(first), int(last if dash else first) + 1))
    return tuple(sorted(numbers))


def _chosen(value: Any, known: tuple[str, ...], *, what: str) -> tuple[str, ...]:
    items = split_list(value)
    if items == ("all",):
        return known
    unknown = [item for item in items if item not in known]
    if unknown:
        raise ValueError(f"{what} {unknown[0]!r}: not known; known are {', '.join(known)}, or all")
    return tuple(item for item in known if item in items)
