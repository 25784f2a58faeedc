"""The command that shows retrains side by side."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from evermodel.cli.options import AsJson, Model


def runs(
    model: Model,
    last: Annotated[int, typer.Option(help="Number of retrains to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the retrains of a model side by side: parameters, metrics, verdicts, outcomes."""
    from evermodel.cli.steps import waiting
    from evermodel.core.settings import Settings
    from evermodel.registry.tracking import connect
    from evermodel.reports.retrain.runs import retrain_lines
    from evermodel.reports.retrain.runs_table import print_runs

    with waiting("reading MLflow"):
        lines = retrain_lines(connect(Settings.from_environment().tracking_uri), model, last)
    if as_json:
        typer.echo(json.dumps([line.to_json() for line in lines], indent=2))
    else:
        print_runs(model, lines)
