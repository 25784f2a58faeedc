"""Read the table of rows that a foreign model is judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from evermodel.cli.scaffold.labels import Label, guess_label
from evermodel.cli.scaffold.roles import guess_id, guess_time, kind_of
from evermodel.cli.scaffold.table import Origin, SourceTable, open_table
from evermodel.core.errors import SpecError
from evermodel.data.validation.scan import name
from evermodel.modeling.foreign.model import ForeignDescription, inputs_for
from evermodel.spec.parts import Task

if TYPE_CHECKING:
    from evermodel.pipelines.adopt.scores import AdoptedRows

_ROW = "row_id"  # the id of rows that have none


def read_rows(
    origin: Origin,
    description: ForeignDescription,
    named: Mapping[str, str | None],
    inputs: Sequence[str],
    last: timedelta,
) -> AdoptedRows:
    """Read the rows of a table that a model can be asked about.

    Parameters
    ----------
    named
        Columns that a person named, by role: ``label``, ``time``, ``id``, ``prediction`` and ``version``.
    inputs
        The model's inputs in its order, if a person named them.
    last
        How far back rows are read, from the last one.

    Raises
    ------
    SourceError
        The table cannot be read.
    SpecError
        A named column does not exist, or no column is the time.
    ModelFormatError
        The table does not have the model's inputs.
    """
    from evermodel.pipelines.adopt.scores import AdoptedRows

    with open_table(origin) as table:
        _require(table, named)
        label = named["label"] or ""
        time = named["time"] or guess_time(table, label)
        if time is None:
            raise SpecError(f"{origin.told}: no column looks like the time", "name it with --time")
        identity = named["id"] or guess_id(table, label, time)
        taken = (label, time, identity, named["prediction"], named["version"])
        left = [c for c in table.columns if c not in taken]
        if not inputs and not description.features:
            left = [c for c in left if kind_of(table.columns[c])[0] != "left_out"]
        features = inputs_for(description, inputs, left)
        guessed = guess_label(table, label, _positive(table, label, description)) if label else None
        query = _query(table, time, identity, features, guessed, named, last)
        found = table.scan.connection.sql(query).to_arrow_table()
    return AdoptedRows(
        table=found,
        id=identity or _ROW,
        time=time,
        features=features,
        label=label,
        task=_task(guessed, description),
        prediction=named["prediction"] or "",
        version=named["version"] or "",
    )


def _require(table: SourceTable, named: Mapping[str, str | None]) -> None:
    for role, column in named.items():
        if column and column not in table.columns:
            raise SpecError(
                f"{table.origin.told}: no column {column} for the {role}",
                f"it has: {', '.join(table.columns)}",
            )


def _task(label: Label | None, description: ForeignDescription) -> Task:
    """Return the task by the label or, without one, by the model's classes."""
    if label is not None:
        return label.task
    return {0: "regression", 2: "binary"}.get(len(description.classes), "multiclass")  # type: ignore[return-value]


def _positive(table: SourceTable, label: str, description: ForeignDescription) -> str | None:
    """Return the positive class of a model of two classes, where the labels have the same texts: its second one."""
    if len(description.classes) != 2 or table.columns[label].is_number:
        return None
    positive = str(description.classes[1])
    known = {value.strip().lower() for value in table.values(label)}
    return positive if positive.strip().lower() in known else None


def _query(
    table: SourceTable,
    time: str,
    identity: str | None,
    features: Sequence[str],
    label: Label | None,
    named: Mapping[str, str | None],
    last: timedelta,
) -> str:
    """Return the query of the rows, the oldest first; features are as the table has them."""
    moment = f"({table.raw(time)})::TIMESTAMPTZ"
    number = f"row_number() OVER (ORDER BY {moment})"
    parts = [
        f"({name(identity) if identity else number})::VARCHAR AS {name(identity or _ROW)}",
        f"{moment} AS {name(time)}",
    ]
    parts += [name(column) for column in features]
    parts += [name(column) for column in (named["prediction"], named["version"]) if column]
    if label is not None:
        value = label.expression or name(label.column)
        kind = {"binary": "BOOLEAN", "regression": "DOUBLE", "multiclass": "VARCHAR"}[label.task]
        parts.append(
            f"CAST({value} AS {kind}){'::TINYINT' if label.task == 'binary' else ''} AS {name(label.column)}"
        )
    since = f"(SELECT max({moment}) FROM source) - INTERVAL {int(last.total_seconds())} SECONDS"
    return f"SELECT {', '.join(parts)} FROM source WHERE {moment} >= {since} ORDER BY {moment}, 1"
