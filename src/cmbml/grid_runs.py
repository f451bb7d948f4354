"""Run a grid, each combination in a process of its own, and show its results side by side."""

import logging
import os
import signal
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import cast

import rich
from joblib.externals.loky import get_reusable_executor
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog
from kedro.runner import SequentialRunner
from kedro.validation.exceptions import ParameterValidationError
from rich.table import Table

from cmbml.grid import Combination
from cmbml.grid_checks import Grid
from cmbml.hooks import ConfigurationError
from cmbml.results import show_results

LOGGER = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that an interrupted run has to clean up before it is told to again."""


def combination_table(grid: Grid) -> Table:
    """Return the combinations as they are printed."""
    keys = list(grid.combinations[0].values)
    table = Table(title=f"{len(grid.combinations)} combinations")
    for heading in ("results", *keys):
        table.add_column(heading, overflow="fold")
    for combination in grid.combinations:
        table.add_row(grid.results(combination), *(str(combination.values[key]) for key in keys))
    return table


def run_grid(grid: Grid) -> bool:
    """Run all combinations, and print the table of their results and what failed.

    Written are the records that say which results belong together and what tells
    them apart, and the table, which holds what did not fail.

    Returns
    -------
    bool
        Whether none failed.
    """
    console = rich.get_console()
    with KedroSession.create(
        grid.project, env=grid.env, runtime_params=dict(grid.params), conf_source=grid.conf
    ) as session:
        catalog = cast(DataCatalog, cast(KedroSession, session).load_context().catalog)
    for results, record in grid.records().items():
        catalog.save(f"record_of_{results}", record)
    failures = {}
    for number, combination in enumerate(grid.combinations, start=1):
        results = grid.results(combination)
        console.rule(f"{number} of {len(grid.combinations)}: {results}")
        message = run_combination(grid, combination)
        if message:
            failures[results] = message
    done = [results for results in map(grid.results, grid.combinations) if results not in failures]
    show_results(done, catalog, into=grid.name)
    for results, message in failures.items():
        console.print(f"{results} failed: {message}", markup=False, style="red")
    return not failures


def run_combination(grid: Grid, combination: Combination) -> str:
    """Run a combination in a process of its own, so that memory and global state stay clean.

    What a run skips that is there already, this one does.

    Returns
    -------
    str
        What went wrong; empty if nothing did.
    """
    processes = get_context("spawn")
    receiver, sender = processes.Pipe(duplex=False)
    process = processes.Process(target=_run, args=(sender, grid, combination))
    process.start()
    sender.close()  # then the end of the process is the end of the pipe
    try:
        message: str = receiver.recv()
        process.join()
    except EOFError:
        process.join()
        message = f"the process ended with exit code {process.exitcode}" + (
            "; it may have run out of memory" if process.exitcode == -9 else ""
        )
    finally:
        receiver.close()
        _end(process)
    return message


def _end(process: BaseProcess) -> None:
    """See that a process is over when this one is interrupted, and the workers of that process with it."""
    process.join(PATIENCE)  # whoever interrupts at a keyboard interrupts both
    for stop in (signal.SIGINT, signal.SIGTERM):
        if process.pid is not None and process.is_alive():
            os.kill(process.pid, stop)
            process.join(PATIENCE)


def _run(sender: Connection, grid: Grid, combination: Combination) -> None:
    bootstrap_project(grid.project)
    params = grid.parameters(combination)
    try:
        with KedroSession.create(
            grid.project, env=grid.env, runtime_params=params, conf_source=grid.conf
        ) as session:
            cast(KedroSession, session).run(
                pipeline_names=list(grid.pipelines) or None, runner=SequentialRunner()
            )
    except (ConfigurationError, ParameterValidationError) as error:
        sender.send(str(error))
    except Exception as error:
        LOGGER.exception("%s failed", grid.results(combination))
        sender.send(f"{type(error).__name__}: {error}")
    else:
        sender.send("")
    finally:  # a process that another one started waits for its workers, which wait for work
        get_reusable_executor().shutdown()
