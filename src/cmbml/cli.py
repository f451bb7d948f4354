"""Commands of this project, beside Kedro's own: `kedro <command>` in the project's folder."""

import re
from itertools import zip_longest
from pathlib import Path
from typing import Any, cast

import click
import rich
from kedro.framework.cli.project import PARAMS_ARG_HELP
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS, ENV_HELP, _split_params, split_string
from kedro.framework.session import KedroSession
from kedro.framework.startup import ProjectMetadata
from kedro.io import DataCatalog, DatasetError
from kedro.validation.exceptions import ParameterValidationError
from rich.console import Group
from rich.table import Table

from cmbml.hooks import ConfigurationError

__all__ = ["cli", "run"]  # `python -m cmbml` looks for run here


class Trouble(click.ClickException):
    """What stops a command; its exit status is that of neither answer."""

    exit_code = 2


@click.group(context_settings=CONTEXT_SETTINGS, name="cmbml")
def cli() -> None:
    """Commands of cmbml."""


class ConfiguredCommand(click.Command):
    """A command that says what is wrong with a configuration, and not where in the code it was found."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Raises
        ------
        click.ClickException
            If it cannot work as it is configured.
        """
        try:
            return super().invoke(ctx)
        except (ConfigurationError, ParameterValidationError) as error:
            raise click.ClickException(str(error)) from error


run = ConfiguredCommand("run", callback=kedro_run.callback, params=kedro_run.params, help=kedro_run.help)
cli.add_command(run)


@cli.command(cls=ConfiguredCommand)
@click.option("--env", "-e", default=None, help=ENV_HELP)
@click.option(
    "--pipelines",
    "--pipeline",
    default="",
    callback=split_string,
    help="Names of pipelines, separated by commas; by default what `kedro run` runs.",
)
@click.option("--params", default="", help=PARAMS_ARG_HELP, callback=_split_params)
@click.option("--conf-source", default=None, help="Folder of the configuration.")
@click.option("--strict", is_flag=True, help="Exit with status 1 if the run lacks something.")
@click.pass_obj
def plan(
    metadata: ProjectMetadata,
    *,
    env: str | None,
    pipelines: list[str],
    params: dict[str, Any],
    conf_source: str | None,
    strict: bool,
) -> None:
    """Say what a run would make, in how many files and bytes, and what it lacks; nothing is run."""
    from cmbml.plan import session_plan  # noqa: PLC0415 (imports all that simulates)
    from cmbml.plan_tables import plan_tables  # noqa: PLC0415

    try:
        found = session_plan(metadata.project_path, pipelines, env=env, params=params, conf=conf_source)
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from error
    except (ValueError, DatasetError) as error:
        raise click.ClickException(str(error)) from error
    for part in plan_tables(found):
        rich.get_console().print(part)
    raise SystemExit(1 if strict and not found.is_ready else 0)


OVER_HELP = """A parameter and the values it takes, KEY=VALUE,VALUE. Where a value holds a comma, separate the
values by semicolons, and quote the whole: "KEY=VALUE;VALUE"; a list alone is written "KEY=[1,2];". Each value
is read as that of --params is. Give the option once for each parameter; every combination of their values is
run."""


@cli.command(cls=ConfiguredCommand)
@click.option("--name", required=True, help="Name of the grid; a folder among the results.")
@click.option("--over", "axes", multiple=True, required=True, metavar="KEY=VALUES", help=OVER_HELP)
@click.option("--env", "-e", default=None, help=ENV_HELP)
@click.option(
    "--pipelines",
    "--pipeline",
    default="",
    callback=split_string,
    help="Names of pipelines, separated by commas; by default what `kedro run` runs.",
)
@click.option("--params", default="", help=PARAMS_ARG_HELP, callback=_split_params)
@click.option("--conf-source", default=None, help="Folder of the configuration.")
@click.option("--dry-run", is_flag=True, help="List and check the combinations; nothing is run.")
@click.pass_obj
def grid(
    metadata: ProjectMetadata, /, *, name: str, axes: tuple[str, ...], dry_run: bool, **options: Any
) -> None:
    """Run pipelines under every combination of some parameters, and put the results side by side.

    Each combination is a run with results of its own, called NAME/COMBINATION.
    All are checked before the first one runs. What is there already is skipped,
    so that the same command goes on where it stopped. One that fails does not
    stop the others; the exit status is then 1.
    """
    from cmbml.grid import check_name, combinations, read_axis  # noqa: PLC0415 (as for plan)
    from cmbml.grid_checks import Grid, grid_problems  # noqa: PLC0415
    from cmbml.grid_runs import combination_table, run_grid  # noqa: PLC0415

    try:
        found = Grid(
            check_name(name),
            combinations([read_axis(text) for text in axes], options["params"]),
            metadata.project_path,
            pipelines=tuple(options["pipelines"]),
            env=options["env"],
            conf=options["conf_source"],
            params=options["params"],
        )
        problems = grid_problems(found)
    except LookupError as error:
        raise click.UsageError(str(error.args[0])) from error
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    rich.get_console().print(combination_table(found))
    if problems:
        raise click.ClickException("the grid cannot work:\n- " + "\n- ".join(problems))
    raise SystemExit(0 if dry_run or run_grid(found) else 1)


