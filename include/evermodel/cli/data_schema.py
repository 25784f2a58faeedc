"""The command that shows or writes a model's schema file."""

from __future__ import annotations

from typing import Annotated

import typer

from evermodel.cli.options import AsJson, Model


def data_schema(
    model: Model,
    snapshot: Annotated[
        str, typer.Option(help="Snapshot to infer from, as a path in the lake. Default: the newest.")
    ] = "",
    as_json: AsJson = False,
    refresh: Annotated[bool, typer.Option("--refresh", help="Overwrite an existing file.")] = False,
) -> None:
    """Write the schema file of a model from a snapshot, or print its path."""
    from pathlib import Path

    from evermodel.cli.answer import print_json
    from evermodel.cli.steps import step
    from evermodel.core.errors import EvermodelError
    from evermodel.core.settings import Settings
    from evermodel.data.snapshots.dvc import snapshot_file
    from evermodel.data.validation.infer import infer_schema
    from evermodel.data.validation.schema_file import find_schema, read_schema, store_schema
    from evermodel.data.validation.validator import validate
    from evermodel.spec import load_spec

    settings = Settings.from_environment()
    spec = load_spec(model, settings)
    place = find_schema(spec.name, settings)
    if place is not None and not refresh:
        columns = read_schema(place).columns
        if as_json:
            print_json({"file": place, "columns": len(columns), "written": False})
        else:
            typer.echo(f"{place}: {len(columns)} columns; --refresh overwrites it")
        return
    taken = sorted(
        (settings.lake / "snapshots" / spec.name).glob("*.parquet"), key=lambda f: f.stat().st_mtime
    )
    file: Path | None = snapshot_file(settings.lake, snapshot) if snapshot else next(iter(taken[::-1]), None)
    if file is None:
        raise EvermodelError(
            f"model {spec.name}: no snapshot in {settings.lake}",
            "retrain once, or pass --snapshot",
        )
    with step("read the snapshot"):
        schema = infer_schema(spec, validate(spec, file).profile)
    # Without a window nothing is known of how old the newest row may be; what the old file says of it stays.
    known: dict[str, object] = {"window": spec.split.total}
    if place is not None:
        known["max_age"] = read_schema(place).snapshot.max_age
    schema = schema.model_copy(update={"snapshot": schema.snapshot.model_copy(update=known)})
    place = store_schema(schema, spec.name, f"snapshot {file.stem}", settings)
    if as_json:
        print_json({"file": place, "columns": len(schema.columns), "written": True})
    else:
        typer.echo(f"{place}: {len(schema.columns)} columns")
