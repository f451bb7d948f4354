"""What happens around a run: threads, checks before it, where the results are after it."""

import difflib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from omegaconf import OmegaConf

from cmbml.science.instrument import Instrument, channel_names
from cmbml.science.threads import available_cores, set_thread_count, thread_environment

LOGGER = logging.getLogger(__name__)


class ThreadHooks:
    """The main process may use all cores; workers get their number from the catalog."""

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Set thread counts once, before anything is computed."""
        for variable, value in thread_environment(available_cores()).items():
            os.environ.setdefault(variable, value)
        set_thread_count(available_cores())


class CheckHooks:
    """Conflicts that no single group of parameters can see, found before the first node."""

    def __init__(self) -> None:
        self._groups: set[str] = set()
        self._globals: set[str] = set()
        self._given_globals: set[str] = set()
        self._given: set[str] = set()
        self._numbers: dict[str, Any] = {}

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note which groups and shared numbers there are, and what this run gives."""
        # Not by a second config loader: resolvers belong to the process, and it would take them over.
        base = Path(context.config_loader.conf_source) / "base"
        self._groups = _keys(base, "parameters*.yml")
        self._globals = _keys(base, "globals*.yml")
        self._given_globals = set(context.config_loader["globals"])
        given = context.config_loader.runtime_params or {}
        self._given = set(given)
        self._numbers = {**context.config_loader["globals"], **given}

    @hook_impl
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Raise one error that names every conflict.

        Raises
        ------
        ValueError
            If a parameter is unknown or has no effect, parameters contradict one
            another, a foreground preset cannot be built, or noise lacks what it is
            made from.
        """
        problems = self.problems(pipeline, catalog)
        if problems:
            raise ValueError("the configuration cannot work:\n- " + "\n- ".join(problems))

    def problems(self, pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
        """Return a sentence for everything that keeps a pipeline from being run as it is configured."""
        parameters = catalog["parameters"].load()
        return [
            *unknown_keys(self._given, self._groups | self._globals),
            *unknown_keys(set(parameters) - self._given, self._groups),
            *unknown_keys(self._given_globals, self._globals),
            *unused_groups(self._given & self._groups, pipeline),
            *instrument_conflicts(parameters, pipeline, catalog),
            *resolution_conflicts(parameters, pipeline),
            *stokes_conflicts(parameters, pipeline, catalog),
            *count_conflicts(parameters, pipeline, self._numbers),
            *preset_conflicts(parameters, pipeline),
            *mask_conflicts(parameters, pipeline, catalog),
            *noise_conflicts(parameters, pipeline, catalog),
            *cosmology_conflicts(parameters, pipeline, catalog),
            *cmb_conflicts(parameters, pipeline),
            *planck_conflicts(parameters, pipeline, catalog),
        ]


def _keys(folder: Path, pattern: str) -> set[str]:
    return {str(key) for file in folder.glob(pattern) for key in OmegaConf.load(file)}


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
        if not _is_used(group, pipeline)
    ]


AGREEING = (
    ("nside", ("maps", "target", "mask", "pyilc", "analysis")),
    ("lmax", ("maps", "target", "pyilc", "analysis")),
    ("apodisation_deg", ("mask", "analysis")),
    ("taper", ("mask", "analysis")),
)
"""Numbers that groups share, and the groups; a group without the number is passed over."""

BEAMS = (("target", "fwhm_arcmin"), ("pyilc", "fwhm_arcmin"), ("analysis", "map_fwhm_arcmin"))
"""Where the common target beam stands."""


def resolution_conflicts(parameters: dict[str, Any], pipeline: Pipeline) -> list[str]:
    """Return a sentence for each number on which the groups of this run do not agree."""
    places = [[(group, key) for group in groups] for key, groups in AGREEING] + [list(BEAMS)]
    sentences = []
    for place in places:
        values = {
            f"{group}.{key}": getattr(parameters.get(group), key, None)
            for group, key in place
            if _is_used(group, pipeline)
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
        if group != "instrument" and _is_used(group, pipeline) and getattr(values, "stokes", "I") == "IQU"
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


def count_conflicts(parameters: dict[str, Any], pipeline: Pipeline, numbers: dict[str, Any]) -> list[str]:
    """Return a sentence if more simulations are to be compared than the run simulates."""
    compared, simulated = numbers.get("compared", "all"), getattr(parameters.get("simulations"), "test", None)
    if compared == "all" or simulated is None or not _is_used("simulations", pipeline):
        return []
    if compared <= simulated:
        return []
    return [
        f"compared {compared}: more than the {simulated} simulations of the test split; "
        "lower it or raise test"
    ]


def preset_conflicts(parameters: dict[str, Any], pipeline: Pipeline) -> list[str]:
    """Return a sentence if foreground presets are asked for that cannot be built on this computer."""
    foregrounds: Any = parameters.get("foregrounds")
    wanted = list(foregrounds.presets) if getattr(foregrounds, "source", "") == "pysm" else []
    if _is_used("sky_statistics", pipeline):
        wanted += [preset for preset in parameters["sky_statistics"].presets if preset not in wanted]
    # what fetches the templates must not want them to be there
    building = Pipeline([node for node in pipeline.nodes if "params:assets" not in node.inputs])
    if not _is_used("foregrounds", building) or not wanted:
        return []
    from cmbml.pipelines.simulation.pysm_presets import check_presets  # noqa: PLC0415 (imports PySM)

    try:
        delta = getattr(parameters.get("instrument"), "bandpass", "") == "delta"
        check_presets(wanted, foregrounds.nside, delta=delta)
    except (ValueError, FileNotFoundError) as error:
        return [str(error)]
    return []


def mask_conflicts(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence if the mask is to be made from a file that is not there."""
    cuts = getattr(parameters.get("mask"), "cuts", ())
    if not _is_used("mask", pipeline) or all(cut.source != "planck" for cut in cuts):
        return []
    return [f"mask.source planck: {sentence}" for sentence in missing_input("mask_input", catalog)]


