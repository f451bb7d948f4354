"""Checks before a run of what it reads from elsewhere, and what of that is not there.

Each returns a sentence for everything it finds, and none if all is well. A sentence about an entry of the
catalog names it as "<entry>:" or "<entry> of ...", by which `cmbml.plan` knows it.
"""

from collections.abc import Mapping
from typing import Any

from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from cmbml.checks import channels_of, is_used
from cmbml.science.instrument import Instrument, channel_names


def preset_conflicts(parameters: dict[str, Any], pipeline: Pipeline) -> list[str]:
    """Return a sentence if foreground presets are asked for that cannot be built on this computer."""
    foregrounds: Any = parameters.get("foregrounds")
    wanted = list(foregrounds.presets) if getattr(foregrounds, "source", "") == "pysm" else []
    if is_used("sky_statistics", pipeline):
        wanted += [preset for preset in parameters["sky_statistics"].presets if preset not in wanted]
    # what fetches the templates must not want them to be there
    building = Pipeline([node for node in pipeline.nodes if "params:assets" not in node.inputs])
    if not is_used("foregrounds", building) or not wanted:
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
    if not is_used("mask", pipeline) or all(cut.source != "planck" for cut in cuts):
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
    if not is_used("cmb", pipeline):
        return []
    lmax, sentences = getattr(parameters.get("maps"), "lmax", 0), []
    if cmb.lmax < lmax:
        sentences.append(
            f"cmb.lmax {cmb.lmax}: below maps.lmax {lmax}, the maps would have no CMB above it; raise it"
        )
    if cmb.kind == "empty" and is_used("analysis", pipeline):
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
    if not is_used("cosmology", pipeline):
        return {}
    made = (name.removesuffix("_cosmology") for name in pipeline.all_outputs() if name.endswith("_cosmology"))
    return {split: cosmology.of_split(split) for split in sorted(made)}


def noise_conflicts(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence for each thing that the kind of noise needs and that is not there."""
    noise: Any = parameters.get("noise")
    instrument = parameters.get("instrument")
    if not hasattr(noise, "uses_model") or instrument is None or not is_used("noise", pipeline):
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
        wanted = channel_names(channels_of(instrument), table.names)
    except ValueError:
        return sentences  # `instrument_conflicts` says it
    chosen = table.select(wanted).with_stokes(getattr(instrument, "stokes", "IQU"))
    unknown = [f"{channel.name} ({channel.unknown_noise})" for channel in chosen if channel.unknown_noise]
    if unknown and noise.kind == "sensitivity" and noise.scale > 0:
        sentences.append(
            f"noise.kind sensitivity: noise levels of {', '.join(unknown)} are not in the instrument table; "
            "add them there, choose another instrument table or noise.kind, or set noise.scale to 0"
        )
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


def planck_conflicts(parameters: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog) -> list[str]:
    """Return a sentence for each map of Planck that is needed and not there."""
    by_name = any(node.func.__name__ in ("observe_planck", "make_planck_truth") for node in pipeline.nodes)
    foregrounds = getattr(parameters.get("foregrounds"), "source", "")
    if not by_name and not (is_used("foregrounds", pipeline) and foregrounds == "planck"):
        return []
    loaders: dict[str, Any] = catalog["planck_maps"].load()
    try:
        names = channel_names(channels_of(parameters.get("instrument")) or "all", tuple(loaders))
    except ValueError as error:
        return [f"planck_maps: {error}"]
    missing = [loaders[name] for name in names if not loaders[name].exists]
    sentences = [f"planck_maps: {loader.path}: not there. {loader.purpose}".rstrip() for loader in missing]
    return sentences + missing_input("planck_nilc", catalog)


def missing_input(name: str, catalog: DataCatalog) -> list[str]:
    """Return a sentence with name, place and remedy if the data of a catalog entry are not there."""
    dataset = catalog[name]
    if dataset.exists():
        return []
    description = dataset._describe()
    place = description.get("filepath") or description.get("path") or name
    return [f"{name}: {place}: not there. {description.get('purpose', '')}".rstrip()]
