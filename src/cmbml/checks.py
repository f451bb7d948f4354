"""Checks before a run that no single group of parameters can make: what contradicts what.

Each returns a sentence for everything it finds, and none if all is well.
"""

import difflib
import math
from typing import Any

from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from cmbml.pipelines import method_names
from cmbml.science.instrument import Instrument, channel_names


def unknown_keys(given: set[str], known: set[str]) -> list[str]:
    """Return a sentence for each key that the base environment does not have in that place."""
    sentences = []
    for key in sorted(given - known):
        close = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"
        sentences.append(f"parameter {key}: not known; {hint}")
    return sentences


def unused_groups(given: set[str], pipeline: Pipeline) -> list[str]:
    """Return a sentence for each group given on the command line that no node of the run reads."""
    return [
        f"parameter {group}: no part of this run reads it; give it to the pipeline that does"
        for group in sorted(given)
        if not is_used(group, pipeline)
    ]


NETWORKS = tuple(f"{method}_network" for method in method_names())
"""Groups of the networks of methods that learn."""

AGREEING = (
    ("nside", ("maps", "target", "mask", *method_names(), *NETWORKS, "analysis")),
    ("lmax", ("maps", "target", *method_names(), "analysis")),
    ("apodisation_deg", ("mask", "analysis")),
    ("taper", ("mask", "analysis")),
)
"""Numbers that groups share, and the groups; a group without the number is passed over."""

BEAMS = (
    ("target", "fwhm_arcmin"),
    *((method, "fwhm_arcmin") for method in method_names()),
    ("analysis", "map_fwhm_arcmin"),
)
"""Where the common target beam stands."""


def resolution_conflicts(parameters: dict[str, Any], pipeline: Pipeline) -> list[str]:
    """Return a sentence for each number on which the groups of this run do not agree."""
    places = [[(group, key) for group in groups] for key, groups in AGREEING] + [list(BEAMS)]
    sentences = []
    for place in places:
        values = {
            f"{group}.{key}": getattr(parameters.get(group), key, None)
            for group, key in place
            if is_used(group, pipeline)
        }
        stated = {name: value for name, value in values.items() if value is not None}
        if len(set(stated.values())) > 1:
            listed = ", ".join(f"{name} {value}" for name, value in stated.items())
            sentences.append(f"{listed}: must be the same; set the number they share in globals.yml")
    return sentences


def stokes_conflicts(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence for each method that is to clean polarisation where none is observed."""
    wanting = [
        group
        for group, values in parameters.items()
        if group != "instrument" and is_used(group, pipeline) and getattr(values, "stokes", "I") == "IQU"
    ]
    if not wanting or _observed_stokes(parameters, pipeline, catalog) == "IQU":
        return []
    return [
        f"{group}.stokes IQU: the simulations hold only I; set {group}.stokes to I, or simulate stokes IQU"
        for group in wanting
    ]


def _observed_stokes(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> str:
    """Return the fields that the run will observe, or that the instrument of an earlier run observed."""
    if "instrument" not in pipeline.inputs():
        return str(getattr(parameters.get("instrument"), "stokes", "IQU"))
    if not catalog.exists("instrument"):
        return "IQU"  # the run will say that the instrument is missing
    instrument: Instrument = catalog["instrument"].load()
    return "IQU" if instrument.is_polarised else "I"


def foreground_conflicts(parameters: dict[str, Any], pipeline: Pipeline) -> list[str]:
    """Return a sentence for what the source and the resolution of foregrounds cannot give."""
    foregrounds, maps = parameters.get("foregrounds"), parameters.get("maps")
    source = getattr(foregrounds, "source", None)
    if source is None or not is_used("foregrounds", pipeline):
        return []
    if source == "planck":
        if not is_used("sky_statistics", pipeline):
            return []
        return [
            "foregrounds.source planck: sky_statistics has no components to measure in it; "
            "take embedded or pysm, foregrounds.source=embedded"
        ]
    lmax, highest = getattr(maps, "lmax", 0), 3 * getattr(foregrounds, "nside", 0) - 1
    if lmax <= highest or not is_used("maps", pipeline):
        return []
    enough = 2 ** math.ceil(math.log2(lmax / 1.5))
    return [
        f"maps.lmax {lmax}: above 3 nside - 1 = {highest} of the foregrounds, whose pixels lack it; "
        f"set foregrounds.nside to {enough}, or lower lmax"
    ]


def count_conflicts(parameters: dict[str, Any], pipeline: Pipeline, numbers: dict[str, Any]) -> list[str]:
    """Return a sentence if more simulations are to be compared than the run simulates."""
    compared, simulated = numbers.get("compared", "all"), getattr(parameters.get("simulations"), "test", None)
    if compared == "all" or simulated is None or not is_used("simulations", pipeline):
        return []
    if compared <= simulated:
        return []
    return [
        f"compared {compared}: more than the {simulated} simulations of the test split; "
        "lower it or raise test"
    ]


def instrument_conflicts(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence for each choice of channels that the instrument table cannot serve."""
    table_is_used = "instrument_table" in pipeline.inputs()
    choice = channels_of(parameters.get("instrument"))
    if not table_is_used or choice is None:
        return []
    table: Instrument = catalog["instrument_table"].load()
    try:
        simulated = channel_names(choice, table.names)
    except ValueError as error:
        return [f"instrument.channels: {error}"]
    sentences = []
    for group, values in parameters.items():
        choice = channels_of(values)
        if group in ("instrument", "assets") or choice is None or not is_used(group, pipeline):
            continue
        try:
            channel_names(choice, simulated)
        except ValueError as error:
            sentences.append(f"{group}.channels: {error}".replace("in the instrument table", "simulated"))
    return sentences


def read_only_conflicts(pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence for each product of the run that is only read, as the catalog has it.

    What to do instead is told by `only_read` in the metadata of its entry.
    """
    sentences = []
    for name in sorted(pipeline.all_outputs()):
        dataset: Any = catalog.get(name)
        if dataset is None or not dataset._describe().get("read_only"):
            continue
        remedy = (dataset.metadata or {}).get("only_read", "leave out the pipeline that makes it")
        sentences.append(f"{name}: in this environment it is only read, and this run would make it; {remedy}")
    return sentences


def channels_of(group: Any) -> Any:
    """Return what a group of parameters says of channels; groups are models once they are validated."""
    return group.get("channels") if isinstance(group, dict) else getattr(group, "channels", None)


HARMLESS = frozenset({"data", "results", "n_jobs", "threads", "assets_folder", "on_mismatch"})
"""What may be given together with --only-missing-outputs: none of it changes a result that is there."""


def resumption_conflicts(given: set[str], *, only_missing: bool) -> list[str]:
    """Return a sentence if Kedro is to skip products that parameters of this run may change."""
    changing = sorted(given - HARMLESS)
    if not only_missing or not changing:
        return []
    return [
        f"--only-missing-outputs with {', '.join(changing)}: it skips every product that is there, whatever "
        "parameters it was made with; leave it out, a run skips by itself what is up to date"
    ]


def is_used(group: str, pipeline: Pipeline) -> bool:
    """Return whether a node of the pipeline reads a group of parameters."""
    read = (name.removeprefix("params:") for name in pipeline.inputs() if name.startswith("params:"))
    return any(name.split(".")[0] == group for name in read)