def cosmology_conflicts(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence for each file that cosmologies or spectra of this run need and that is not there."""
    choices = _cosmologies(parameters, pipeline).values()
    chains = sorted({choice.chain for choice in choices if choice.chain})
    sentences = [
        f"cosmology.source chains: {sentence}"
        for chain in chains
        for sentence in missing_input(f"wmap_chains_{chain}", catalog)
    ]
    if any(not choice.has_parameters for choice in choices):
        missing = missing_input("given_theory", catalog)
        sentences += [f"cosmology.given_spectrum: {sentence}" for sentence in missing]
    return sentences


def cmb_conflicts(parameters: dict[str, Any], pipeline: Pipeline) -> list[str]:
    """Return a sentence if the CMB ends before the maps, cannot be unlensed, or leaves nothing to compare."""
    cmb: Any = parameters.get("cmb")
    if not _is_used("cmb", pipeline):
        return []
    lmax, sentences = getattr(parameters.get("maps"), "lmax", 0), []
    if cmb.lmax < lmax:
        sentences.append(
            f"cmb.lmax {cmb.lmax}: below maps.lmax {lmax}, the maps would have no CMB above it; raise it"
        )
    if cmb.kind == "empty" and _is_used("analysis", pipeline):
        sentences.append(
            "cmb.kind empty: the analysis has no CMB to compare with; run the other pipelines alone: "
            "kedro run --pipelines=simulation"
        )
    choices = _cosmologies(parameters, pipeline)
    given = [split for split, choice in choices.items() if not choice.has_parameters]
    if given and cmb.kind == "unlensed":
        sentences.append(
            f"cmb.kind unlensed: only lensed spectra are known of {', '.join(given)}, which "
            "cosmology.given_spectrum names; set cmb.kind to gaussian or lensed"
        )
    return sentences


def _cosmologies(parameters: dict[str, Any], pipeline: Pipeline) -> dict[str, Any]:
    """Return, by split that the run makes, what its cosmologies come from."""
    cosmology: Any = parameters.get("cosmology")
    if not _is_used("cosmology", pipeline):
        return {}
    made = (name.removesuffix("_cosmology") for name in pipeline.all_outputs() if name.endswith("_cosmology"))
    return {split: cosmology.of_split(split) for split in sorted(made)}


def missing_input(name: str, catalog: DataCatalog) -> list[str]:
    """Return a sentence with name, place and remedy if the data of a catalog entry are not there."""
    dataset = catalog[name]
    if dataset.exists():
        return []
    description = dataset._describe()
    place = description.get("filepath") or description.get("path") or name
    return [f"{name}: {place}: not there. {description.get('purpose', '')}".rstrip()]


def planck_conflicts(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence for each map of Planck that is needed and not there."""
    by_name = any(node.func.__name__ in ("observe_planck", "make_planck_truth") for node in pipeline.nodes)
    foregrounds = getattr(parameters.get("foregrounds"), "source", "")
    if not by_name and not (_is_used("foregrounds", pipeline) and foregrounds == "planck"):
        return []
    loaders: dict[str, Any] = catalog["planck_maps"].load()
    try:
        names = channel_names(_channels_of(parameters.get("instrument")) or "all", tuple(loaders))
    except ValueError as error:
        return [f"planck_maps: {error}"]
    missing = [loaders[name] for name in names if not loaders[name].exists]
    sentences = [f"planck_maps: {loader.path}: not there. {loader.purpose}".rstrip() for loader in missing]
    return sentences + missing_input("planck_nilc", catalog)


def instrument_conflicts(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence for each choice of channels that the instrument table cannot serve."""
    table_is_used = "instrument_table" in pipeline.inputs()
    choice = _channels_of(parameters.get("instrument"))
    if not table_is_used or choice is None:
        return []
    table: Instrument = catalog["instrument_table"].load()
    try:
        simulated = channel_names(choice, table.names)
    except ValueError as error:
        return [f"instrument.channels: {error}"]
    sentences = []
    for group, values in parameters.items():
        choice = _channels_of(values)
        if group in ("instrument", "assets") or choice is None or not _is_used(group, pipeline):
            continue
        try:
            channel_names(choice, simulated)
        except ValueError as error:
            sentences.append(f"{group}.channels: {error}".replace("in the instrument table", "simulated"))
    return sentences


def noise_conflicts(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence for each thing that the kind of noise needs and that is not there."""
    noise: Any = parameters.get("noise")
    instrument = parameters.get("instrument")
    if not hasattr(noise, "uses_model") or instrument is None or not _is_used("noise", pipeline):
        return []
    sentences = []
    if noise.uses_model and noise.recipe == "reference" and getattr(instrument, "stokes", "I") != "I":
        sentences.append("noise.recipe reference: has intensity only; set stokes to I, or take 'scattered'")
    needed = {
        "planck_variances": noise.uses_variances,
        "noise_models": noise.uses_model,
        "noise_averages": noise.uses_average,
    }
    try:
        table: Instrument = catalog["instrument_table"].load()
        wanted = channel_names(_channels_of(instrument), table.names)
    except ValueError:
        return sentences  # `instrument_conflicts` says it
    for name in (name for name, needs in needed.items() if needs and name in pipeline.inputs()):
        missing, purpose = _missing_channels(catalog[name].load(), wanted)
        if missing:
            sentences.append(f"noise.kind {noise.kind}: {name} of {', '.join(missing)} not there. {purpose}")
    return sentences


def _missing_channels(stored: Any, wanted: tuple[str, ...]) -> tuple[list[str], str]:
    """Return the channels that are not there, and how to get them."""
    purpose = ""
    if not isinstance(stored, Mapping):  # a loader of loaders
        purpose = stored.purpose
        stored = stored() if stored.exists else {}
    missing = [name for name in wanted if name not in stored or not getattr(stored[name], "exists", True)]
    return missing, purpose or next((stored[name].purpose for name in missing if name in stored), "")


def _channels_of(group: Any) -> Any:
    """Return what a group of parameters says of channels; groups are models once they are validated."""
    return group.get("channels") if isinstance(group, dict) else getattr(group, "channels", None)


def _is_used(group: str, pipeline: Pipeline) -> bool:
    read = (name.removeprefix("params:") for name in pipeline.inputs() if name.startswith("params:"))
    return any(name.split(".")[0] == group for name in read)


class ReportHooks:
    """Say at the end where the results lie."""

    @hook_impl
    def after_pipeline_run(self, pipeline: Pipeline, catalog: DataCatalog) -> None:
        """Log the path of every report that the pipeline wrote."""
        for name in sorted(pipeline.all_outputs()):
            if not name.startswith("report_"):
                continue
            description = catalog[name]._describe()
            place = description.get("filepath") or description.get("path")
            LOGGER.info("%s: %s", name.removeprefix("report_").replace("_", " "), place)
