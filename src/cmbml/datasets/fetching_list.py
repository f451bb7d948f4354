"""The list of what is there and what is missing, for the console."""

from collections.abc import Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cmbml.remote_files import FileReport, size_text

LISTED = 12
"""Missing files that are named of each group; the report has all of them."""


def fetching_list(reports: Sequence[FileReport], free_bytes: int) -> Group:
    """Return what to print before anything is fetched.

    Parameters
    ----------
    reports
        State of every file that was asked for.
    free_bytes
        Room on the disk.
    """
    groups = list(dict.fromkeys(report.file.group for report in reports))
    table = Table("group", "files", "there", "missing", "to fetch", title="Raw assets")
    for name in [*groups, None] if len(groups) > 1 else groups:
        chosen = [report for report in reports if name in (report.file.group, None)]
        wanted = _wanted(chosen)
        table.add_row(
            name or "all together",
            str(len(chosen)),
            str(len(chosen) - len(wanted)),
            str(len(wanted)),
            _sum_text(wanted),
            end_section=name == groups[-1],
        )
    return Group(table, *_lines(reports), f"free on the disk: {size_text(free_bytes)}")


def _wanted(reports: Sequence[FileReport]) -> list[FileReport]:
    return [report for report in reports if report.state in ("missing", "damaged")]


def _sum_text(reports: Sequence[FileReport]) -> str:
    known = [report.file for report in reports if report.file.size is not None]
    about = any(not file.is_exact for file in known)
    text = size_text(sum(file.size or 0 for file in known), about=about and bool(known))
    unknown = len(reports) - len(known)
    if unknown == len(reports) > 0:
        return "of unknown size"
    return f"{text} and {unknown} of unknown size" if unknown else text


def _lines(reports: Sequence[FileReport]) -> list[Text]:
    """Return a line per missing file, not more than LISTED per group; long ones are not broken."""
    lines = []
    for name in dict.fromkeys(report.file.group for report in reports):
        wanted = [report for report in _wanted(reports) if report.file.group == name]
        lines += [f"{one.state}, {_sum_text([one])}: {one.file.path}" for one in wanted[:LISTED]]
        if len(wanted) > LISTED:
            lines.append(f"and {len(wanted) - LISTED} more of {name}")
    return [Text(line, no_wrap=True, overflow="ignore") for line in lines]
