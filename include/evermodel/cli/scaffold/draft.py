"""Write a model spec with what was guessed, and why, as comments."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import yaml

from evermodel.cli.scaffold.labels import Label
from evermodel.cli.scaffold.query import Shape, shape_rows, used_readings
from evermodel.cli.scaffold.roles import Named, Roles, guess_roles
from evermodel.cli.scaffold.spans import Spans, choose_spans
from evermodel.cli.scaffold.table import Origin, SourceTable, open_table
from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import SpecError
from evermodel.data.validation.scan import name
from evermodel.spec import ModelSpec
from evermodel.spec.parts import Task, format_span

_WIDTH = 100
_USUAL_WINDOW_ROWS = 250
_CANDIDATES: dict[Task, tuple[str, str, str]] = {
    "binary": ("HistGradientBoostingClassifier", "LogisticRegression", "C: 0.1, max_iter: 1000"),
    "multiclass": ("HistGradientBoostingClassifier", "LogisticRegression", "C: 0.1, max_iter: 1000"),
    "regression": ("HistGradientBoostingRegressor", "Ridge", "alpha: 1.0"),
}
_COUNTS = ("HistGradientBoostingRegressor", "PoissonRegressor", "alpha: 1.0, max_iter: 1000")
_NAMES = {"LogisticRegression": "logistic", "Ridge": "ridge", "PoissonRegressor": "poisson"}
_RANKERS = (("lightgbm.LGBMRanker", "num_leaves"), ("xgboost.XGBRanker", "max_leaves"))
_RARE = 0.1  # share of the positive class from which on the area under the ROC curve says little
_METRICS = {
    "amount": ("rmse", "what the mean alone reaches"),
    "count": ("poisson_deviance", "what the mean alone reaches"),
    "skewed": ("mae", "what the median alone reaches"),
}


@dataclass(frozen=True)
class Draft:
    """A drafted spec.

    Parameters
    ----------
    as_of
        The first day as of which a retrain sees all of the data.
    roles, shape
        The guesses, each with its reason.
    """

    text: str
    spec: ModelSpec
    as_of: datetime
    roles: Roles
    shape: Shape

    def to_json(self) -> dict[str, Any]:
        """Return the guesses as JSON-ready data."""
        features, roles = self.spec.features, self.roles
        return {
            "model": self.spec.name,
            "task": self.spec.task,
            "as_of": f"{self.as_of:%Y-%m-%d}",
            "time": self.spec.time_column,
            "label": roles.label.meaning,
            "numeric": features.numeric,
            "categorical": features.categorical,
            "context": self.spec.context,
            "cluster": self.spec.cluster,
            "leaks": self.spec.leaks,
            "suspicious": roles.suspicious,
            "notes": self.shape.notes,
        }


def draft_spec(origin: Origin, named: Named, *, model: str | None = None, today: datetime) -> Draft:
    """Draft a model spec from a table and the name of its label.

    Parameters
    ----------
    named
        What a person said of the columns; the rest is guessed.
    model
        The model's name; guessed if not given.
    today
        The day that made-up times end with; used only for a table without any.

    Raises
    ------
    SourceError
        The table cannot be read.
    SpecError
        A named column does not exist, no column is the time, or too little is left to learn from.
    """
    with open_table(origin) as opened:
        table, roles = guess_roles(opened, named)
        shape = shape_rows(table, roles, named, today)
        delay = _delay(table, roles, shape)
        spans = choose_spans(shape, table.rows, roles.label, delay)
        lines = _Lines(table, roles, shape, spans, _days_with_rows(table, roles), model or model_name(origin))
        text = "\n".join(lines.all()) + "\n"
    try:
        spec = ModelSpec.model_validate(yaml.safe_load(text))
    except ValueError as error:
        raise SpecError(
            f"{origin.told}: the draft is no valid spec: {'; '.join(_problems(error))}",
            "rename the columns that it names in a view or file of your own, or name the roles with --time and --id",
        ) from error
    return Draft(text, spec, spans.as_of, roles, shape)


def _problems(error: ValueError) -> list[str]:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return [str(error)]
    return [
        f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}" for e in error.errors()
    ]


def _days_with_rows(table: SourceTable, roles: Roles) -> float:
    """Return the share of days between the first and the last that have rows."""
    if roles.time is None or table.looked < table.rows:
        return 1.0
    day = f"{name(roles.time)}::TIMESTAMPTZ::DATE"
    days, first, last = table.scan.row([f"count(DISTINCT {day})", f"min({day})", f"max({day})"])
    return float(days / ((last - first).days + 1))


def model_name(origin: Origin) -> str:
    """Return a model's name for what is in a table."""
    plain = re.sub(r"[^a-z0-9]+", "_", origin.stem.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"model_{plain}".rstrip("_")


def _delay(table: SourceTable, roles: Roles, shape: Shape) -> timedelta:
    """Guess when labels are known: as late as nine of ten rows have the later time, in whole days."""
    if shape.made_up:
        return timedelta(0)
    if roles.later is None or roles.time is None:
        return timedelta(days=1)
    gap = f"epoch({name(roles.later)}::TIMESTAMPTZ) - epoch({name(roles.time)}::TIMESTAMPTZ)"
    seconds = table.scan.row([f"quantile_cont({gap}, 0.9)"])[0]
    return timedelta(days=max(1, math.ceil((seconds or 0) / 86_400)))


@dataclass(frozen=True)
class _Lines:
    table: SourceTable
    roles: Roles
    shape: Shape
    spans: Spans
    days: float
    model: str

    def all(self) -> Iterator[str]:
        yield from self._head()
        yield from self._source()
        yield from self._columns()
        yield from self._time()
        yield from self._training()
        yield from self._checks()

    def _head(self) -> Iterator[str]:
        rows, oldest, newest = self.table.rows, self.shape.oldest, self.shape.newest
        yield f"# Drafted from {rows:,} rows of {oldest:%Y-%m-%d} to {newest:%Y-%m-%d}. Everything here is a guess: review it."
        yield "# docs/spec.md explains each field, and `evermodel check` reports every mistake."
        day = f"{self.spans.as_of:%Y-%m-%d}"
        yield f"# To try it on this data, as of {day}, the first day that sees all of it: evermodel train {self.model} --as-of {day},"
        yield f"# or trigger the DAG {dag_id('retrain', self.model)} with that day."
        yield f"name: {self.model}"
        yield field("description", f"Predicts {self.roles.label.column}.")
        yield "owner: ml"
        yield field("task", self.roles.label.task) + comment(self.roles.label.note)
        if self.roles.context.group is not None:
            yield field("group_column", self.roles.context.group) + comment("its equal values make one list")
        yield ""

    def _source(self) -> Iterator[str]:
        yield "source:"
        source = self.table.origin.source()
        if self.shape.query is not None:
            source.pop("table", None)
        yield from (f"  {field(key, value)}" for key, value in source.items())
        times = [c for c, reading in used_readings(self.table, self.roles).items() if reading.kind == "time"]
        if times and self.table.is_csv:
            listed = ", ".join(_flow(column) for column in times)
            yield f"  text: [{listed}]" + comment("not by a guessed format; the query reads them")
        if self.days < 1 and not self.shape.made_up:
            yield "  complete: {min_rows: 0}" + comment(f"{1 - self.days:.0%} of the days have no rows")
        for note in self.shape.notes:
            yield from _wrapped(note, "  ")
        if self.shape.query is not None:
            yield "  query: |-"
            yield from (f"    {line}" for line in self.shape.query.splitlines())
        yield ""

    def _columns(self) -> Iterator[str]:
        roles = self.roles
        yield field("time_column", self.shape.time) + comment("when the features were known")
        yield field("id_column", self.shape.identity)
        yield "label:"
        yield f"  {field('column', roles.label.column)}"
        why = "a guess: time from the event until the label is known"
        if roles.later is not None:
            why = f"nine of ten rows have their {roles.later} by then"
        if self.shape.made_up:
            why = "the times are synthetic, so no delay applies"
        yield f"  delay: {format_span(self.spans.delay)}" + comment(why)
        yield ""
        yield "features:"
        yield from listed("numeric", roles.numeric, "  ")
        yield from listed("categorical", roles.categorical, "  ")
        if roles.context.columns:
            yield ""
            yield "# Kept with the rows, and no model sees them: for slices, fairness, `cluster` and business metrics."
            yield from listed("context", roles.context.columns, "")
        if roles.context.cluster is not None:
            yield field("cluster", roles.context.cluster) + comment(
                "its rows belong together and count as one draw"
            )
        if roles.leaks:
            yield ""
            yield from _wrapped(
                "Each of these alone predicts the label, so it is probably known only after the event. If not, move it up.",
                "",
            )
            yield "leaks:"
            yield from (f"  - {_scalar(column)}" + comment(why) for column, why in roles.leaks.items())
        if roles.left_out:
            yield ""
            yield "# Columns that are not used as features:"
            yield from (note(f"{column}: {why}") for column, why in roles.left_out.items())
        yield ""

    def _time(self) -> Iterator[str]:
        made = self.shape.made_up
        yield "schedule:" + comment("UTC; null: manual runs only")
        if made:
            yield "  # The times are synthetic and do not continue, so nothing is scheduled."
        plan = ("null",) * 3 if made else ('"0 6 * * 1"', '"0 3 * * *"', '"0 4 * * *"')
        yield from (f"  {key}: {cron}" for key, cron in zip(("retrain", "score", "drift"), plan, strict=True))
        yield ""
        about = f"in the order of time; about {self.spans.rows:,} rows in all"
        yield "split:" + comment(about)
        for part in ("train", "validation", "test"):
            yield f"  {part}: {format_span(getattr(self.spans, part))}"
        yield ""

    def _training(self) -> Iterator[str]:
        label = self.roles.label
        leaves = 31 if self.spans.rows >= 5000 else 7
        if label.task == "ranking":
            yield from _rankers(leaves)
            return
        boosting, linear, params = _COUNTS if label.kind == "count" else _CANDIDATES[label.task]
        loss = {"count": ", loss: poisson", "skewed": ", loss: absolute_error"}.get(label.kind, "")
        yield "candidates:" + comment("the best on the validation part is compared with the champion")
        yield "  - name: boosted_trees"
        yield f"    estimator: sklearn.ensemble.{boosting}"
        yield f"    params: {{max_iter: 100, learning_rate: 0.06, max_leaf_nodes: {leaves}{loss}}}"
        yield f"  - name: {_NAMES[linear]}"
        yield f"    estimator: sklearn.linear_model.{linear}"
        yield f"    params: {{{params}}}"
        yield ""

    def _checks(self) -> Iterator[str]:
        yield "validation:" + comment("the first valid snapshot writes a schema file next to this one")
        yield f"  min_rows: {max(1, self.spans.rows // 2)}" + comment("half of the current split")
        label = self.roles.label
        rare = label.rarest
        if rare < 0.015:
            yield f"  min_class_share: {rare / 3:.2g}" + comment(
                f"the rarest class has {rare:.2%} of the rows"
            )
        yield from self._holes()
        yield ""
        yield from _gate(label)
        yield ""
        yield "approval: auto" + comment(
            "manual, with `approvers: [login]`: one of them decides before a version ships"
        )
        if not self.shape.made_up:
            yield from self._monitoring()

    def _holes(self) -> Iterator[str]:
        """Allow each feature's missing values as many as there were at the worst time, and a few more."""
        columns = {c: self.table.columns[c] for c in self.roles.features}
        whole = {c: 1 - column.known / column.rows for c, column in columns.items()}
        worst = {c: max(share, self.roles.missing.get(c, 0.0)) for c, share in whole.items()}
        holes = {c: share for c, share in worst.items() if share > 0.4}
        if holes:
            yield "  max_null_share_by_column:"
        for column, share in holes.items():
            allowed = f"{min(1.0, round(share + 0.1, 2)):g}"
            over = f"{whole[column]:.0%} in all, {share:.0%} in the worst tenth of the time"
            yield f"    {_scalar(column)}: {allowed}" + comment(over)

    def _monitoring(self) -> Iterator[str]:
        rows = self.spans.drift_rows
        yield ""
        yield "drift:"
        yield f"  window: {format_span(self.spans.drift)}"
        if rows < _USUAL_WINDOW_ROWS:
            yield f"  min_rows: {max(5, rows // 2)}" + comment(f"a window holds about {rows}")
            yield "performance:"
            yield f"  window: {format_span(self.spans.drift)}"
            yield f"  min_rows: {max(5, min(100, rows // 2))}"


def _rankers(leaves: int) -> Iterator[str]:
    yield "candidates:" + comment(
        'the extra "boosting" brings both; the best on the validation part is compared with the champion'
    )
    for estimator, parameter in _RANKERS:
        yield f"  - name: {estimator.partition('.')[0]}"
        yield f"    estimator: {estimator}"
        yield f"    params: {{n_estimators: 100, learning_rate: 0.06, {parameter}: {leaves}}}"
    yield ""


def _gate(label: Label) -> Iterator[str]:
    yield "gate:"
    if label.task == "ranking":
        yield "  metric: ndcg" + comment("of the first 10 places; `metrics: {k: 5}` changes that")
        yield "  floor: null" + comment("a challenger must be better than a random order anyway")
        yield "  margin: 5%" + comment("of the champion's gain over it: a loss that counts as not worse")
        return
    if label.task == "binary" and label.classes["1"] < _RARE * sum(label.classes.values()):
        share = label.classes["1"] / sum(label.classes.values())
        yield "  metric: average_precision" + comment("positives are rare")
        yield f"  floor: {1.5 * share:.3g}" + comment(f"{share:.3g}, their share, is chance")
        yield "  margin: 5%" + comment(
            "of the champion's gain over no skill: a loss that counts as not worse"
        )
    elif label.task == "binary":
        yield "  metric: roc_auc"
        yield "  floor: 0.6" + comment("0.5 is chance")
        yield "  margin: 5%" + comment(
            "of the champion's gain over no skill: a loss that counts as not worse"
        )
    elif label.task == "multiclass":
        total = sum(label.classes.values())
        entropy = -sum(n / total * math.log(n / total) for n in label.classes.values())
        yield "  metric: log_loss"
        yield f"  floor: {entropy:.3g}" + comment("what the class shares alone reach")
        yield "  margin: 5%"
    else:
        metric, reached = _METRICS[label.kind]
        yield f"  metric: {metric}"
        yield f"  floor: {label.level:.4g}" + comment(reached)
        yield "  margin: 5%" + comment(
            "of the champion's gain over a constant: a loss that counts as not worse"
        )


def listed(key: str, columns: Mapping[str, str], indent: str) -> Iterator[str]:
    """Yield the lines of a list of columns with their reasons; none of an empty one."""
    if not columns:
        return
    yield f"{indent}{key}:"
    yield from (f"{indent}  - {_scalar(column)}{comment(why)}" for column, why in columns.items())


def field(key: str, value: str) -> str:
    """Return a field of YAML on one line."""
    return f"{_scalar(key)}: {_scalar(value)}"


def _scalar(value: str) -> str:
    """Write a text as YAML on one line, in quotes only where it needs them."""
    if "\n" in value or not value.isprintable():
        return json.dumps(value)
    return (
        yaml.safe_dump(value, width=10_000, allow_unicode=True)
        .removesuffix("\n")
        .removesuffix("\n...")
        .strip()
    )


def _flow(value: str) -> str:
    """Write a text as YAML inside of brackets."""
    plain = _scalar(value)
    return plain if plain.isidentifier() else json.dumps(value)


def comment(why: str) -> str:
    """Return a comment for the end of a line; nothing for nothing."""
    return f"    # {_one_line(why)}" if why else ""


def note(text: str) -> str:
    """Return a line that is a comment."""
    return f"#   {_one_line(text)}"


def _one_line(text: str) -> str:
    """Return a text without what ends a line in YAML: a name of the data must not become a field."""
    return " ".join(text.split())


def _wrapped(text: str, indent: str) -> Iterator[str]:
    import textwrap

    yield from (f"{indent}# {line}" for line in textwrap.wrap(_one_line(text), _WIDTH - len(indent)))