@cli.command("compare-results")
@click.argument("names", metavar="RESULTS...", nargs=-1, required=True)
@click.option("--into", default=None, help="Name below which the table is written; else it is only printed.")
@click.option("--env", "-e", default=None, help=ENV_HELP)
@click.option("--params", default="", help=PARAMS_ARG_HELP, callback=_split_params)
@click.pass_obj
def compare_results(
    metadata: ProjectMetadata,
    names: tuple[str, ...],
    into: str | None,
    env: str | None,
    params: dict[str, Any],
) -> None:
    """Put the comparisons of named RESULTS side by side; the name of a grid stands for all of its results.

    Results of a grid come with the parameters that it varied.
    """
    from cmbml.grid import check_name  # noqa: PLC0415
    from cmbml.results import members, show_results, with_comparison  # noqa: PLC0415

    try:
        for name in (*names, *filter(None, [into])):
            check_name(name)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with KedroSession.create(metadata.project_path, env=env, runtime_params=params) as session:
        catalog = cast(DataCatalog, cast(KedroSession, session).load_context().catalog)
    every = list(dict.fromkeys(member for name in names for member in members(name, catalog)))
    if not with_comparison(every, catalog)[0]:
        place = Path(catalog[f"comparison_of_{every[0]}"]._describe()["filepath"])
        raise click.ClickException(
            f"results {', '.join(names)}: no comparison there, looked for {place}; run the pipeline analysis "
            "with --params results=<name>, or give the data folder it lies in"
        )
    show_results(every, catalog, into=into)


@cli.command("compare-copies")
@click.argument("name", metavar="MAP")
@click.option(
    "--mirror",
    "mirrors",
    multiple=True,
    default=("esa", "irsa"),
    show_default=True,
    help="Give two: esa, irsa, or the address of a copy of the assets folder.",
)
@click.option("--env", "-e", default=None, help=ENV_HELP)
@click.option("--params", default="", help=PARAMS_ARG_HELP, callback=_split_params)
@click.pass_obj
def compare_copies(
    metadata: ProjectMetadata, name: str, mirrors: tuple[str, ...], env: str | None, params: dict[str, Any]
) -> None:
    """Fetch the copies of a Planck MAP (a channel, or nilc) from two mirrors, and compare them.

    Compared are size, checksum, header cards and every value of every table. The
    exit status is 0 if all values agree, 1 if any differs, 2 if there is trouble.
    """
    if len(mirrors) != 2:
        raise click.UsageError(f"two mirrors are compared, not {len(mirrors)}")
    with KedroSession.create(metadata.project_path, env=env, runtime_params=params) as session:
        context = cast(KedroSession, session).load_context()
        try:
            catalog = cast(DataCatalog, context.catalog)
            one, other = _fetch_copies(catalog, context.params["assets"], name, mirrors)
            agree, shown = _compare(one, other, mirrors)
        except (ValueError, DatasetError) as error:
            raise Trouble(str(error)) from error
    rich.get_console().print(shown)
    raise SystemExit(0 if agree else 1)


def _fetch_copies(catalog: DataCatalog, settings: Any, name: str, mirrors: tuple[str, ...]) -> list[Any]:
    """Return both copies, each from a folder of its own, fetched if it is not there."""
    from cmbml.datasets import FitsCopyDataset  # noqa: PLC0415 (other commands need no astropy)
    from cmbml.pipelines.assets.catalogue import copies  # noqa: PLC0415
    from cmbml.pipelines.assets.nodes import fetch_order  # noqa: PLC0415

    found = []
    for mirror, file in zip(mirrors, copies(name, mirrors), strict=True):
        folder = f"copies_from_{re.sub(r'[^A-Za-z0-9]+', '_', mirror).strip('_')}"
        catalog.save(folder, fetch_order([file], settings, is_dry=False))
        catalog.load(folder)
        path = Path(catalog[folder]._describe()["path"]) / file.path
        found.append(FitsCopyDataset(filepath=str(path)).load())
    return found


def _compare(one: Any, other: Any, mirrors: tuple[str, ...]) -> tuple[bool, Group]:
    """Return whether all values agree, and the tables to print."""
    from cmbml.pipelines.assets.comparison import compare_cards, compare_columns, same_layout  # noqa: PLC0415

    files = Table("", *mirrors, title=one.path.name)
    files.add_row("bytes", str(one.size), str(other.size))
    files.add_row("SHA-256", one.sha256(), other.sha256())
    cards = Table("HDU", "card", *mirrors, title="header cards that differ")
    columns = Table("HDU", "column", "values", "that differ", "largest difference", title="values")
    pairs: list[tuple[dict[str, str], dict[str, str]]]
    pairs = list(zip_longest(one.cards(), other.cards(), fillvalue={}))
    agree = True
    for hdu, (first, second) in enumerate(pairs):
        for key, values in compare_cards(first, second).items():
            cards.add_row(str(hdu), key, *values)
        if not same_layout(first, second):
            agree = False
            columns.add_row(str(hdu), "not compared: the layouts differ")
        elif "TFIELDS" in first:
            pieces = zip(one.pieces(hdu), other.pieces(hdu), strict=True)
            for column, found in compare_columns(pieces).items():
                agree = agree and found.differing == 0
                columns.add_row(
                    str(hdu), column, str(found.count), str(found.differing), f"{found.largest:.6g}"
                )
    return agree, Group(files, cards if cards.row_count else "header cards: the same", columns)
