"""Pages that are made from code and configuration at every build, so that they cannot go stale."""

import ast
import inspect
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pysm3
import yaml
from kedro.config import OmegaConfigLoader
from kedro.framework.project import pipelines
from kedro.framework.startup import bootstrap_project
from kedro.validation import TypeExtractor
from pydantic import BaseModel
from pysm3.models import InterpolatingComponent
from pysm3.sky import PRESET_MODELS
from sphinx.pycode import ModuleAnalyzer

from cmbml.datasets import BandpassTableDataset, InstrumentTableDataset
from cmbml.pipelines.pyilc.ilc import ilc_scales
from cmbml.pipelines.pyilc.settings import NeedletILC
from cmbml.pipelines.simulation.cosmology import TABLES
from cmbml.pipelines.simulation.embedded_targets import FREE_FREE_INDEX, MEASURED_SPECTRA
from cmbml.pipelines.simulation.pysm_presets import draws, refusal
from cmbml.pipelines.simulation.pysm_templates import parts
from cmbml.pipelines.simulation.sky_components import AME_PEAK_GHZ
from cmbml.science.bandpasses import band_average, band_factor
from cmbml.science.instrument import Instrument
from cmbml.settings import CONFIG_LOADER_ARGS

ROOMS = {
    "science": ("Science", "Arrays in, arrays out: no files, no framework."),
    "learning": ("Learning", "What every network shares: datasets of skies, transforms, training."),
    "partitions": ("Partitions", "A function of one simulation, lifted to a split."),
    "datasets": ("Datasets", "The only room that opens files."),
    "": ("Project", "Settings, hooks, and the list of pipelines."),
}
"""By folder or module below src/cmbml, title and subtitle of its page; pipelines are found, see `rooms`."""

UNITS = {"arcmin": "arcmin", "deg": "degrees", "uk": "uK_CMB", "kelvin": "K", "ghz": "GHz"}
"""By the ending of a parameter's name."""

_GLOBAL_LINE = re.compile(r"^(\w+):\s*(.+?)\s*(?:#\s*(.*))?$")
_FIELD_LINE = re.compile(r"^(\w+(?:, \w+)*)$")


def write_pages(folder: Path, root: Path) -> None:
    """Write all generated pages below `folder`."""
    pages = {
        **{f"api/{_slug(room)}.md": api_page(room, root) for room in rooms(root)},
        "tables/globals.md": globals_table(root),
        "tables/parameters.md": parameter_tables(root),
        "tables/environments.md": environment_table(root),
        "tables/catalog.md": catalog_table(root),
        "tables/instrument.md": instrument_table(root),
        "tables/scales.md": scales_table(root),
        "tables/cosmologies.md": cosmologies_table(),
        "tables/foregrounds.md": foregrounds_table(),
        "tables/bandpasses.md": bandpasses_table(root),
        "tables/presets.md": presets_table(),
    }
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    shutil.copy(root / "notebooks" / "first_look.ipynb", folder / "first_look.ipynb")


# ---- The code -----------------------------------------------------------------


def rooms(root: Path) -> dict[str, tuple[str, str]]:
    """Return title and subtitle of every room; a pipeline's subtitle is what its package says of itself."""
    packages = sorted((root / "src" / "cmbml" / "pipelines").glob("*/__init__.py"))
    return ROOMS | {
        f"pipelines/{path.parent.name}": (
            f"Pipeline {path.parent.name}",
            (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0],
        )
        for path in packages
    }


def api_page(room: str, root: Path) -> str:
    """Return the page of one room: every module of it, with its public names."""
    title, subtitle = rooms(root)[room]
    parts = [f"# {title}\n\n{subtitle}\n"]
    for module in modules_of(room, root):
        options = "   :members:\n   :exclude-members: model_config\n"
        parts.append(f"## {module}\n\n```{{eval-rst}}\n.. automodule:: {module}\n{options}```\n")
    return "\n".join(parts)


