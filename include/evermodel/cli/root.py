"""The command `evermodel`: its commands, and one message instead of a traceback."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from evermodel import __version__
from evermodel.cli.data import data
from evermodel.cli.demo import demo
from evermodel.cli.init import init
from evermodel.cli.reproduce import reproduce
from evermodel.cli.rollback import rollback
from evermodel.cli.runs import runs
from evermodel.cli.serve import serve
from evermodel.cli.specs import check, schema
from evermodel.cli.status import status
from evermodel.errors import EvermodelError

app = typer.Typer(
    name="evermodel",
    help="Keep tabular models in production fresh, proven and reversible.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# In the order in which one needs them; a command's own imports happen when it runs.
for command in (init, check, schema, serve, status, rollback, runs, reproduce, demo):
    app.command()(command)
app.add_typer(data, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Read the options that every command shares."""


def main() -> None:
    """Run the command line; a known error is one message, not a traceback."""
    try:
        app()
    except EvermodelError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1)
