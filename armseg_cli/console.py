"""Tables and next-step lines on the terminal. rich is imported when a table is shown."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

import typer

from armseg_core.errors import printable


def say(text: str, *, err: bool = False) -> None:
    """Print text of which names of files or classes may be part."""
    typer.echo(printable(text), err=err)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    numeric: Sequence[int] = (),
) -> None:
    """Print a table on stdout; without a terminal it is as wide as its content.

    Args:
        columns: headings.
        rows: cells, turned into text as they are (no markup).
        title: line above the table.
        numeric: indexes of the columns to align right.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=None if title is None else Text(printable(title)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for index, name in enumerate(columns):
        table.add_column(
            Text(printable(name)), justify="right" if index in numeric else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(printable(str(cell))) for cell in row))
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200).print(table)


def print_next(command: str, why: str = "") -> None:
    """Print the command that usually comes next."""
    say(f"Next: {command}" + (f"   ({why})" if why else ""))
