"""The verdict on one window: drift, data quality, performance and serving."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING

from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import EmptyWindowError
from evermodel.core.formats import loads
from evermodel.core.storage import StoragePath
from evermodel.data.local_engine import one_engine
from evermodel.data.prediction_log import files_of, log_schema
from evermodel.monitoring.drift.attributions import attribution_findings
from evermodel.monitoring.drift.history import QuietHistory
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import ParquetRows, null_count
from evermodel.monitoring.drift.verdict import ColumnDrift, DriftVerdict
from evermodel.monitoring.performance.baseline import Baseline
from evermodel.monitoring.performance.monitor import PerformanceEvaluation, evaluate_performance
from evermodel.monitoring.problems import Problem, worst_of
from evermodel.registry.tags import KIND, RUN_KEY, SEVERITIES
from evermodel.registry.tracking import experiment_id
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, drift_window

if TYPE_CHECKING:
    import pyarrow as pa

    from evermodel.modeling.scoring.loaded_version import ServedModel
    from evermodel.monitoring.drift.profile import DayProfile
    from evermodel.monitoring.drift.reference_and_current import ColumnarRows, ComparedRows
    from evermodel.registry.client import MlflowClient


@dataclass(frozen=True)
class MonitoredChampion:
    """A monitored champion.

    Parameters
    ----------
    version
        Version as in the prediction log.
    training, fitted
        Its training rows, and their interval; of a watched model those of its reference.
    answers
        Its predictions on rows that it was not fitted on; default: those of the baseline.
    model
        Loads it, for the drift of attributions; None without `serving.explain`.
    sides, days
        What is the same in all of its windows, and is made once.
    """

    version: str
    training: ColumnarRows
    fitted: Window
    baseline: Baseline
    answers: pa.Table | None = None
    model: Callable[[], ServedModel] | None = None
    sides: dict[object, ComparedRows] = field(default_factory=dict, compare=False, repr=False)
    days: dict[tuple[date, str], DayProfile] = field(default_factory=dict, compare=False, repr=False)

    def outcomes(self, spec: ModelSpec) -> ColumnarRows | None:
        """Return the labels that those of a window are compared with, under the label's own name, with day and cluster."""
        if spec.watch is None:
            return self.training
        rows = self.baseline.rows
        if rows is None:
            return None
        kept = [name for name in ("label", spec.time_column, spec.cluster) if name in rows.column_names]
        outcomes: ColumnarRows = rows.select(kept).rename_columns([spec.label.column, *kept[1:]])
        return outcomes

    def references(self, spec: ModelSpec, lake: StoragePath, as_of: datetime) -> References:
        """Return the references of the window that ends at a moment."""
        window, profiles = drift_window(spec, as_of), Profiles(spec, lake, self.days)
        held_out = self.baseline.rows if self.answers is None else self.answers
        return References(
            spec, window, self.version, self.training, self.fitted, profiles, held_out, sides=self.sides
        )


def window_rows(spec: ModelSpec, lake: StoragePath, as_of: datetime) -> ParquetRows:
    """Return the window of the prediction log that ends at a moment, read column by column.

    Raises
    ------
    EmptyWindowError
        The window has no row.
    """
    window = drift_window(spec, as_of)
    rows = ParquetRows(files_of(spec, lake, window), window, "event_time", log_schema(spec))
    if rows.num_rows == 0:
        raise EmptyWindowError(
            f"model {spec.name}: the prediction log has no row in {window}",
            f"check that {spec.source.told} has rows of that time"
            if spec.watch
            else f"run the DAG {dag_id('score', spec.name)}, or evermodel score {spec.name}, to write predictions",
        )
    return rows


def judge_day(
    spec: ModelSpec,
    lake: StoragePath,
    as_of: datetime,
    watched: MonitoredChampion,
    *,
    was_calm: Callable[[date], bool],
    serving: Problem,
    skew: Problem | None = None,
) -> tuple[DriftVerdict, PerformanceEvaluation]:
    """Evaluate the window that ends at a moment by all checks of the spec.

    Parameters
    ----------
    lake
        Folder of the prediction log, the daily profiles and the label log.
    was_calm
        Returns whether a day had no problem besides drift.
    skew
        Of a model whose features are computed from events.

    Raises
    ------
    EmptyWindowError
        The window has no row.
    """
    with one_engine():
        return _judge_day(spec, lake, as_of, watched, was_calm, serving, skew)


