"""A plan as tables for the console."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cmbml.plan import Plan, Product

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def readable_size(size: int) -> str:
    """Return a number of bytes with a unit, to three digits: 999 B, 1.23 MB, 45.6 GB."""
    value, unit = float(size), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {_UNITS[unit]}"


def plan_tables(plan: Plan) -> Iterator[RenderableType]:
    """Return what is to be printed of a plan, piece by piece."""
    if plan.products:
        yield _product_table(plan)
    if any(item.size is None for item in plan.products):
        yield Text("The size of products marked ? is not known; they are not part of the sums.")
    if plan.inputs:
        yield _input_table(plan)
    for problem in plan.problems:
        yield Text(f"- {problem}")
    yield Text("Ready to run." if plan.is_ready else "This cannot run yet: see what is missing above.")


def _product_table(plan: Plan) -> Table:
    table = Table(title="what it makes")
    table.add_column("product", overflow="fold")
    table.add_column("layer")
    for column in ("wanted", "there", "files", "each", "in all", "to come"):
        table.add_column(column, justify="right")
    for item in plan.products:
        table.add_row(item.name, item.layer, f"{item.wanted:,}", f"{item.there:,}", *_sizes(item))
    known = [item for item in plan.products if item.size is not None]
    table.add_section()
    table.add_row(
        "in all",
        "",
        "",
        "",
        f"{sum(item.files or 0 for item in known):,}",
        "",
        readable_size(sum(item.size or 0 for item in known)),
        readable_size(sum(item.size_to_come for item in known)),
    )
    return table


def _sizes(item: Product) -> tuple[str, str, str, str]:
    if item.size is None or item.files is None:
        return "?", "?", "?", "?"
    each = readable_size(round(item.size / max(item.wanted, 1)))
    return f"{item.files:,}", each, readable_size(item.size), readable_size(item.size_to_come)


def _input_table(plan: Plan) -> Table:
    table = Table(title="what it reads")
    for column in ("input", "state", "place", "how to get it"):
        table.add_column(column, overflow="fold")
    for item in plan.inputs:
        table.add_row(item.name, item.state, item.place.removeprefix(f"{Path.cwd()}/"), item.remedy)
    return table
