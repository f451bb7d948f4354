"""What a run would compute and write, and what it lacks. Nothing is computed or written here."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from kedro.framework.project import pipelines as registered
from kedro.framework.session import KedroSession
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline
from kedro_datasets.partitions import PartitionedDataset

from cmbml.datasets import ChannelFilesDataset, DeferredDataset, ParallelPartitionedDataset
from cmbml.hooks import CheckHooks
from cmbml.pipeline_registry import main_job
from cmbml.pipelines import method_names
from cmbml.science.instrument import channel_names
from cmbml.settings import HOOKS
from cmbml.volumes import PRODUCTS, Dimensions, dimensions_of

_SPLIT = re.compile(r"(?<![a-z])(train|valid|test)(?![a-z])")

_OPTIONAL = (ChannelFilesDataset, DeferredDataset)
"""Inputs that only some configurations read; the checks before a run know which."""

_BY_CHANNEL = ("noise_averages", "noise_models", "noise_sources")
"""Products with a partition per channel."""


@dataclass(frozen=True)
class Product:
    """What a run makes, of all splits together.

    Parameters
    ----------
    name
        Name in the catalog, with {split} for the split.
    layer
        Layer of the data, as Kedro-Viz shows it.
    wanted, there
        Number of its partitions that are asked for, and of those that lie there already; 1 for what
        has none, 0 for what this configuration does without.
    files, size
        Files and bytes of all that is asked for; None where they are not known.
    """

    name: str
    layer: str
    wanted: int
    there: int
    files: int | None
    size: int | None

    @property
    def size_to_come(self) -> int:
        """Bytes of what is not there yet."""
        return round((self.size or 0) * (1 - self.there / max(self.wanted, 1)))


@dataclass(frozen=True)
class Input:
    """What a run reads and does not make.

    Parameters
    ----------
    name, place
        Name in the catalog, and file or folder.
    state
        "there", "missing", or "not needed" for what this configuration does without.
    remedy
        How to get what is missing.
    """

    name: str
    place: str
    state: str
    remedy: str = ""


@dataclass(frozen=True)
class Plan:
    """What a run would do.

    Parameters
    ----------
    products, inputs
        What it makes and what it reads, in the order of the nodes.
    problems
        A sentence for everything that keeps it from being run as it is configured; where that are its
        channels, nothing else is said.
    """

    products: tuple[Product, ...]
    inputs: tuple[Input, ...]
    problems: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        """Whether the run has all it needs."""
        return not self.problems and all(item.state != "missing" for item in self.inputs)


@dataclass(frozen=True)
class Job:
    """Pipelines as a run of this project would find them.

    Parameters
    ----------
    pipeline, catalog, parameters
        What would be run: the parameters as validated groups.
    problems
        What the checks before a run say.
    """

    pipeline: Pipeline
    catalog: DataCatalog
    parameters: Mapping[str, Any]
    problems: tuple[str, ...]

    def plan(self) -> Plan:
        """Return what the run would do."""
        parts = sorted(
            registered.items(), key=lambda item: item[0] in main_job()
        )  # others first: it goes over them
        makers = {
            output: name for name, part in parts for output in part.all_outputs() if name != "__default__"
        }
        return make_plan(self.pipeline, self.catalog, self.parameters, problems=self.problems, makers=makers)


def session_job(
    project: Path,
    names: Sequence[str],
    *,
    env: str | None,
    params: Mapping[str, Any],
    conf: str | None = None,
) -> Job:
    """Return pipelines of this project with their catalog and parameters, checked.

    Parameters
    ----------
    project
        Folder of the project.
    names
        Of the pipelines; none for the main job.
    env, params, conf
        Environment, parameters and folder of the configuration, as for `kedro run`.

    Raises
    ------
    LookupError
        If a pipeline is not known.
    """
    unknown = sorted(set(names) - set(registered))
    if unknown:
        raise LookupError(f"pipeline {unknown[0]}: not known; known are {', '.join(sorted(registered))}")
    pipeline = sum((registered[name] for name in names or ["__default__"]), Pipeline([]))
    with KedroSession.create(project, env=env, runtime_params=dict(params), conf_source=conf) as session:
        context = cast(KedroSession, session).load_context()
        catalog = cast(DataCatalog, context.catalog)
        (checks,) = (hook for hook in HOOKS if isinstance(hook, CheckHooks))  # they have seen this session
        return Job(pipeline, catalog, context.params, tuple(checks.problems(pipeline, catalog)))


def session_plan(
    project: Path,
    names: Sequence[str],
    *,
    env: str | None,
    params: Mapping[str, Any],
    conf: str | None = None,
) -> Plan:
    """Return what running pipelines of this project would do; see `session_job`."""
    return session_job(project, names, env=env, params=params, conf=conf).plan()


def make_plan(
    pipeline: Pipeline,
    catalog: DataCatalog,
    parameters: Mapping[str, Any],
    *,
    problems: Sequence[str],
    makers: Mapping[str, str],
) -> Plan:
    """Return what running a pipeline would do.

    Parameters
    ----------
    pipeline, catalog, parameters
        What would be run: the parameters as validated groups.
    problems
        What the checks before a run say.
    makers
        By dataset, the pipeline that makes it.
    """
    table = catalog["instrument_table"].load()
    try:
        channel_names(parameters["instrument"].channels, table.names)
    except ValueError as error:  # then there is nothing to count
        return Plan((), (), tuple(problems) or (f"instrument.channels: {error}",))
    dimensions = dimensions_of(
        parameters,
        table,
        container="hdf5" if "Hdf5" in _described(catalog, "test_observations", "dataset_type") else "fits",
        compared=min(len(_wanted(name, catalog, parameters)) for name in ("test_cmb", "any_cleaned_test")),
        predicting=[method for method in method_names() if f"{method}_errors_test" in makers],
    )
    products = _products(pipeline, catalog, parameters, dimensions)
    free = sorted(name for name in pipeline.inputs() if not name.startswith("params:"))
    inputs = tuple(_input(name, catalog, problems, makers) for name in free)
    return Plan(products, inputs, tuple(problems))


def _products(
    pipeline: Pipeline, catalog: DataCatalog, parameters: Mapping[str, Any], dimensions: Dimensions
) -> tuple[Product, ...]:
    """Return the products in the order of the nodes, those of several splits as one."""
    groups: dict[str, list[Product]] = {}
    for node in pipeline.nodes:
        for name in node.outputs:
            if catalog.get(name) is not None:  # else it stays in memory
                one = _product(name, catalog, parameters, dimensions)
                groups.setdefault(one.name, []).append(one)
    return tuple(_together(group) for group in groups.values())


def _product(
    name: str, catalog: DataCatalog, parameters: Mapping[str, Any], dimensions: Dimensions
) -> Product:
    pattern = catalog.config_resolver.match_dataset_pattern(name)
    estimate = PRODUCTS.get(name) or PRODUCTS.get(pattern or "")
    volume = estimate(dimensions, name) if estimate else None
    wanted = _fitted(name, _wanted(name, catalog, parameters), dimensions)
    return Product(
        name=_SPLIT.sub("{split}", name),
        layer=_layer(catalog[name]),
        wanted=len(wanted),
        there=len(wanted & _there(catalog[name])),
        files=volume.files * len(wanted) if volume else None,
        size=volume.size * len(wanted) if volume else None,
    )


def _layer(dataset: Any) -> str:
    metadata = getattr(dataset, "metadata", None) or {}
    return str(metadata.get("kedro-viz", {}).get("layer", ""))


def _together(parts: Sequence[Product]) -> Product:
    """Return one product for those of several splits."""
    return replace(
        parts[0],
        wanted=sum(part.wanted for part in parts),
        there=sum(part.there for part in parts),
        files=_sum(part.files for part in parts),
        size=_sum(part.size for part in parts),
    )


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = list(numbers)
    return None if None in known else sum(number or 0 for number in known)


def _wanted(name: str, catalog: DataCatalog, parameters: Mapping[str, Any]) -> set[str]:
    """Return the ids of the partitions that are asked for; {""} for what has none."""
    split, noise = _SPLIT.search(name), parameters["noise"]
    if name == "noise_sources" and not (noise.uses_model or noise.uses_variances):
        return set()
    if name in _BY_CHANNEL:
        return set(channel_names(parameters["instrument"].channels, catalog["instrument_table"].load().names))
    if name == "report_sky_figures":
        return set(_simulations("test", catalog, parameters)[: parameters["analysis"].figure_simulations])
    if split is None:
        return {""}
    limit = _described(catalog, name, "limit")
    return set(_simulations(split[0], catalog, parameters)[: limit if isinstance(limit, int) else None])


def _fitted(name: str, ids: set[str], dimensions: Dimensions) -> set[str]:
    """Return the ids of a product, or fewer of it if it serves to fit something to skies with a truth."""
    for method, own in dimensions.learning.items():
        if name == f"{method}_corrections":
            return set(own.corrections)
        for split, count in own.fitted_skies.items():
            if name == f"{method}_predictions_{split}":
                return set(sorted(ids)[:count])
    return ids


def _simulations(split: str, catalog: DataCatalog, parameters: Mapping[str, Any]) -> list[str]:
    """Return the ids of a split: as many as are asked for, or what a dataset from elsewhere holds."""
    observed = f"{split}_observations"
    if _described(catalog, observed, "read_only") and catalog[observed].exists():
        return sorted(catalog[observed].load())
    return [f"sim{index:04d}" for index in range(getattr(parameters["simulations"], split))]


def _there(dataset: Any) -> set[str]:
    """Return the ids of the partitions that lie there, of whatever configuration; {""} for what has none."""
    if isinstance(dataset, DeferredDataset):
        return _there(dataset.load().dataset)
    if isinstance(dataset, ParallelPartitionedDataset):
        return set(dataset.finished())
    if not dataset.exists():
        return set()
    return set(dataset.load()) if isinstance(dataset, PartitionedDataset) else {""}


def _input(name: str, catalog: DataCatalog, problems: Sequence[str], makers: Mapping[str, str]) -> Input:
    dataset = catalog[name]
    place = str(_described(catalog, name, "filepath") or _described(catalog, name, "path") or "in memory")
    if dataset.exists():
        return Input(name, place, "there")
    # The checks name what is needed and missing, as "<entry>: <place>" or "<entry> of <channels>".
    is_needed = any(re.search(rf"(?<![\w=+]){name}(:| of )", problem) for problem in problems)
    if _described(catalog, name, "allow_missing") or (isinstance(dataset, _OPTIONAL) and not is_needed):
        return Input(name, place, "not needed")
    made_by = f"kedro run --pipelines={makers[name]}" if name in makers else ""
    return Input(name, place, "missing", _described(catalog, name, "purpose") or made_by)


def _described(catalog: DataCatalog, name: str, key: str) -> Any:
    return catalog[name]._describe().get(key, "")
