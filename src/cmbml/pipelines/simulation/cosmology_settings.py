"""What can be set of the cosmology and the CMB."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from cmbml.pipelines.simulation.cosmology import check_cosmology
from cmbml.pipelines.simulation.map_settings import Group

Split = Literal["train", "valid", "test"]
SPLITS: tuple[Split, ...] = ("train", "valid", "test")


def _splits(value: Any) -> Any:
    """Return the splits of a text such as "valid+test" or "all", as a command line can give it."""
    if not isinstance(value, str):
        return value
    return SPLITS if value == "all" else tuple(word for word in value.split("+") if word)


Splits = Annotated[tuple[Split, ...], BeforeValidator(_splits)]


class CosmologicalParameters(Group):
    """One flat LCDM cosmology, by CAMB's names.

    Parameters
    ----------
    ombh2, omch2
        Densities of baryons and cold dark matter, times h squared.
    H0
        Hubble constant in km/s/Mpc.
    tau
        Optical depth to reionisation.
    As, ns
        Amplitude and tilt of the primordial power at the pivot.
    pivot_scalar
        That wavenumber in 1/Mpc.
    mnu
        Sum of the neutrino masses in eV.
    """

    ombh2: float
    omch2: float
    H0: float
    tau: float
    As: float
    ns: float
    pivot_scalar: float
    mnu: float

    @model_validator(mode="after")
    def _physical(self) -> Self:
        check_cosmology(self.model_dump())
        return self


class SplitCosmology(Group):
    """What of the settings one split depends on; exactly one of table, chain and parameters, or none.

    Parameters
    ----------
    table, correlated, vary
        As in `CosmologySettings`, for draws from a table.
    chain
        Name of the chain, for draws from one.
    parameters
        The cosmology, where it is given.
    one_per_split
        Whether the simulations of the split share one draw.
    """

    table: str | None = None
    correlated: bool | None = None
    vary: bool | None = None
    chain: str | None = None
    parameters: CosmologicalParameters | None = None
    one_per_split: bool = False

    @property
    def has_parameters(self) -> bool:
        """Whether there is a cosmology, rather than given spectra."""
        return any(source is not None for source in (self.table, self.chain, self.parameters))


class CosmologySettings(Group):
    """Where the cosmological parameters come from.

    Lists of splits may be written as text, "valid+test" or "all".

    Parameters
    ----------
    source
        "table": draws from a published estimate; "chains": rows of a Markov chain
        of nine-year WMAP; "fixed": the `parameters` below.
    table
        Name of a published parameter table: "wmap9", "planck2018" or "planck2018_bao".
    correlated
        Whether draws from a table keep the correlations of its parameters;
        otherwise each is an independent normal.
    vary
        For tables: whether each simulation draws its own; otherwise all have the means.
    chains
        Which chain: "lcdm", or "mnu" with the neutrino mass as a parameter.
    parameters
        The cosmology of source "fixed" and of the splits in `fixed`.
    fixed
        Splits that have `parameters`, whatever the source.
    one_per_split
        Splits whose simulations share one cosmology, drawn with the split's own seed.
    given_spectrum
        Splits without a cosmology: their CMB is a Gaussian field with the spectra of
        the catalog entry `given_theory`, Planck's best fit.
    """

    source: Literal["table", "chains", "fixed"]
    table: Literal["wmap9", "planck2018", "planck2018_bao"]
    correlated: bool
    vary: bool
    chains: Literal["lcdm", "mnu"]
    parameters: CosmologicalParameters
    fixed: Splits
    one_per_split: Splits
    given_spectrum: Splits

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        lists = {name: getattr(self, name) for name in ("fixed", "one_per_split", "given_spectrum")}
        for split in SPLITS:
            named = [name for name, splits in lists.items() if split in splits]
            if len(named) > 1:
                raise ValueError(f"split {split} is in both {' and '.join(named)}: name it in one of them")
        if self.source == "chains" and not self.vary:
            raise ValueError(
                "vary: false takes the means of a table, and a chain has none; for one cosmology, use "
                "one_per_split: all, or source: fixed"
            )
        return self

    def of_split(self, split: str) -> SplitCosmology:
        """Return what one split depends on, so that settings of another do not make its skies stale."""
        if split in self.given_spectrum:
            return SplitCosmology()
        if self.source == "fixed" or split in self.fixed:
            return SplitCosmology(parameters=self.parameters)
        shared = split in self.one_per_split
        if self.source == "chains":
            return SplitCosmology(chain=self.chains, one_per_split=shared)
        return SplitCosmology(
            table=self.table, correlated=self.correlated, vary=self.vary, one_per_split=shared and self.vary
        )


class CMBSettings(Group):
    """How CMB spectra and maps are computed.

    Parameters
    ----------
    kind
        "lensed": drawn unlensed with the lensing potential, then lensed; "gaussian":
        a Gaussian field with the lensed spectra; "unlensed": one with the unlensed
        spectra; "empty": no CMB.
    spectra
        "camb", or "analytic": formulas good to some per cent, without CAMB and in
        milliseconds, for tests and for trying things out.
    lmax
        Band limit of the CMB's coefficients, inclusive, at least that of the maps,
        which are cut at their own.
    lens_potential_accuracy
        CAMB's setting of that name, at least 1: below, the lensing potential is
        that of the linear matter spectrum and too small at high multipoles.
    """

    kind: Literal["lensed", "unlensed", "gaussian", "empty"]
    spectra: Literal["camb", "analytic"]
    lmax: int = Field(ge=2)
    lens_potential_accuracy: float = Field(ge=1)
