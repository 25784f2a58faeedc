"""Draft the spec of a watched model from its log of predictions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from evermodel.cli.scaffold.draft import comment, field, listed, model_name, note
from evermodel.cli.scaffold.labels import guess_label
from evermodel.cli.scaffold.roles import guess_id, guess_time, kind_of
from evermodel.cli.scaffold.table import Origin, SourceTable, TableColumn, open_table
from evermodel.core.errors import SpecError
from evermodel.data.validation.scan import name
from evermodel.spec.window import parse_moment, whole_day

_DAY = timedelta(days=1)
_LONGEST_REFERENCE = timedelta(days=56)
_WINDOW_ROWS = 200
_NAMES = {
    "prediction": re.compile(
        r"^(y_?)?(score|prob\w*|pred\w*|yhat|y_hat|proba_1)$|score|probab|predict", re.IGNORECASE
    ),
    "version": re.compile(r"^(model_?)?(version|release|revision)(_?id)?$|model_(id|name)", re.IGNORECASE),
}


@dataclass(frozen=True)
class WatchRoles:
    """What the columns of a log are for; reasons by feature are for people."""

    time: str
    identity: str
    prediction: str
    version: str | None
    label: str | None
    task: str
    numeric: Mapping[str, str]
    categorical: Mapping[str, str]
    left_out: Mapping[str, str]


def draft_watch(
    origin: Origin,
    model: str | None,
    named: Mapping[str, str | None],
    *,
    inputs: Sequence[str] | None = None,
    delay: str = "",
    head: Sequence[str] = (),
) -> str:
    """Draft the spec of a watched model.

    Parameters
    ----------
    named
        Columns that a person named, by role: ``prediction``, ``label``, ``time``, ``id`` and ``version``.
    inputs
        The model's inputs, if they are known; by default they are guessed.
    delay
        Time until a label is known, if a person named it.
    head
        Comments above the spec.

    Raises
    ------
    SourceError
        The table cannot be read.
    SpecError
        A named column does not exist, or one that is needed cannot be guessed.
    """
    with open_table(origin, read=False) as table:
        roles = _roles(table, named, inputs)
        moment = f"{name(roles.time)}::TIMESTAMPTZ::VARCHAR"
        first, last = table.scan.row([f"min({moment})", f"max({moment})"])
        oldest, newest = whole_day(parse_moment(first)), whole_day(parse_moment(last)) + _DAY
        lines = _lines(table, roles, model or model_name(origin), oldest, newest, delay)
        return "\n".join([*(f"# {line}" for line in head), *lines]) + "\n"


def _roles(table: SourceTable, named: Mapping[str, str | None], inputs: Sequence[str] | None) -> WatchRoles:
    for role, column in named.items():
        if column is not None and column not in table.columns:
            raise SpecError(
                f"{table.origin.told}: no column {column} for the {role}",
                f"it has: {', '.join(table.columns)}",
            )
    label = named["label"]
    time = named["time"] or guess_time(table, label or "")
    identity = named["id"] or guess_id(table, label or "", time)
    prediction = named["prediction"] or _by_name(table, "prediction", (label, time, identity))
    for role, found in (("time", time), ("id", identity), ("prediction", prediction)):
        if found is None:
            raise SpecError(f"{table.origin.told}: no column looks like the {role}", f"name it with --{role}")
    assert time is not None
    assert identity is not None
    assert prediction is not None
    version = named["version"] or _by_name(table, "version", (label, time, identity, prediction))
    kinds: dict[str, dict[str, str]] = {"numeric": {}, "categorical": {}, "left_out": {}}
    taken = (label, time, identity, prediction, version)
    for candidate in table.columns.values():
        if candidate.name not in taken:
            kind, reason = kind_of(candidate)
            if inputs is not None:
                kind, reason = _of_model(candidate, kind, reason, inputs)
            kinds[kind][candidate.name] = reason
    return WatchRoles(time, identity, prediction, version, label, _task(table, label, prediction), **kinds)


def _of_model(column: TableColumn, kind: str, reason: str, inputs: Sequence[str]) -> tuple[str, str]:
    """Return the kind of a column of which is known whether the model takes it."""
    if column.name not in inputs:
        return "left_out", "no input of the model"
    if kind != "left_out":
        return kind, reason
    return ("numeric" if column.is_number else "categorical"), f"an input of the model; {reason}"


def _by_name(table: SourceTable, role: str, taken: tuple[str | None, ...]) -> str | None:
    return next((c for c in table.columns if c not in taken and _NAMES[role].search(c)), None)


def _task(table: SourceTable, label: str | None, prediction: str) -> str:
    """Guess the task from the label or, without one, from the answers."""
    if label is not None:
        return guess_label(table, label).task
    column = table.columns[prediction]
    if not column.is_number:
        return "multiclass"
    return "binary" if float(column.low) >= 0 and float(column.high) <= 1 else "regression"


def _label_query(table: SourceTable, label: str) -> Iterator[str]:
    """Yield the query that turns a label of texts into true and false; nothing for another label."""
    guessed = guess_label(table, label)
    if guessed.task == "binary" and guessed.expression:
        query = f"SELECT * REPLACE ({guessed.expression} AS {name(label)}) FROM source"
        yield f"  {field('query', query)}" + comment(guessed.note)


def _lines(
    table: SourceTable, roles: WatchRoles, model: str, oldest: datetime, newest: datetime, delay: str
) -> Iterator[str]:
    days = (newest - oldest) // _DAY
    span = max(_DAY, min(_LONGEST_REFERENCE, newest - oldest - _DAY, days // 2 * _DAY))
    window = timedelta(days=7) if days >= 28 else _DAY
    per_window = round(table.rows * (window / (newest - oldest)))
    yield f"# Drafted from {table.rows:,} predictions of {oldest:%Y-%m-%d} to {newest - _DAY:%Y-%m-%d}. Every value is a guess: review it."
    yield f"# Try it: evermodel drift {model} --as-of {newest:%Y-%m-%d}"
    yield f"name: {model}"
    yield field("task", roles.task)
    yield "source:" + comment("the log of predictions")
    yield from (f"  {field(key, value)}" for key, value in table.origin.source().items())
    if roles.label is not None and not table.origin.table:
        yield from _label_query(table, roles.label)
    yield field("time_column", roles.time)
    yield field("id_column", roles.identity)
    if roles.label is not None:
        yield "label:"
        yield f"  {field('column', roles.label)}"
        guess = "" if delay else "a guess: time from the prediction until the label is known"
        yield f"  {field('delay', delay or '1d')}" + comment(guess)
    yield "features:"
    yield from listed("numeric", roles.numeric, "  ")
    yield from listed("categorical", roles.categorical, "  ")
    yield "watch:"
    yield f"  {field('prediction', roles.prediction)}"
    if roles.version is not None:
        yield f"  {field('version', roles.version)}" + comment("a new version gets a reference of its own")
    yield f"  reference: {{start: {oldest:%Y-%m-%d}, end: {oldest + span:%Y-%m-%d}}}" + comment(
        "days that were normal"
    )
    yield "drift:"
    yield f"  window: {window.days}d" + comment(f"holds about {per_window:,} predictions")
    if per_window < _WINDOW_ROWS:
        yield f"  min_rows: {max(20, per_window // 2)}"
    if roles.left_out:
        yield "# Columns that are not watched:"
        yield from (note(f"{column}: {why}") for column, why in roles.left_out.items())