def modules_of(room: str, root: Path) -> list[str]:
    """Return the dotted names of a room's modules; packages that only pass on names are left out."""
    source = root / "src" / "cmbml"
    if not room:
        paths = [path for path in source.glob("*.py") if path.stem != "partitions"] + [
            source / "pipelines" / "__init__.py"
        ]
    elif (source / f"{room}.py").is_file():
        paths = [source / f"{room}.py"]
    else:
        paths = [path for path in (source / room).glob("*.py") if path.stem != "__init__"]
    names = [".".join(path.relative_to(source.parent).with_suffix("").parts) for path in paths]
    return sorted(name.removesuffix(".__init__") for name in names)


def _slug(room: str) -> str:
    return room.replace("/", "_") or "project"


# ---- The configuration ----------------------------------------------------------


def globals_table(root: Path) -> str:
    """Return the globals of base with the comments they have there."""
    rows = []
    for line in (root / "conf" / "base" / "globals.yml").read_text(encoding="utf-8").splitlines():
        match = _GLOBAL_LINE.match(line)
        if match:
            rows.append((f"`{match[1]}`", f"`{match[2]}`", match[3] or "the same"))
    return _table(("name", "base", "meaning"), rows)


def parameter_tables(root: Path) -> str:
    """Return a section per group of parameters, from the model that checks it and its values in base."""
    bootstrap_project(root)
    values = config(root, "base")["parameters"]
    raw = _raw_parameters(root)
    models = TypeExtractor(dict(pipelines)).extract_types_from_pipelines()
    sections = []
    for group in sorted(values):
        model = models.get(group)
        if model is None:
            raise LookupError(f"no node's type hint names the model of the parameter group {group}")
        rows = _rows(model, values[group], raw[group])
        summary = (model.__doc__ or "").strip().splitlines()[0]
        table = _table(("parameter", "base", "unit", "meaning"), rows)
        sections.append(f"### `{group}`\n\n{summary}\n\n{table}")
    return "\n".join(sections)


def config(root: Path, env: str) -> OmegaConfigLoader:
    """Return the configuration of one environment."""
    arguments = {**CONFIG_LOADER_ARGS, "default_run_env": "base"}
    return OmegaConfigLoader(str(root / "conf"), env=env, **arguments)


def _raw_parameters(root: Path) -> dict:
    """Return the parameters of base with their references unresolved."""
    raw = {}
    for path in sorted((root / "conf" / "base").glob("parameters*.yml")):
        raw |= yaml.safe_load(path.read_text(encoding="utf-8"))
    return raw


