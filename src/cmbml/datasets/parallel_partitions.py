"""A partitioned dataset that computes and writes its partitions in parallel."""

import inspect
import json
import logging
import time
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from kedro.io.core import AbstractDataset, DatasetError
from kedro_datasets._typing import ImagePreview
from kedro_datasets.partitions import PartitionedDataset

from cmbml.datasets.partition_recipes import ID, LISTED, Lazy, changes, fingerprint, recipe_of, some
from cmbml.datasets.partition_work import ProgressBar, Task, file_sizes, run_tasks
from cmbml.datasets.storage import write_files

LOGGER = logging.getLogger(__name__)
STATE_FOLDER = ".partitions"


@dataclass(frozen=True)
class StoredPartition:
    """A partition on disk: call it to load it.

    Parameters
    ----------
    dataset
        Dataset of this one partition.
    fingerprint
        Hash of everything that determines its content.
    inputs
        By argument, what it was made from: a fingerprint, or the value itself.
    """

    dataset: AbstractDataset[Any, Any]
    fingerprint: str
    inputs: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Any:
        """Load the partition."""
        return self.dataset.load()

    def restricted(self, **options: Any) -> "StoredPartition":
        """Return the loader of a part of the partition, see `cmbml.partitions.restrict`."""
        dataset: Any = self.dataset
        return replace(self, dataset=dataset.restricted(**options))


