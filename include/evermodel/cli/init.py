"""The command `evermodel init`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson
from evermodel.core.atomic import write_text
from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import SpecError


def init(
    place: Annotated[
        str, typer.Argument(help="Parquet or CSV file, glob or URL; with --table an engine's URL.")
    ],
    label: Annotated[str, typer.Option(help="Column to predict.")],
    table: Annotated[
        str,
        typer.Option(help="Table, for a URL such as duckdb:///data/shop.duckdb or postgres://host/db."),
    ] = "",
    name: Annotated[
        str | None, typer.Option(help="Name of the model. Default: guessed from the file.")
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(help="Column with the time at which the features were known. Default: guessed."),
    ] = None,
    identity: Annotated[
        str | None, typer.Option("--id", help="Column with a unique id per row. Default: guessed.")
    ] = None,
    order: Annotated[
        str | None, typer.Option(help="Column with the order of rows, for a table without a time.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: in the folder of specs.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing spec.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a working model spec from a table and its label, with every guess explained."""
    from evermodel.cli.scaffold.draft import draft_spec
    from evermodel.cli.scaffold.table import Origin
    from evermodel.core.settings import Settings
    from evermodel.spec import load_spec

    model = name or (out.stem if out is not None else None)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    with output.step("read the table") as say:
        draft = draft_spec(
            Origin(place, table), label, model=model, time=time, identity=identity, order=order, today=today
        )
        say(f"drafted {draft.spec.name}")
    file = out or Settings.from_environment().models / f"{draft.spec.name}.yaml"
    if file.exists() and not force:
        raise SpecError(
            f"{file} already exists", "choose another name with --name, or overwrite it with --force"
        )
    write_text(file, draft.text)
    spec = load_spec(file)
    features = spec.features
    if as_json:
        output.print_json(
            {
                "file": file,
                "model": spec.name,
                "task": spec.task,
                "as_of": f"{draft.as_of:%Y-%m-%d}",
                "numeric": features.numeric,
                "categorical": features.categorical,
                "leaks": spec.leaks,
            }
        )
        return
    typer.echo(
        f"{file}: {spec.task}, {len(features.numeric)} numbers and {len(features.categorical)} categories"
    )
    for column in spec.leaks:
        typer.echo(f"  excluded, because it leaks the label: {column}")
    day = f"{draft.as_of:%Y-%m-%d}"
    typer.echo(
        f"Review it, then: evermodel train {spec.name} --as-of {day} (or the DAG {dag_id('retrain', spec.name)})"
    )
