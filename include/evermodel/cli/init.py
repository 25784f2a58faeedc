"""The command `evermodel init`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson
from evermodel.core.atomic import write_text
from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import SpecError

if TYPE_CHECKING:
    from evermodel.cli.scaffold import Draft

_MOST_LINES = 20


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
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Split at random: for a table in which time plays no part.")
    ] = False,
    positive: Annotated[
        str | None, typer.Option(help="Value of the label that is the positive class. Default: guessed.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: in the folder of specs.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing spec.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write a working model spec from a table and its label, with every guess explained."""
    from evermodel.cli.scaffold import Named, draft_spec
    from evermodel.cli.scaffold.table import Origin
    from evermodel.core.settings import Settings
    from evermodel.spec import load_spec

    model = name or (out.stem if out is not None else None)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    named = Named(label, time, identity, order, positive, shuffle)
    with output.step("read the table") as say:
        draft = draft_spec(Origin(place, table), named, model=model, today=today)
        say(f"drafted {draft.spec.name}")
    file = out or Settings.from_environment().models / f"{draft.spec.name}.yaml"
    if file.exists() and not force:
        raise SpecError(
            f"{file} already exists", "choose another name with --name, or overwrite it with --force"
        )
    write_text(file, draft.text)
    load_spec(file)
    if as_json:
        output.print_json({"file": file, **draft.to_json()})
        return
    for line in _lines(file, draft):
        typer.echo(line)


def _lines(file: Path, draft: Draft) -> Iterator[str]:
    """Say what was guessed, what is suspicious, and what to do next."""
    from evermodel.spec.parts import format_span

    spec, roles = draft.spec, draft.roles
    numbers, categories = len(spec.features.numeric), len(spec.features.categorical)
    yield f"{file}: {spec.task}, {numbers} numbers and {categories} categories"
    if roles.label.meaning:
        yield f"  label: {roles.label.meaning} (--positive changes it)"
    if roles.time is not None:
        yield f"  time: {roles.time}; the label is known after {format_span(spec.label.delay)}"
    if spec.context:
        yield f"  kept beside the features, and no model sees them: {', '.join(spec.context)}"
    leaks = [f"excluded, because it leaks the label: {c} ({why})" for c, why in roles.leaks.items()]
    doubts = [f"suspicious, look at it: {c} ({why})" for c, why in roles.suspicious.items()]
    for lines in (draft.shape.notes, leaks, doubts):
        yield from (f"  {line}" for line in lines[:_MOST_LINES])
        if len(lines) > _MOST_LINES:
            yield f"  and {len(lines) - _MOST_LINES} more of these; all stand in the file"
    day = f"{draft.as_of:%Y-%m-%d}"
    yield f"Review it, then: evermodel train {spec.name} --as-of {day} (or the DAG {dag_id('retrain', spec.name)})"