def _rows(model: type[BaseModel], values: dict, raw: dict, prefix: str = "") -> list[tuple[str, ...]]:
    docs = field_docs(model)
    rows = []
    for name, field in model.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            rows += _rows(nested, values[name], raw[name], f"{prefix}{name}.")
            continue
        reference = re.search(r"\$\{globals:(\w+)\}", str(raw[name]))
        shown = f"`{values[name]}`" + (f" (global `{reference[1]}`)" if reference else "")
        rows.append((f"`{prefix}{name}`", shown, UNITS.get(name.rsplit("_", 1)[-1], ""), docs[name]))
    return rows


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return what a model says of each field: in its docstring, or in a string below the field."""
    docs: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if not issubclass(cls, BaseModel) or cls is BaseModel:
            continue
        attributes = ModuleAnalyzer.for_module(cls.__module__).find_attr_docs()
        found = {
            **_parameter_section(cls.__dict__.get("__doc__") or ""),
            **{
                name: " ".join(lines).strip()
                for (owner, name), lines in attributes.items()
                if owner == cls.__name__
            },
        }
        docs |= {
            name: text for name, text in found.items() if not (name in docs and text.startswith("As in"))
        }
    missing = set(model.model_fields) - set(docs)
    if missing:
        raise LookupError(
            f"{model.__module__}.{model.__name__} says nothing about {', '.join(sorted(missing))}"
        )
    return docs


def _parameter_section(docstring: str) -> dict[str, str]:
    """Return {name: text} of the section Parameters of a numpydoc docstring."""
    lines = inspect.cleandoc(docstring).splitlines()
    if "Parameters" not in lines:
        return {}
    docs: dict[str, str] = {}
    names: list[str] = []
    for line in lines[lines.index("Parameters") + 2 :]:
        match = _FIELD_LINE.match(line)
        if match:
            names = match[1].split(", ")
        elif line.startswith("    "):
            docs |= {name: f"{docs.get(name, '')} {line.strip()}".strip() for name in names}
        elif line.strip():  # the next section
            break
    return docs


def environment_table(root: Path) -> str:
    """Return what each environment changes with respect to base."""
    base = _flat(config(root, "base")["parameters"]) | _flat(config(root, "base")["globals"])
    rows = []
    for folder in sorted((root / "conf").iterdir()):
        if folder.name in ("base", "local") or not folder.is_dir():
            continue
        loader = config(root, folder.name)
        own = {
            key
            for path in folder.rglob("*.yml")
            for key in _flat(yaml.safe_load(path.read_text(encoding="utf-8")))
        }
        here = _flat(loader["parameters"]) | _flat(loader["globals"])
        rows += [
            (f"`{folder.name}`", f"`{key}`", f"`{base[key]}`", f"`{here[key]}`")
            for key in here
            if key in own and key in base
        ]
    return _table(("environment", "key", "base", "here"), rows)


def catalog_table(root: Path) -> str:
    """Return every entry of the catalog: its name or pattern, its class, its place; in order of place."""
    loader = config(root, "base")
    data = str(loader["globals"]["data"])
    rows = []
    for name, entry in loader["catalog"].items():
        if name.startswith("_"):
            continue
        leaf = entry.get("dataset", {})
        kind = leaf.get("type", entry["type"]).rsplit(".", 1)[-1] if isinstance(leaf, dict) else str(leaf)
        path = str(entry.get("filepath", entry.get("path", "")))
        per_simulation = f"/<simulation>{entry.get('filename_suffix', '')}" if "dataset" in entry else ""
        rows.append((f"`{name}`", f"`{kind}`", f"`{path.removeprefix(f'{data}/')}{per_simulation}`"))
    return _table(("entry", "dataset", "place"), sorted(rows, key=lambda row: row[2]))


# ---- What the configuration means -----------------------------------------------


def instrument_table(root: Path) -> str:
    """Return the channels: centre frequency, beam in the table and in base, and noise."""
    table, used = instruments(root)
    rows = [
        (
            channel.name,
            f"{channel.frequency_ghz:g}",
            f"{channel.fwhm_arcmin:g}",
            f"{used[channel.name].fwhm_arcmin:g}",
            channel.stokes,
            f"{channel.noise_level('I'):.4g}",
            "" if channel.stokes == "I" else f"{channel.noise_polarisation_uk_arcmin:.4g}",
        )
        for channel in table
    ]
    head = (
        "channel",
        "centre [GHz]",
        "beam [arcmin]",
        "in base",
        "Stokes",
        "noise I [uK_CMB arcmin]",
        "noise Q, U",
    )
    return _table(head, rows)


def instruments(root: Path) -> tuple[Instrument, Instrument]:
    """Return the instrument of the table, and that of base."""
    settings = config(root, "base")["parameters"]["instrument"]
    table = InstrumentTableDataset(filepath=root / "conf/base/instruments/planck_like.ecsv").load()
    beams = {"scale": settings["beam_scale"], "floor_arcmin": settings["fwhm_floor_arcmin"]}
    return table, table.with_beams(**beams)


def scales_table(root: Path) -> str:
    """Return the needlet scales of base: what they hold and work with."""
    _, instrument = instruments(root)
    settings = NeedletILC(**config(root, "base")["parameters"]["pyilc"])
    beams = np.stack([channel.beam_window(settings.lmax) for channel in instrument])
    rows = [
        (
            str(scale.index),
            f"{np.flatnonzero(scale.window)[0]} to {np.flatnonzero(scale.window)[-1]}",
            str(scale.nside),
            "all"
            if len(scale.channels) == len(instrument)
            else ", ".join(instrument.names[c] for c in scale.channels),
            f"{np.degrees(scale.covariance_fwhm):.0f}",
        )
        for scale in ilc_scales(beams, settings)
    ]
    return _table(("scale", "multipoles", "nside", "channels", "FWHM of the region [degrees]"), rows)


def cosmologies_table() -> str:
    """Return the published parameter tables that cosmologies are drawn from."""
    rows = [
        (f"`{name}`", table.source, f"{table.pivot:g}", f"{table.mnu:g}" if table.mnu else "massless")
        for name, table in TABLES.items()
    ]
    return _table(("`cosmology.table`", "source", "pivot of A_s and n_s [1/Mpc]", "neutrinos [eV]"), rows)


def foregrounds_table() -> str:
    """Return the spectra of the embedded sky's components."""
    index, temperature, synchrotron = (
        f"{mean:g} ± {scatter:g}"
        for mean, scatter in (
            MEASURED_SPECTRA[name] for name in ("dust_index", "dust_temperature", "synchrotron_index")
        )
    )
    ame = f"peak at {AME_PEAK_GHZ:g} GHz (Stevenson 2014, ApJ 781, 113)"
    rows = [
        ("dust", f"modified black body, index {index}, temperature {temperature} K"),
        ("synchrotron", f"power law, index {synchrotron} in brightness temperature"),
        ("free-free", f"power law, index {FREE_FREE_INDEX:g} everywhere, not polarised"),
        ("AME", f"log-normal flux, {ame}, not polarised"),
    ]
    return _table(("component", "spectrum, with its scatter over the sky"), rows)