def _judge_day(
    spec: ModelSpec,
    lake: StoragePath,
    as_of: datetime,
    watched: MonitoredChampion,
    was_calm: Callable[[date], bool],
    serving: Problem,
    skew: Problem | None,
) -> tuple[DriftVerdict, PerformanceEvaluation]:
    rows = window_rows(spec, lake, as_of)
    references = watched.references(spec, lake, as_of)
    history = QuietHistory(references, was_calm).learn()
    performance = evaluate_performance(spec, lake, as_of, watched.baseline, watched.outcomes(spec))
    wanted = spec.respond.model_dump()
    more = [finding for finding in performance.findings if wanted[finding.drift.what] != "off"]
    if watched.model is not None and wanted["attribution"] != "off":
        more += attribution_findings(
            spec, watched.model(), watched.baseline.rows, rows, "the version's test rows"
        )
    columns = judge_window(spec, references, rows, history=history, extra=more)
    problems = (
        drift_problem(spec, rows.num_rows, columns),
        quality_problem(spec, rows, performance.quality),
        performance.problem,
        serving,
        *((skew,) if skew else ()),
    )
    severity = worst_of(problem.severity for problem in problems)
    worst = [problem for problem in problems if problem.severity == severity]
    main = references.main()
    verdict = DriftVerdict(
        model=spec.name,
        version=watched.version,
        start=references.window.start.isoformat(),
        end=references.window.end.isoformat(),
        reference=main.words,
        reference_rows=main.rows,
        window_rows=rows.num_rows,
        false_alarm_rate=spec.drift.false_alarm_rate,
        severity=severity,
        reason=problems[0].reason if severity == "none" else "; ".join(p.reason for p in worst),
        problems=problems,
        performance=performance.performance,
        columns=columns,
    )
    return verdict, performance


_MOST = 1000


def incident_days(client: MlflowClient, spec: ModelSpec) -> frozenset[date]:
    """Return the ends of the windows with bad data or critical performance."""
    runs = client.search_runs(
        [experiment_id(client, f"{spec.name}-monitoring")],
        filter_string=f"tags.`{KIND}` = 'drift'",
        max_results=_MOST,
        order_by=["attributes.start_time DESC"],
    )
    found = set()
    for run in runs:
        severities = loads(run.data.tags.get(SEVERITIES, "{}"), f"tag {SEVERITIES} of {run.info.run_id}")
        if severities.get("quality", "none") != "none" or severities.get("performance") == "critical":
            found.add(date.fromisoformat(run.data.tags[RUN_KEY].rsplit("/", 1)[1]))
    return frozenset(found)


_NAMED = 6
_SHORT = {
    "together": "the features together",
    "prediction": "the predictions",
    "label": "the labels",
    "concept": "the relation between features and label",
}
_OF_COLUMN = {
    "missing": "missing {}",
    "category": "new values of {}",
    "correlation": "correlation of {}",
    "attribution": "weight of {} in the answers",
}


def drift_problem(spec: ModelSpec, rows: int, columns: Sequence[ColumnDrift]) -> Problem:
    """Summarize all tests of the day, which come worst first."""
    if rows < spec.drift.min_rows:
        reason = f"{rows} rows are too few for a verdict (at least {spec.drift.min_rows})"
        return Problem("drift", "none", reason, known=False)
    moved = [column for column in columns if column.severity != "none"]
    if not moved:
        return Problem("drift", "none", f"none of {len(spec.watched)} columns drifts")
    features = list(dict.fromkeys(c.column for c in moved if c.what == "feature"))
    others = list(dict.fromkeys(_named(c) for c in moved if c.what != "feature"))
    parts = []
    if features:
        parts.append(f"{len(features)} of {len(spec.watched)} columns drift: {_listed(features)}")
    if others:
        parts.append(f"{'also ' if features else ''}drifting: {_listed(others)}")
    return Problem("drift", worst_of(c.severity for c in moved), "; ".join(parts))


def quality_problem(spec: ModelSpec, rows: ColumnarRows, more: Iterable[str] = ()) -> Problem:
    """Return the data quality problem of a window; bad data is not drift, and blocks an automatic retrain.

    Parameters
    ----------
    more
        Findings of other parts, such as contradictory labels.
    """
    found = [*_too_many_missing(spec, rows), *more]
    reason = "; ".join(found) or "every column is as complete as the spec requires"
    return Problem("quality", "warning" if found else "none", reason, details=tuple(found))


def _too_many_missing(spec: ModelSpec, rows: ColumnarRows) -> list[str]:
    found = []
    for name in spec.features.names:
        if name not in rows.column_names:
            found.append(f"{name}: the column is missing from the log")
            continue
        share = null_count(rows, name) / max(rows.num_rows, 1)
        limit = spec.validation.max_null_share_by_column.get(name, spec.validation.max_null_share)
        if share > limit:
            found.append(f"{name}: {share:.0%} missing, at most {limit:.0%} allowed")
    return found


def _named(column: ColumnDrift) -> str:
    return _SHORT.get(column.what) or _OF_COLUMN[column.what].format(column.column)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
