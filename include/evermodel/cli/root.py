"""The command `evermodel`: its commands, and one message instead of a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from evermodel import __version__
from evermodel.cli.adopt import adopt
from evermodel.cli.audit import audit
from evermodel.cli.backtest import backtest
from evermodel.cli.dags import dags
from evermodel.cli.data import data
from evermodel.cli.db import db
from evermodel.cli.doctor import doctor
from evermodel.cli.drift import drift
from evermodel.cli.exit_codes import FAILED, NO_CHAMPION
from evermodel.cli.features import features
from evermodel.cli.incident import incident
from evermodel.cli.init import init
from evermodel.cli.migrate import migrate
from evermodel.cli.promote import promote, rollback
from evermodel.cli.rollout import rollout
from evermodel.cli.score import score
from evermodel.cli.services import demo, serve
from evermodel.cli.specs import check, schema
from evermodel.cli.status import runs, status
from evermodel.cli.step import step
from evermodel.cli.train import reproduce, train
from evermodel.cli.watch import watch
from evermodel.core.errors import EvermodelError, NoChampionError
from evermodel.core.extras import named_extras
from evermodel.registry.tracking import configure_mlflow_process

app = typer.Typer(
    name="evermodel",
    help="Keep tabular models in production fresh, validated and reversible.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# In the order of use; a command's own imports happen when it runs.
_START, _RUN, _PRODUCTION, _SETUP = (
    "Start here",
    "Train and monitor",
    "What is in production",
    "Set up and maintain",
)
for group, commands in {
    _START: (init, adopt, check, schema, demo),
    _RUN: (train, score, drift, backtest, runs, reproduce),
    _PRODUCTION: (status, promote, rollback, serve),
    _SETUP: (doctor, migrate, step),
}.items():
    for command in commands:
        app.command(rich_help_panel=group)(command)
for name, several, group in (
    ("watch", watch, _RUN),
    ("features", features, _RUN),
    ("rollout", rollout, _PRODUCTION),
    ("incident", incident, _PRODUCTION),
    ("audit", audit, _PRODUCTION),
    ("dags", dags, _SETUP),
    ("data", data, _SETUP),
    ("db", db, _SETUP),
):
    app.add_typer(several, name=name, rich_help_panel=group)


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
    """Run the command line; an error is one message, not a traceback."""
    configure_mlflow_process()
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # MLflow reads it when it is imported
    try:
        with named_extras():
            app()
    except EvermodelError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(NO_CHAMPION if isinstance(error, NoChampionError) else FAILED)
    except Exception as error:  # the last line of defence: a traceback does not help at a prompt
        if os.environ.get("EVERMODEL_DEBUG"):
            raise
        typer.echo(_unknown(error), err=True)
        sys.exit(FAILED)


def _unknown(error: Exception) -> str:
    """Return an unexpected error with its place."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "evermodel" in frame.filename] or frames
    said = str(error).strip().split("\n")[0]
    where = f"{Path(ours[-1].filename).name}, line {ours[-1].lineno}, {ours[-1].name}"
    return (
        f"Error: {type(error).__name__}: {said}\n  Where: {where}\n"
        "  What to do: set EVERMODEL_DEBUG=1 for the traceback; run `evermodel doctor` to check the setup"
    )
