"""Output of commands: JSON, tables and lines on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence

import typer

_WIDE = 150  # where there is no screen to ask


def print_json(data: object) -> None:
    """Print data as JSON; times are ISO, paths are strings."""
    typer.echo(json.dumps(data, indent=2, default=str))


def print_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; columns whose head starts with ``#`` are numeric."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for name in head:
        number = name.startswith("#")
        table.add_column(
            name.removeprefix("#"),
            justify="right" if number else "left",
            no_wrap=number,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)
