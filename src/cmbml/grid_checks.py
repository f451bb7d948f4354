"""A grid of runs, and what keeps its combinations from being run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kedro.io import DatasetError
from kedro.validation.exceptions import ParameterValidationError

from cmbml.grid import Combination
from cmbml.plan import Job, session_job


@dataclass(frozen=True)
class Grid:
    """What runs under every combination of parameters.

    Parameters
    ----------
    name
        Results of a combination are called ``<name>/<combination>``.
    combinations
        The combinations.
    project
        Folder of the project.
    pipelines
        Names; none for the main job.
    env, conf
        Environment and folder of the configuration, as for `kedro run`.
    params
        Parameters that all combinations have in common, in groups.
    """

    name: str
    combinations: tuple[Combination, ...]
    project: Path
    pipelines: tuple[str, ...] = ()
    env: str | None = None
    conf: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    def results(self, combination: Combination) -> str:
        """Return the name of a combination's results."""
        return f"{self.name}/{combination.name}"

    def parameters(self, combination: Combination) -> dict[str, Any]:
        """Return the parameters of a combination's run."""
        return combination.parameters(self.params, results=self.results(combination))

    def job(self, combination: Combination) -> Job:
        """Return a combination's run, checked; see `session_job`."""
        params = self.parameters(combination)
        return session_job(self.project, self.pipelines, env=self.env, params=params, conf=self.conf)

    def records(self) -> dict[str, dict[str, Any]]:
        """Return by results what tells them apart, and under the grid's name which belong to it."""
        common = {"pipelines": list(self.pipelines), "env": self.env, "common_parameters": dict(self.params)}
        each = {
            self.results(combination): {"parameters": dict(combination.values), **common}
            for combination in self.combinations
        }
        return {self.name: {"members": list(each), **common}, **each}


def grid_problems(grid: Grid) -> tuple[str, ...]:
    """Return a sentence for everything that keeps a combination from being run.

    These are what `kedro plan` says of each combination, and products that
    combinations would make from different parameters in the same place.

    Raises
    ------
    LookupError
        If a pipeline is not known.
    """
    found: dict[str, list[str]] = {}
    makers: dict[str, tuple[str, dict[str, str]]] = {}
    shared: dict[tuple[str, ...], set[str]] = {}
    for combination in grid.combinations:
        try:
            job = grid.job(combination)
            for sentence in _problems(job):
                found.setdefault(sentence, []).append(combination.name)
        except (ParameterValidationError, ValueError, DatasetError) as error:
            found.setdefault(str(error), []).append(combination.name)
            continue
        for place, (product, groups) in _places(job).items():
            _, others = makers.setdefault(place, (product, groups))
            differing = tuple(name for name in sorted(groups) if groups[name] != others.get(name))
            if differing:
                shared.setdefault(differing, set()).add(product)
    every = len(grid.combinations)
    return (
        *(f"{_who(names, every)}: {sentence}" for sentence, names in found.items()),
        *(
            f"{', '.join(sorted(products))}: made from {', '.join(groups)}, which differs between "
            "combinations, but all would write to the same place; leave out the pipeline that makes them, or "
            "give each value a data folder of its own with kedro run"
            for groups, products in shared.items()
        ),
    )


def _who(names: Sequence[str], every: int) -> str:
    return "every combination" if len(names) == every else ", ".join(names)


def _problems(job: Job) -> Iterator[str]:
    plan = job.plan()
    yield from plan.problems
    for item in plan.inputs:
        if item.state == "missing":
            yield f"{item.name} is missing: {item.place}; {item.remedy}".rstrip("; ")


def _places(job: Job) -> dict[str, tuple[str, dict[str, str]]]:
    """Return by place the product written there, and the groups of parameters that it is made from."""
    places = {}
    for product in sorted(job.pipeline.all_outputs()):
        description = job.catalog[product]._describe() if job.catalog.get(product) is not None else {}
        place = description.get("filepath") or description.get("path")
        if place:
            read = job.pipeline.to_outputs(product).inputs()
            names = {
                name.removeprefix("params:").split(".")[0] for name in read if name.startswith("params:")
            }
            places[str(place)] = (product, {name: repr(job.parameters[name]) for name in names})
    return places
