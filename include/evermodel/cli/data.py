"""The commands `evermodel data …`: list and restore the training data of versions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli.data_schema import data_schema
from evermodel.cli.options import AsJson, Model, model_names

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

data = typer.Typer(help="List the snapshots of trained models, and restore them.", no_args_is_help=True)
data.command("schema")(data_schema)


@data.command("list")
def list_snapshots(
    model: Annotated[
        str | None, typer.Argument(help="Model. Default: all.", autocompletion=model_names)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List snapshots with the versions trained on them."""
    from evermodel.cli.steps import waiting
    from evermodel.core.settings import Settings
    from evermodel.registry.training_data import data_lines

    settings = Settings.from_environment()
    with waiting("reading MLflow"):
        lines = data_lines(_client(settings.tracking_uri), model, settings)
    if as_json:
        typer.echo(json.dumps([line.to_json() for line in lines], indent=2))
        return
    if not lines:
        typer.echo(f"no snapshot of {model or 'any model'} in {settings.lake} or in the registry")
    for line in lines:
        said = ", ".join(f"{v} (as of {day})" for v, day in zip(line.versions, line.as_of, strict=True))
        size = "" if line.megabytes is None else f", {line.megabytes:.1f} MB"
        rows = "" if line.rows is None else f", {line.rows:,} rows"
        where = "here" if line.here else f"in the remote: {settings.dvc_remote}"
        typer.echo(f"{line.model}  {line.path}")
        typer.echo(f"  md5 {line.md5}{rows}{size}; {where}")
        typer.echo(f"  versions: {said or 'none'}")


@data.command()
def checkout(
    model: Model,
    version: Annotated[str, typer.Argument(help="Version in the registry, or an alias such as champion.")],
    to: Annotated[Path | None, typer.Option(help="File or folder for a copy.")] = None,
    as_json: AsJson = False,
) -> None:
    """Restore a version's training data, byte for byte."""
    from evermodel.cli.answer import print_json
    from evermodel.cli.steps import step
    from evermodel.core.settings import Settings
    from evermodel.registry.tracking import connect
    from evermodel.registry.training_data import checkout as bring

    settings = Settings.from_environment()
    with step("checkout"):
        file, md5 = bring(connect(settings.tracking_uri), model, version, settings, to)
    if as_json:
        print_json({"file": file, "md5": md5})
    else:
        typer.echo(f"{file}\n  md5 {md5}, matches the version")


@data.command()
def forget(
    model: Model,
    as_json: AsJson = False,
) -> None:
    """Delete the cached days of a model's source, so that they are read again."""
    from evermodel.cli.answer import print_json
    from evermodel.core.settings import Settings
    from evermodel.data.sources.partitions import folder_of

    folder = folder_of(model, Settings.from_environment().lake)
    days = len(list(folder.rglob("*.parquet")))
    shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json({"model": model, "removed": days})
    else:
        typer.echo(f"{days} days of {model} removed; snapshots are unchanged")


def _client(uri: str) -> MlflowClient | None:
    """Connect to MLflow; without it the lake can still be listed."""
    from evermodel.core.errors import TrackingUnavailableError
    from evermodel.registry.tracking import connect

    try:
        return connect(uri)
    except TrackingUnavailableError as error:
        typer.echo(f"versions are unknown: {error.problem}", err=True)
        return None