class ParallelPartitionedDataset(PartitionedDataset):  # type: ignore[misc]
    """Partitions of a split, computed and written by worker processes.

    `save` takes {id: lazy partition}, as `cmbml.partitions.lift` makes them.
    Each partition is computed *and* written in a worker, so that no map travels
    between processes; partitions that lie there under the same fingerprint are
    skipped; every partition is tried before one error lists the failures. The
    expected ids and their recipes are written first, so that `exists` means
    complete and an interrupted run goes on where it stopped.

    `load` returns {id: loader}, each loader with the fingerprint of what it
    loads. A folder without our manifest (another system's simulations) is
    listed as it is.

    Parameters
    ----------
    path
        Folder of the partitions.
    dataset
        Definition of the dataset of one partition.
    filename_suffix
        What follows the id in a partition's path, such as "/cmb.fits".
    n_jobs
        Worker processes; 0 computes in this process (for debugging).
    threads
        Threads of one partition. Results may differ in their last bits when
        this changes, so it is fixed and does not follow from `n_jobs`.
    on_mismatch
        What to do with partitions of another configuration: "error", or
        "recompute" them.
    limit
        How many partitions are kept, from the first one on, or "all". Never more than there are.
    allow_missing
        Whether a folder that does not exist loads as no partitions at all.
    accumulate
        Whether partitions that an earlier run saved under other ids stay listed.
    read_only
        Whether saving is refused, for raw inputs.
    credentials, fs_args, metadata
        As in `kedro_datasets.partitions.PartitionedDataset`.

    Raises
    ------
    DatasetError
        On construction, if an option has a value it cannot have.
    """

    def __init__(
        self,
        *,
        path: str,
        dataset: str | type[AbstractDataset[Any, Any]] | dict[str, Any],
        filename_suffix: str = "",
        n_jobs: int = 1,
        threads: int = 1,
        on_mismatch: Literal["error", "recompute"] = "error",
        limit: int | Literal["all"] = "all",
        allow_missing: bool = False,
        accumulate: bool = False,
        read_only: bool = False,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        if on_mismatch not in ("error", "recompute"):
            raise DatasetError(f"on_mismatch {on_mismatch!r}: must be 'error' or 'recompute'")
        if n_jobs < 0 or threads < 1:
            raise DatasetError(f"n_jobs {n_jobs} must be 0 or more, threads {threads} at least 1")
        if limit != "all" and (not isinstance(limit, int) or limit < 1):
            raise DatasetError(f"limit {limit!r}: must be 'all' or a number of partitions, at least 1")
        super().__init__(
            path=str(path),
            dataset=dataset,
            filename_suffix=filename_suffix,
            credentials=credentials,
            fs_args=fs_args,
            metadata=metadata,
        )
        if "version" in self._dataset_config:
            raise DatasetError(
                f"{path}: partitions cannot be versioned one by one; version the folder's name"
            )
        self._n_jobs = n_jobs
        self._threads = threads
        self._on_mismatch = on_mismatch
        self._limit = limit
        self._allow_missing = allow_missing
        self._accumulate = accumulate
        self._read_only = read_only

    # ---- Kedro's side -----------------------------------------------------

    def load(self) -> dict[str, StoredPartition]:
        """Return {id: loader}; nothing is read yet.

        Raises
        ------
        DatasetError
            If partitions are missing, or there is none.
        """
        self._invalidate_caches()
        recipes = self._read_manifest()
        if recipes is None:
            return self._load_foreign()
        marks = self._read_marks()
        missing = [name for name, recipe in recipes.items() if not self._is_done(name, recipe, marks)]
        if missing:
            raise DatasetError(
                f"{self._path}: {len(missing)} of {len(recipes)} partitions are missing "
                f"({some(missing)}); run the pipeline that makes them again, it goes on where it stopped"
            )
        return {
            name: StoredPartition(self._leaf(name), fingerprint(recipe), recipe["inputs"])
            for name, recipe in recipes.items()
        }

    def save(self, data: Mapping[str, Lazy]) -> None:
        """Compute and write the partitions that are not there yet.

        Parameters
        ----------
        data
            {id: lazy partition}.

        Raises
        ------
        DatasetError
            If the dataset is read-only, there are fewer partitions than its limit, an id cannot be a
            file name, a partition has no recipe, what lies there belongs to another configuration, or
            partitions failed (after all were tried).
        """
        if self._read_only:
            raise DatasetError(f"{self._path}: raw input is read-only; nothing is saved to it")
        recipes = {name: recipe_of(name, data[name]) for name in self._kept(data)}
        self._settle_mismatch(recipes)
        others = (self._read_manifest() or {}) if self._accumulate else {}
        self._write_json("manifest.json", {"format": 1, "recipes": {**others, **recipes}})
        marks = self._read_marks()
        pending = [name for name, recipe in recipes.items() if not self._is_done(name, recipe, marks)]
        self._sweep(pending)
        failures = self._compute(pending, data, total=len(recipes))
        self._invalidate_caches()
        if failures:
            first = next(iter(failures))
            raise DatasetError(
                f"{self._path}: {len(failures)} of {len(recipes)} partitions failed; the others are kept. "
                + "; ".join(f"{name}: {failures[name]}" for name in list(failures)[:LISTED])
                + (" ..." if len(failures) > LISTED else "")
                + f". To see one alone: n_jobs=0 and the partition {first}"
            )

    def finished(self) -> list[str]:
        """Return the ids of the partitions that lie there, of whatever configuration."""
        self._invalidate_caches()
        return sorted(self._read_marks()) or self._foreign_ids()

    def preview(self, partition: str | None = None) -> ImagePreview:
        """Return the preview of one partition, by default the first."""
        stored = self.load()
        chosen: Any = stored[partition or next(iter(stored))].dataset
        return ImagePreview(chosen.preview())

    def _exists(self) -> bool:
        self._invalidate_caches()
        recipes = self._read_manifest()
        if recipes is None:
            return bool(self._foreign_ids())
        marks = self._read_marks()
        return all(self._is_done(name, recipe, marks) for name, recipe in recipes.items())

    def _describe(self) -> dict[str, Any]:
        return {
            **super()._describe(),
            "filename_suffix": self._filename_suffix,
            "n_jobs": self._n_jobs,
            "threads": self._threads,
            "limit": self._limit,
            "allow_missing": self._allow_missing,
            "read_only": self._read_only,
        }

    def _kept(self, data: Mapping[str, Lazy]) -> list[str]:
        """Return the ids that are kept."""
        ids = sorted(data)
        if self._limit == "all":
            return ids
        if data and len(data) < self._limit:
            raise DatasetError(
                f"{self._path}: {self._limit} partitions are asked for, but there are only {len(data)}; "
                "lower the number or make more of what they are made from"
            )
        return ids[: self._limit]

    # ---- What lies there --------------------------------------------------

    def _state_path(self, name: str) -> str:
        root = self._filesystem._strip_protocol(self._normalized_path).rstrip(self._sep)
        return str(self._sep.join([root, STATE_FOLDER, name]))

    def _leaf(self, name: str, mark: str = "") -> AbstractDataset[Any, Any]:
        """Return the dataset of one partition; where it can, it writes whose file it is."""
        arguments = deepcopy(self._dataset_config)
        if mark and "header" in inspect.signature(self._dataset_type.__init__).parameters:
            arguments["header"] = {"SIMUL": name, "FINGPRNT": mark, **arguments.get("header", {})}
        arguments[self._filepath_arg] = self._join_protocol(self._partition_to_path(name))
        leaf: AbstractDataset[Any, Any] = self._dataset_type(**arguments)
        return leaf

    def _read_manifest(self) -> dict[str, dict[str, Any]] | None:
        path = self._state_path("manifest.json")
        if not self._filesystem.exists(path):
            return None
        recipes: dict[str, dict[str, Any]] = json.loads(self._filesystem.cat_file(path))["recipes"]
        return recipes

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        self._filesystem.makedirs(self._state_path(""), exist_ok=True)
        write_files(self._filesystem, [(self._state_path(name), json.dumps(content, indent=1).encode)])

    def _read_marks(self) -> dict[str, str]:
        """Return {id: fingerprint} of the partitions that were finished.

        A finished partition has a file `<id>.<fingerprint>.done` in the state
        folder, written after its data: one listing tells all. It holds the sizes
        of the partition's files, so that a lost or cut one is noticed.
        """
        folder = self._state_path("")
        if not self._filesystem.exists(folder):
            return {}
        names = [path.rsplit(self._sep, 1)[-1] for path in self._filesystem.ls(folder, detail=False)]
        marks = (name.split(".") for name in names if name.endswith(".done"))
        return {name: mark for name, mark, _ in marks}

    def _is_done(self, name: str, recipe: Mapping[str, Any], marks: Mapping[str, str]) -> bool:
        if marks.get(name) != fingerprint(recipe):
            return False
        sizes = json.loads(self._filesystem.cat_file(self._state_path(f"{name}.{marks[name]}.done")))
        return bool(sizes == file_sizes(self._filesystem, self._partition_to_path(name)))

    def _settle_mismatch(self, recipes: Mapping[str, dict[str, Any]]) -> None:
        """Compare with what lies there; raise, or clear the way to recompute."""
        known, marks = self._read_manifest() or {}, self._read_marks()
        foreign = [] if known or marks else [name for name in recipes if self._leaf(name).exists()]
        stale = [
            name for name, recipe in recipes.items() if marks.get(name, "") not in ("", fingerprint(recipe))
        ]
        if (stale or foreign) and self._on_mismatch == "error":
            told = {name: known[name] for name in stale if fingerprint(known.get(name, {})) == marks[name]}
            raise DatasetError(self._mismatch_message([*stale, *foreign], told, recipes))
        for name in stale:
            self._filesystem.rm_file(self._state_path(f"{name}.{marks[name]}.done"))

    def _mismatch_message(
        self, names: list[str], old: Mapping[str, dict[str, Any]], new: Mapping[str, dict[str, Any]]
    ) -> str:
        """Say how the recipes of partitions differ from those that are asked for now."""
        told = {line: None for name in old for line in changes(old[name], new[name])}
        why = "; ".join(list(told)[:LISTED]) or "their recipe is not recorded"
        return (
            f"{self._path}: {len(names)} partitions ({some(names)}) were made under "
            f"another configuration: {why}. They are untouched. To recompute them, run again with "
            "--params on_mismatch=recompute; to keep them, restore the old values or give this run another "
            "data folder with --params data=<folder>"
        )

    def _foreign_ids(self) -> list[str]:
        """Ids in a folder that we did not write."""
        root = self._filesystem._strip_protocol(self._normalized_path).rstrip(self._sep)
        if not self._filesystem.isdir(root):
            return []
        names = [
            str(path).rstrip(self._sep).rsplit(self._sep, 1)[-1]
            for path in self._filesystem.ls(root, detail=False)
        ]
        suffix = self._filename_suffix
        if suffix and not suffix.startswith(self._sep):
            names = [name.removesuffix(suffix) for name in names if name.endswith(suffix)]
        return sorted(name for name in names if ID.match(name) and self._leaf(name).exists())

    def _load_foreign(self) -> dict[str, StoredPartition]:
        ids = self._foreign_ids()
        if not ids and not self._allow_missing:
            raise DatasetError(f"{self._path}: no partitions there; run the pipeline that makes them")
        return {name: StoredPartition(self._leaf(name), self._foreign_fingerprint(name)) for name in ids}

    def _foreign_fingerprint(self, name: str) -> str:
        """Hash names, sizes and times of a foreign partition's files, not its place."""
        path = self._partition_to_path(name)
        files = (
            self._filesystem.find(path, detail=True)
            if self._filesystem.isdir(path)
            else {path: self._filesystem.info(path)}
        )
        facts = [
            [file.removeprefix(path), info.get("size"), str(info.get("mtime", info.get("LastModified", "")))]
            for file, info in sorted(files.items())
        ]
        return fingerprint({"foreign": facts})

    # ---- The work ---------------------------------------------------------

    def _compute(self, pending: list[str], data: Mapping[str, Lazy], *, total: int) -> dict[str, str]:
        """Compute and write; return {id: what went wrong}."""
        if not pending:
            LOGGER.info("%s: all %d partitions are there already", self._path, total)
            return {}
        LOGGER.info("%s: computing %d of %d partitions", self._path, len(pending), total)
        tasks = {name: self._task(name, data[name]) for name in pending}
        started, failures = time.monotonic(), {}
        with ProgressBar(self._path, len(pending)) as bar:
            for name, problem in run_tasks(
                tasks, n_jobs=self._n_jobs, threads=self._threads, title=self._path
            ):
                bar.advance()
                if problem is not None:
                    failures[name] = problem
        LOGGER.info("%s: %d partitions in %.1f s", self._path, len(pending), time.monotonic() - started)
        return dict(sorted(failures.items()))

    def _sweep(self, names: list[str]) -> None:
        """Remove what killed runs left of partitions: files that never got their final names."""
        for name in names:
            folder, stem = self._partition_to_path(name).rsplit(self._sep, 1)
            for pattern in (f"{folder}/{stem}.*.part", f"{folder}/{stem}/*.part"):
                for path in self._filesystem.glob(pattern):
                    self._filesystem.rm_file(path)

    def _task(self, name: str, item: Lazy) -> Task:
        own = fingerprint(item.recipe)
        mark = self._state_path(f"{name}.{own}.done")
        return Task(
            name,
            item,
            self._leaf(name, own),
            self._filesystem,
            self._partition_to_path(name),
            mark,
            self._threads,
        )
