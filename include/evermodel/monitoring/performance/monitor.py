"""Performance of one window: join, evaluation, estimate, and the contribution to the day's verdict."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evermodel.core.storage import StoragePath
from evermodel.data.prediction_log import read_log
from evermodel.monitoring.drift.by_day import clustered
from evermodel.monitoring.drift.compare import compare
from evermodel.monitoring.drift.family import DriftTest, refused
from evermodel.monitoring.drift.reference_and_current import ColumnarRows, ExactRows
from evermodel.monitoring.drift.verdict import ColumnDrift, Performance
from evermodel.monitoring.performance.answers import (
    Level,
    clusters_in,
    decisions,
    enough,
    level,
    metric_to_watch,
    performance_metric,
    truth_and_scores,
)
from evermodel.monitoring.performance.baseline import Baseline
from evermodel.monitoring.performance.business import business_by_day, business_metrics
from evermodel.monitoring.performance.concept import concept_findings
from evermodel.monitoring.performance.decay import margins, problem_of, stand
from evermodel.monitoring.performance.estimate import estimate_metric
from evermodel.monitoring.performance.estimate_history import EstimateHistory
from evermodel.monitoring.performance.label_join import (
    LabelJoin,
    answer_columns,
    deduplicated,
    label_quality,
    read_label_join,
    spans_of,
    versions_of,
)
from evermodel.monitoring.performance.past_windows import PastWindows
from evermodel.monitoring.performance.report import (
    Estimate,
    MetricStanding,
    PerformanceReport,
    Period,
    Proxies,
)
from evermodel.monitoring.problems import Problem
from evermodel.spec import ModelSpec
from evermodel.spec.drift import ColumnKind
from evermodel.spec.window import Window
from evermodel.stats.metrics import Floats
from evermodel.stats.sample import Sample, categories
from evermodel.stats.spilled import numbers

if TYPE_CHECKING:
    import pyarrow as pa

_TIMELINE_RESAMPLES = 200
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class PerformanceEvaluation:
    """Result of one evaluation.

    Parameters
    ----------
    findings
        Label and concept drift, evaluated in one family with the other tests of the day.
    quality
        Problems of the labels, for the data quality problem.
    """

    problem: Problem
    performance: Performance
    findings: tuple[DriftTest, ...]
    quality: tuple[str, ...]
    make_report: Callable[[], PerformanceReport]

    @cached_property
    def report(self) -> PerformanceReport:
        """The full report, built on access."""
        return self.make_report()


def evaluate_performance(
    spec: ModelSpec,
    lake: StoragePath,
    as_of: datetime,
    baseline: Baseline,
    training: ColumnarRows | None = None,
) -> PerformanceEvaluation:
    """Evaluate the performance of a model on the labels that had matured by a moment.

    Parameters
    ----------
    training
        Its training rows; without them label drift is not tested.

    Raises
    ------
    SourceError
        The log or the source of the labels cannot be read.
    SpecError
        A business metric cannot be evaluated.
    """
    joined = read_label_join(spec, lake, as_of)
    current = deduplicated(
        read_log(spec, lake, Window(as_of - spec.performance.window, as_of), answer_columns(spec))
    )
    own = _by(
        joined.rows, baseline.version
    )  # predictions of a predecessor do not concern this version's baseline
    standings = stand(spec, own, baseline, PastWindows(spec, lake, as_of))
    found = standings[0] if standings else _unjudged(spec, own)
    estimate = _adapted(spec, lake, joined, estimate_of(spec, current, joined, baseline), baseline, as_of)
    return PerformanceEvaluation(
        problem=problem_of(spec, joined, own, baseline, standings),
        performance=_short(spec, own, baseline, found, estimate),
        findings=tuple(_findings(spec, joined, baseline, training)),
        quality=label_quality(spec, joined.state),
        make_report=lambda: _report(
            spec, as_of, joined, baseline, standings, estimate, proxies_of(spec, current)
        ),
    )


def _adapted(
    spec: ModelSpec,
    lake: StoragePath,
    joined: LabelJoin,
    estimate: Estimate | None,
    baseline: Baseline,
    as_of: datetime,
) -> Estimate | None:
    """Return an estimate as wide as those of past windows call for; none is kept where none is made."""
    if estimate is None:
        return None
    history = EstimateHistory(spec, lake)
    history.settle(joined.timeline, joined.window.end)
    found = history.adapted(estimate, baseline.version, as_of)
    history.save()
    return found


def estimate_of(spec: ModelSpec, current: pa.Table, joined: LabelJoin, baseline: Baseline) -> Estimate | None:
    """Estimate the metric on the champion's answers of the current window, calibrated on its labelled rows before.

    A regression has no estimate, because its predictions carry no uncertainty.
    """
    import pyarrow.compute as pc

    if spec.numeric_answers or not spec.performance.estimate:
        return None
    own = _by(current, baseline.version)
    if own.num_rows < spec.performance.min_rows:
        return None
    start = pc.min(own["event_time"]).as_py()
    past = _by(joined.timeline, baseline.version)
    past = past.filter(pc.less(past["event_time"], start))
    pairs = [_answers(spec, past)]
    if baseline.rows is not None:
        pairs.append(_answers(spec, baseline.rows))
    scores, labels = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
    metric = None if spec.task == "multiclass" else metric_to_watch(spec)
    window = np.asarray(own["score"], dtype=np.float64)
    return estimate_metric(
        metric, window, scores, labels, seed=spec.seed, threshold=_threshold(spec, own, window)
    )


def _threshold(spec: ModelSpec, own: pa.Table, scores: Floats) -> float:
    """Return a threshold that leads to the logged decisions of one version."""
    if spec.task != "binary" or own["predicted"].null_count == own.num_rows:
        return spec.performance.threshold
    return float(scores[decisions(spec, own) > 0].min(initial=np.inf))


def proxies_of(spec: ModelSpec, current: pa.Table) -> Proxies | None:
    """Summarize the predictions of a window; None without usable ones."""
    scores = np.asarray(current["score"], dtype=np.float64)
    scores = scores[np.isfinite(scores)]
    if len(scores) == 0:
        return None
    over = None if spec.numeric_answers else float((scores >= spec.performance.threshold).mean())
    if spec.task == "binary":
        over = float(decisions(spec, current).mean())
    values = np.quantile(scores, _QUANTILES)
    quantiles = {f"p{round(100 * q)}": float(v) for q, v in zip(_QUANTILES, values, strict=True)}
    return Proxies(len(scores), float(scores.mean()), quantiles, over)


def _by(rows: pa.Table, version: str) -> pa.Table:
    import pyarrow.compute as pc

    return rows.filter(pc.fill_null(pc.equal(rows["model_version"], version), False))


def _answers(spec: ModelSpec, rows: pa.Table) -> tuple[Floats, NDArray[Any]]:
    """Return scores and outcomes."""
    scores = np.asarray(rows["score"], dtype=np.float64)
    if spec.task != "multiclass":
        return scores, np.asarray(rows["label"], dtype=np.float64)
    truth, guesses = truth_and_scores(spec, rows)
    return scores, (guesses.argmax(axis=1) == truth).astype(np.float64)


def _findings(
    spec: ModelSpec, joined: LabelJoin, baseline: Baseline, training: ColumnarRows | None
) -> list[DriftTest]:
    rows = "test rows" if spec.watch is None else "the reference"
    words = f"{rows} of version {baseline.version}"
    own = _by(joined.rows, baseline.version)  # another version's errors are not concept drift
    # What a ranking answers is no estimate of its label.
    found = [] if spec.task == "ranking" else concept_findings(spec, baseline.rows, own, words)
    if training is not None:
        words = "training" if spec.watch is None else words
        found.append(label_finding(spec, training, joined.rows, words))
    return found


def _report(
    spec: ModelSpec,
    as_of: datetime,
    joined: LabelJoin,
    baseline: Baseline,
    standings: tuple[MetricStanding, ...],
    estimate: Estimate | None,
    proxies: Proxies | None,
) -> PerformanceReport:
    margin, critical = margins(spec, baseline)
    timeline = joined.timeline
    by_day = business_by_day(spec, joined.rows) if spec.performance.business else {}
    notes = [f"version {baseline.version}: {baseline.note}"] if baseline.note else []
    if baseline.level is not None and baseline.level.rows == 0:
        notes.append("the sampling error of the baseline is unknown and taken as zero")
    if spec.numeric_answers and spec.performance.estimate:
        notes.append(f"no estimate before labels: predictions of a {spec.task} carry no uncertainty")
    return PerformanceReport(
        model=spec.name,
        version=baseline.version,
        metric=performance_metric(spec),
        higher_is_better=metric_to_watch(spec).higher_is_better,
        as_of=as_of.isoformat(),
        start=joined.window.start.isoformat(),
        end=joined.window.end.isoformat(),
        margin=margin,
        critical=critical,
        standings=standings,
        labels=joined.state,
        versions=versions_of(joined.rows),
        days=tuple(_period(spec, start, rows, by_day) for start, rows in spans_of(timeline).items()),
        weeks=tuple(
            _period(spec, start, rows, {})
            for start, rows in spans_of(timeline, timedelta(days=7), joined.window.end).items()
        ),
        estimate=estimate,
        proxies=proxies,
        business=business_metrics(spec, joined.rows) if spec.performance.business else {},
        notes=tuple(notes),
    )


def _period(
    spec: ModelSpec, start: datetime, rows: pa.Table, business: dict[datetime, dict[str, float | None]]
) -> Period:
    found = level(spec, rows, resamples=_TIMELINE_RESAMPLES, clusters=clusters_in(spec, rows))
    day, own = f"{start:%Y-%m-%d}", business.get(start, {})
    if found is None:
        return Period(day, rows.num_rows, business=own)
    return Period(day, rows.num_rows, found.value, found.low, found.high, own)


def _unjudged(spec: ModelSpec, own: pa.Table) -> Level | None:
    """Return the metric of a version without a baseline; None with too few labels for a verdict."""
    return level(spec, own, clusters=clusters_in(spec, own)) if enough(spec, own) else None


def _short(
    spec: ModelSpec,
    own: pa.Table,
    baseline: Baseline,
    found: MetricStanding | Level | None,
    estimate: Estimate | None,
) -> Performance:
    promised = baseline.level.value if baseline.level else None
    sign = 1 if metric_to_watch(spec).higher_is_better else -1
    margin = 0.0 if promised is None else margins(spec, baseline)[0]
    return Performance(
        metric=performance_metric(spec),
        rows=own.num_rows,
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        promised=promised,
        limit=None if promised is None else promised - sign * margin,
        estimated=estimate.value if estimate else None,
        estimated_low=estimate.low if estimate else None,
        estimated_high=estimate.high if estimate else None,
    )


def label_finding(spec: ModelSpec, training: ColumnarRows, rows: pa.Table, words: str) -> DriftTest:
    """Compare the distribution of labels; a difference must be significant with days, and clusters, as draws, too.

    Parameters
    ----------
    training
        The champion's training rows, with the label under its own name.
    rows
        Joined rows of the window, with the label as ``label``.
    """
    name = spec.label.column
    kind: ColumnKind = "numeric" if spec.numeric_answers else "categorical"
    if rows.num_rows < spec.performance.min_rows:
        why = f"{rows.num_rows} labels, at least {spec.performance.min_rows}"
        return refused(name, kind, "label", words, why)
    old, new = (_sample(spec, column) for column in (training[name], rows["label"]))
    found = compare(old, new)
    watch = spec.drift.by_column.get(name)
    band = watch.psi if watch and watch.psi else spec.drift.psi
    p_value = found.p_value
    if p_value <= spec.drift.false_alarm_rate:
        before = _label_side(spec, training, name, spec.time_column)
        now = _label_side(spec, rows, "label", "event_time")
        p_value = max(p_value, clustered(spec, before, now, "label") or 0.0)
    drift = ColumnDrift(
        column=name,
        kind=kind,
        what="label",
        measure="PSI",
        effect=found.psi,
        low=found.low,
        high=found.high,
        threshold=band.warning,
        p_value=p_value,
        reference=words,
        summary=found.summary,
        bins=found.bins,
    )
    return DriftTest(drift, band.critical)


def _label_side(spec: ModelSpec, rows: ColumnarRows, label: str, moment: str) -> ExactRows:
    """Return the labels of some rows with their day and the spec's cluster, as far as these are known."""
    import pyarrow as pa

    names = {"label": label, "event_time": moment, spec.cluster: spec.cluster}
    known = {own: rows[name] for own, name in names.items() if name in rows.column_names}
    numeric = frozenset(["label"] if spec.numeric_answers else [])
    return ExactRows(pa.table(known), numeric, "event_time", spec.seed)


def _sample(spec: ModelSpec, labels: pa.ChunkedArray[Any]) -> Sample:
    import pyarrow as pa

    if spec.numeric_answers:
        return numbers(labels.chunks)
    return categories((labels.cast(pa.int8()) if spec.task == "binary" else labels).chunks)
