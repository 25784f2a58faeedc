"""The verdict on one window: drift, data quality, performance and serving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.errors import EmptyWindowError
from evermodel.core.formats import loads
from evermodel.core.severity import worst_of
from evermodel.data.prediction_log import files_of, log_schema
from evermodel.monitoring.drift.history import QuietHistory
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import ParquetRows
from evermodel.monitoring.drift.verdict import DriftVerdict
from evermodel.monitoring.drift_problems import drift_problem, quality_problem
from evermodel.monitoring.performance.baseline import Baseline
from evermodel.monitoring.performance.monitor import PerformanceEvaluation, evaluate_performance
from evermodel.monitoring.problems import Problem
from evermodel.registry.tags import KIND, RUN_KEY, SEVERITIES
from evermodel.registry.tracking import experiment_id
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, drift_window

if TYPE_CHECKING:
    import pyarrow as pa

    from evermodel.registry.client import MlflowClient


@dataclass(frozen=True)
class MonitoredChampion:
    """A monitored champion.

    Parameters
    ----------
    version
        Version as in the prediction log.
    training, fitted
        Its training rows, and their interval.
    baseline
        Its performance baseline.
    """

    version: str
    training: pa.Table
    fitted: Window
    baseline: Baseline

    def references(self, spec: ModelSpec, lake: Path, as_of: datetime) -> References:
        """Return the references of the window that ends at a moment."""
        window, profiles = drift_window(spec, as_of), Profiles(spec, lake)
        held_out = self.baseline.rows
        return References(spec, window, self.version, self.training, self.fitted, profiles, held_out)


def window_rows(spec: ModelSpec, lake: Path, as_of: datetime) -> ParquetRows:
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
            f"run the DAG score_{spec.name}, or evermodel score {spec.name}to write predictions",
        )
    return rows


def judge_day(
    spec: ModelSpec,
    lake: Path,
    as_of: datetime,
    watched: MonitoredChampion,
    *,
    was_calm: Callable[[date], bool],
    serving: Problem,
) -> tuple[DriftVerdict, PerformanceEvaluation]:
    """Evaluate the window that ends at a moment by all checks of the spec.

    Parameters
    ----------
    lake
        Folder of the prediction log, the daily profiles and the label log.
    was_calm
        Returns whether a day had no problem besides drift.
    serving
        Result of the serving objectives.

    Raises
    ------
    EmptyWindowError
        The window has no row.
    """
    rows = window_rows(spec, lake, as_of)
    references = watched.references(spec, lake, as_of)
    history = QuietHistory(references, was_calm).learn()
    look = evaluate_performance(spec, lake, as_of, watched.baseline, watched.training)
    wanted = spec.respond.model_dump()
    more = [finding for finding in look.findings if wanted[finding.drift.what] != "off"]
    columns = judge_window(spec, references, rows, history=history, extra=more)
    problems = (
        drift_problem(spec, rows.num_rows, columns),
        quality_problem(spec, rows, look.quality),
        look.problem,
        serving,
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
        performance=look.performance,
        columns=columns,
    )
    return verdict, look


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