def bandpasses_table(root: Path) -> str:
    """Return the shipped bandpasses, and what they do to the conversion of units and to dust."""
    table, _ = instruments(root)
    bands = BandpassTableDataset(filepath=root / "conf/base/instruments/planck_like_bandpasses.ecsv").load()
    rows = []
    for channel in table.with_bandpasses(bands):
        low, *_, high = bands[channel.name].frequencies_ghz
        delta = replace(channel, bandpass=None)
        dust = band_average(channel, _dust) / band_average(delta, _dust) - 1
        units = band_factor(delta) / band_factor(channel) - 1
        number = str(len(bands[channel.name].weights))
        rows.append((channel.name, f"{low:.1f} to {high:.1f}", number, f"{units:+.1%}", f"{dust:+.1%}"))
    head = ("channel", "band [GHz]", "frequencies", "factor at the centre", "dust against the centre")
    return _table(head, rows)


def _dust(ghz: float) -> float:
    """Brightness temperature of dust of index 1.54 and 20 K, in arbitrary units."""
    return ghz**2.54 / np.expm1(0.0479924 * ghz / 20) / ghz**2


def presets_table() -> str:
    """Return PySM's presets: what they are made of, and how they take part."""
    rows = []
    for preset, config in PRESET_MODELS.items():
        classes = dict.fromkeys(part["class"] for part in parts(config))
        remarks = [
            refusal(preset, delta=True),
            "drawn anew for every simulation" if draws(preset) else "",
            _table_range(config),
        ]
        how = "; ".join(filter(None, remarks)) or "fixed in shape"
        rows.append((f"`{preset}`", ", ".join(f"`{name}`" for name in classes), how))
    return _table(("preset", "PySM's class", "how it takes part"), rows)


def _table_range(config: dict) -> str:
    """Return between which frequencies a preset interpolates; "" if it does not."""
    for part in parts(config):
        cls = getattr(pysm3.models, part["class"])
        if issubclass(cls, InterpolatingComponent):
            model = cls(nside=1, **{key: value for key, value in part.items() if key != "class"})
            return f"interpolates between maps from {min(model.freqs):g} to {max(model.freqs):g} GHz"
    return ""


def _flat(value: object, prefix: str = "") -> dict[str, object]:
    if isinstance(value, dict) and value:
        return {
            key: leaf
            for k, v in value.items()
            for key, leaf in _flat(v, f"{prefix}.{k}" if prefix else k).items()
        }
    return {prefix: value}


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return (
        "\n".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |" for line in lines) + "\n"
    )
