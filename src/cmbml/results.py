"""Named results side by side: comparisons of the same simulations under different parameters."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import rich
from kedro.io import DataCatalog
from rich.table import Table

from cmbml.pipelines.analysis.tables import FIELDS

_SHOWN = {
    "mae_uK": "MAE, uK",
    "rmse_uK": "RMSE, uK",
    "psnr_dB": "PSNR, dB",
    "r2": "R2",
    "dl_deviation": "D_l deviation",
    "coverage_1sigma": "within 1 sigma",
    "mean_predicted_error_uK": "predicted error, uK",
}
"""Metrics on the console, and their headings; the file has all of them."""

_KEYS = ["split", "field", "method"]


def members(name: str, catalog: DataCatalog) -> tuple[str, ...]:
    """Return the results that a name stands for: those of a grid, or itself."""
    entry = f"record_of_{name}"
    record = catalog.load(entry) if catalog.exists(entry) else {}
    return tuple(record.get("members", (name,)))


def with_comparison(names: Iterable[str], catalog: DataCatalog) -> tuple[list[str], list[str]]:
    """Return the results that have been compared, and those that have not."""
    there: list[str] = []
    missing: list[str] = []
    for name in names:
        (there if catalog.exists(f"comparison_of_{name}") else missing).append(name)
    return there, missing


def side_by_side(names: Sequence[str], catalog: DataCatalog) -> pd.DataFrame:
    """Return the comparisons of named results as one table.

    Parameters
    ----------
    names
        Of results with a comparison; see `with_comparison`.
    catalog
        Where they lie. The parameters of results come from their record, where
        they have one: what a grid ran does.

    Returns
    -------
    pandas.DataFrame
        As `results_table`.
    """
    comparisons = {name: catalog.load(f"comparison_of_{name}") for name in names}
    records = (f"record_of_{name}" for name in names)
    found = [catalog.load(entry) if catalog.exists(entry) else {} for entry in records]
    parameters = {name: record.get("parameters", {}) for name, record in zip(names, found, strict=True)}
    return results_table(comparisons, parameters)


def results_table(
    comparisons: Mapping[str, pd.DataFrame], parameters: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Return comparisons as one table, one row per result, method and field.

    Parameters
    ----------
    comparisons
        By name of the results, a table as `comparison_table` makes it. At least one.
    parameters
        By name of the results, {parameter: value}.

    Returns
    -------
    pandas.DataFrame
        Column results; a column for each parameter, without a value where results
        have none; the columns of the comparisons. Sorted by split, field and mean
        absolute error, the best first.
    """
    columns = list(dict.fromkeys(key for values in parameters.values() for key in values))
    tables = []
    for name, comparison in comparisons.items():
        own = {key: _cell(parameters.get(name, {}).get(key)) for key in columns}
        keys = pd.DataFrame({"results": name, **own}, index=comparison.index, dtype=object)
        tables.append(pd.concat([keys, comparison], axis="columns"))
    table = pd.concat(tables, ignore_index=True)
    order = table.assign(field=pd.Categorical(table["field"], FIELDS, ordered=True))
    order = order.sort_values(["split", "field", "mae_uK_mean"], kind="stable")
    return table.loc[order.index].reset_index(drop=True)


def _cell(value: Any) -> Any:
    """Return a parameter as it stands in a table: a number, or a text."""
    if isinstance(value, list):
        return "+".join(str(_cell(item)) for item in value)
    return str(value).lower() if isinstance(value, bool) else value


def console_table(table: pd.DataFrame, *, title: str) -> Table:
    """Return the table as it is printed: the parameters, and mean and scatter of the main metrics."""
    metric = table.columns.get_loc("split")
    named = [str(column) for column in table.columns[1:metric]]
    if not named or bool((table[named].isna()).all(axis="columns").any()):
        named = ["results", *named]  # parameters do not tell all of them apart
    columns = {name: f"{name}_mean" for name in _SHOWN}  # comparisons of earlier versions lack some
    metrics = [name for name, mean in columns.items() if mean in table and table[mean].notna().any()]
    shown = Table(title=title)
    for column in [*named, *_KEYS[1:]]:
        shown.add_column(column, overflow="fold")
    for heading in ("skies", *(_SHOWN[name] for name in metrics)):
        shown.add_column(heading, justify="right")
    for _, row in table.iterrows():
        texts = ["" if pd.isna(row[column]) else str(row[column]) for column in [*named, *_KEYS[1:]]]
        numbers = (_number(row[f"{name}_mean"], row[f"{name}_std"]) for name in metrics)
        shown.add_row(*texts, str(row["n_simulations"]), *numbers)
    return shown


def _number(mean: float, std: float) -> str:
    if not np.isfinite(mean):
        return ""
    return f"{mean:.4g} ± {std:.2g}" if np.isfinite(std) else f"{mean:.4g}"


def show_results(names: Sequence[str], catalog: DataCatalog, *, into: str | None) -> None:
    """Print the table of named results, and write it below a name of its own if one is given."""
    there, missing = with_comparison(names, catalog)
    console = rich.get_console()
    for name in missing:
        console.print(f"{name}: has not been compared yet; run the pipeline analysis for it", markup=False)
    if not there:
        return
    table = side_by_side(there, catalog)
    console.print(console_table(table, title="results side by side"))
    if into is not None:
        catalog.save(f"table_of_{into}", table)
        console.print(f"the whole table: {catalog[f'table_of_{into}']._describe()['filepath']}", markup=False)
