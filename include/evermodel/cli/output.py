"""Output of commands: answers on stdout, and progress of what takes longer than two seconds on stderr."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout

import typer

_QUIET = ("alembic", "mlflow", "dvc", "evidently", "httpx", "git", "evermodel_provider")


@contextmanager
def step(name: str) -> Iterator[Callable[[str], None]]:
    """Show a running step, and at its end its duration and result.

    Output of libraries goes to stderr too.
    """
    from rich.console import Console
    from rich.text import Text

    console, began, said = Console(stderr=True, highlight=False), time.monotonic(), [""]

    def end(mark: str, style: str) -> None:
        seconds = time.monotonic() - began
        line = Text.assemble(
            (f"{mark} ", style), (f"{name:<22}", "bold"), (f"{seconds:6.1f} s  ", "dim"), said[0]
        )
        console.print(line, soft_wrap=True)

    quiet_libraries()
    try:
        with console.status(f"{name} …"), redirect_stdout(sys.stderr):
            yield lambda words: said.__setitem__(0, words)
    except BaseException:
        end("✗", "red")
        raise
    end("✓", "green")


@contextmanager
def waiting(words: str) -> Iterator[None]:
    """Show a waiting note, on a terminal only, and remove it afterwards."""
    from rich.console import Console

    quiet_libraries()
    with Console(stderr=True).status(f"{words} …"), redirect_stdout(sys.stderr):
        yield


def quiet_libraries() -> None:
    """Hide progress output of libraries; warnings stay."""
    import logging
    import warnings

    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    if not sys.warnoptions:
        # Deprecations are for the libraries' authors, not for who runs a command.
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)


_WIDE = 150  # where there is no screen to ask


def print_json(data: object) -> None:
    """Print data as JSON; times are ISO, paths are strings."""
    typer.echo(json.dumps(data, indent=2, default=str))


def answer(as_json: bool, data: object, text: str) -> None:
    """Print data as JSON, or the text for people."""
    if as_json:
        print_json(data)
    else:
        typer.echo(text)


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
