"""The commands `evermodel data …`: the training data of versions, the schema file, and the upkeep of the logs."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson, Model, OptionalModel, read_spec
from evermodel.core.errors import EvermodelError, TrackingUnavailableError
from evermodel.core.storage import StoragePath, files_in, path_in
from evermodel.registry.tracking import connect

if TYPE_CHECKING:
    from evermodel.core.settings import Settings
    from evermodel.data.compaction import Upkeep
    from evermodel.registry.client import MlflowClient


data = typer.Typer(help="List the snapshots of trained models, and restore them.", no_args_is_help=True)


@data.command("schema")
def data_schema(
    model: Model,
    snapshot: Annotated[
        str, typer.Option(help="Snapshot to infer from, as a path in the lake. Default: the newest.")
    ] = "",
    as_json: AsJson = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Overwrite an existing file.")] = False,
) -> None:
    """Write the schema file of a model from a snapshot, or print its path."""
    from evermodel.data.snapshots.store import snapshot_store
    from evermodel.data.validation.infer import infer_schema
    from evermodel.data.validation.schema_file import find_schema, read_schema, store_schema
    from evermodel.data.validation.validator import validate

    spec, settings = read_spec(model)
    place = find_schema(spec.name, settings)
    if place is not None and not refresh:
        columns = len(read_schema(place).columns)
        done = {"file": place, "columns": columns, "written": False}
        output.answer(as_json, done, f"{place}: {columns} columns; --refresh overwrites it")
        return
    path = snapshot or _newest_snapshot(spec.name, settings)
    if path is None:
        raise EvermodelError(
            f"model {spec.name}: no snapshot in {settings.lake}",
            "retrain once, or pass --snapshot",
        )
    with output.step("read the snapshot"), snapshot_store(settings).local(path) as file:
        schema = infer_schema(spec, validate(spec, file).profile)
    # Without a window nothing is known of how old the newest row may be; what the old file says of it stays.
    known: dict[str, object] = {"window": spec.split.total}
    if place is not None:
        known["max_age"] = read_schema(place).snapshot.max_age
    schema = schema.model_copy(update={"snapshot": schema.snapshot.model_copy(update=known)})
    place = store_schema(schema, spec.name, f"snapshot {Path(path).stem}", settings)
    done = {"file": place, "columns": len(schema.columns), "written": True}
    output.answer(as_json, done, f"{place}: {len(schema.columns)} columns")


@data.command("list")
def list_snapshots(
    model: OptionalModel = None,
    as_json: AsJson = False,
) -> None:
    """List snapshots with the versions trained on them."""
    from evermodel.core.settings import Settings
    from evermodel.registry.training_data import data_lines

    settings = Settings.from_environment()
    with output.waiting("reading MLflow"):
        lines = data_lines(_client(settings.tracking_uri), model, settings)
    if as_json:
        output.print_json([asdict(line) for line in lines])
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
def quarantined(model: Model, as_json: AsJson = False) -> None:
    """Show the rows that the last retrain quarantined, by reason."""
    from evermodel.pipelines.quarantined import last_quarantined

    spec, settings = read_spec(model)
    with output.waiting("reading MLflow"):
        found = last_quarantined(connect(settings.tracking_uri), spec, settings)
    if found is None:
        output.answer(as_json, None, f"{model}: no run has quarantined rows")
        return
    ending = "; the run stopped" if found.verdict == "failed" else ""
    lines = [f"{model}: {found.rows:,} rows quarantined by {found.run} as of {found.as_of}{ending}"]
    for reason in found.reasons:
        lines.append(f"  {reason.rows:,} rows, {reason.first} to {reason.last}: {reason.reason}")
        lines.append(f"    such as {', '.join(reason.ids)}")
    output.answer(as_json, found.to_json(), "\n".join([*lines, found.file]))


@data.command()
def checkout(
    model: Model,
    version: Annotated[str, typer.Argument(help="Version in the registry, or an alias such as champion.")],
    to: Annotated[Path | None, typer.Option(help="File or folder for a copy.")] = None,
    as_json: AsJson = False,
) -> None:
    """Restore a version's training data, byte for byte."""
    from evermodel.core.settings import Settings
    from evermodel.registry.training_data import checkout as bring

    settings = Settings.from_environment()
    with output.step("checkout"):
        file, md5 = bring(connect(settings.tracking_uri), model, version, settings, to)
    output.answer(as_json, {"file": file, "md5": md5}, f"{file}\n  md5 {md5}, matches the version")


@data.command()
def forget(model: Model, as_json: AsJson = False) -> None:
    """Delete the cached days of a model's source, so that they are read again."""
    from evermodel.core.settings import Settings
    from evermodel.data.sources.partitions import folder_of

    folder = folder_of(model, Settings.from_environment().lake)
    days: list[StoragePath] = [*folder.rglob("*.parquet")]
    for day in days:
        day.unlink(missing_ok=True)
    if isinstance(folder, Path):
        shutil.rmtree(folder, ignore_errors=True)
    said = f"{len(days)} days of {model} removed; snapshots are unchanged"
    output.answer(as_json, {"model": model, "removed": len(days)}, said)


@data.command()
def compact(
    model: Model,
    keep_days: Annotated[
        int | None, typer.Option(min=1, help="Remove days of the logs that are older. Default: none.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Join the small files of a model's prediction logs, and delete those that no longer count, of its labels, too."""
    from evermodel.data.compaction import compact as keep_up
    from evermodel.data.prediction_log import LOGS, log_of
    from evermodel.monitoring.performance.label_log import LabelLog

    spec, settings = read_spec(model)
    keep, today = None if keep_days is None else timedelta(days=keep_days), datetime.now(UTC).date()
    done: dict[str, Upkeep] = {}
    with output.step("compact"):
        for log in LOGS:
            done[log] = keep_up(log_of(spec, settings.lake, log), today, keep)
        done["labels"] = keep_up(LabelLog(spec, settings.lake).table, today)
    lines = [
        f"{log}: {found.joined:,} files joined to {found.made:,}, {found.expired:,} of days that are not kept "
        f"removed, {found.deleted:,} deleted"
        for log, found in done.items()
    ]
    output.answer(as_json, {log: found.to_json() for log, found in done.items()}, "\n".join(lines))


def _newest_snapshot(model: str, settings: Settings) -> str | None:
    """Return the path of the snapshot that was written last; in a bucket there are only the pointers."""
    ending = ".parquet" if isinstance(settings.lake, Path) else ".parquet.dvc"
    files = files_in(settings.lake / "snapshots" / model, f"*{ending}")
    newest = max(files, key=lambda file: file.stat().st_mtime, default=None)
    return None if newest is None else path_in(settings.lake, newest).removesuffix(".dvc")


def _client(uri: str) -> MlflowClient | None:
    """Connect to MLflow; without it the lake can still be listed."""
    try:
        return connect(uri)
    except TrackingUnavailableError as error:
        typer.echo(f"versions are unknown: {error.problem}", err=True)
        return None
