"""Replay performance week by week over the flights of 2013: ``python -m benchmarks.replay_performance [plot.png]``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from evermodel.data.dtypes import feature_frame
from evermodel.data.examples.flights import prepare_flights
from evermodel.modeling.estimators import build_pipeline
from evermodel.monitoring.performance.answers import Level, level
from evermodel.monitoring.performance.baseline import Baseline
from evermodel.monitoring.performance.decay import margins, stand
from evermodel.monitoring.performance.estimate import estimate_metric
from evermodel.monitoring.performance.report import Estimate, MetricStanding
from evermodel.spec import ModelSpec
from evermodel.spec.window import parse_moment
from evermodel.stats.metrics import METRICS

_SPEC = Path(__file__).parent.parent / "include" / "models" / "flights.yaml"
_START = parse_moment("2013-01-01")
_WEEK = timedelta(days=7)
_TRAINED = 8  # weeks; the ninth is the test that gives the baseline


@dataclass(frozen=True)
class Week:
    """One week: what the monitor said of one half of the flights and of all, and what the other half says is true."""

    start: date
    truth: Level
    seen: MetricStanding
    whole: MetricStanding
    estimate: Estimate

    def fell(self, limit: float) -> bool | None:
        """Tell whether the AUC was below a limit, by the half that the monitor did not see; None if too close."""
        if self.truth.high < limit:
            return True
        return False if self.truth.low > limit else None


def replay() -> tuple[ModelSpec, Baseline, list[Week]]:
    """Train on the first weeks, take the baseline from the next one, and judge every week after it."""
    spec = ModelSpec.model_validate(yaml.safe_load(_SPEC.read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory() as folder:
        import pyarrow.parquet as pq

        rows = pq.read_table(prepare_flights(Path(folder)))
    weeks = _weeks(rows)
    trained = pa.concat_tables(weeks[:_TRAINED])
    pipeline = build_pipeline(spec, spec.candidates[0])
    pipeline.fit(feature_frame(spec, trained), np.asarray(trained["late"]))
    answered = [_answered(spec, pipeline, week) for week in weeks[_TRAINED:]]
    baseline = Baseline("1", level(spec, answered[0]), answered[0])
    judged = []
    for position, week in enumerate(answered[1:], start=1):
        half = np.random.default_rng(position).random(week.num_rows) < 0.5
        watched, hidden = week.filter(pa.array(half.tolist())), week.filter(pa.array((~half).tolist()))
        (seen,), (whole,) = stand(spec, watched, baseline), stand(spec, week, baseline)
        truth = level(spec, hidden)
        past = pa.concat_tables(answered[max(0, position - 4) : position])
        scores, known = (np.asarray(past[name], dtype=np.float64) for name in ("score", "label"))
        estimate = estimate_metric(
            METRICS["roc_auc"], np.asarray(watched["score"]), scores, known, seed=spec.seed
        )
        assert truth is not None
        assert estimate is not None
        start = (_START + (_TRAINED + position) * _WEEK).date()
        judged.append(Week(start, truth, seen, whole, estimate))
    return spec, baseline, judged


def table(spec: ModelSpec, baseline: Baseline, weeks: Sequence[Week]) -> str:
    """Return the replay as a Markdown table with what follows from it."""
    assert baseline.level is not None
    limit = baseline.level.value - margins(spec, baseline)[0]
    lines = [
        f"baseline {baseline.level.value:.3f} ± {1.96 * baseline.level.error:.3f}, margin {margins(spec, baseline)[0]:g}",
        "",
        "| week of | labels | AUC seen | AUC of the other half | fell? | verdict | estimate before labels |",
        "|---|---|---|---|---|---|---|",
    ]
    words = {True: "yes", False: "no", None: "too close"}
    for week in weeks:
        seen, truth, guess = week.seen, week.truth, week.estimate
        lines.append(
            f"| {week.start} | {seen.rows:,} | {seen.value:.3f} ({seen.low:.3f} to {seen.high:.3f}) "
            f"| {truth.value:.3f} ({truth.low:.3f} to {truth.high:.3f}) | {words[week.fell(limit)]} "
            f"| {seen.severity} | {guess.value:.3f} ({guess.low:.3f} to {guess.high:.3f}) |"
        )
    return "\n".join([*lines, "", *summary(spec, baseline, weeks)])


def summary(spec: ModelSpec, baseline: Baseline, weeks: Sequence[Week]) -> list[str]:
    """Count what was found, what was missed, and what was a false alarm."""
    assert baseline.level is not None
    limit = baseline.level.value - margins(spec, baseline)[0]
    alarmed = [week for week in weeks if week.seen.severity != "none"]
    aware = [week for week in weeks if week.whole.severity != "none"]
    fell = [week for week in weeks if week.fell(limit)]
    well = [week for week in weeks if week.fell(limit) is False]
    held = sum(week.estimate.low <= week.seen.value <= week.estimate.high for week in weeks)
    off = float(np.mean([abs(week.estimate.value - week.seen.value) for week in weeks]))
    return [
        f"{len(weeks)} weeks: {len(fell)} fell, {len(well)} did not, the others are too close to tell",
        f"on half of the flights: found {sum(week in alarmed for week in fell)} of {len(fell)} that fell, "
        f"false alarms {sum(week in alarmed for week in well)} of {len(well)} that did not",
        f"on all flights of the week: found {sum(week in aware for week in fell)} of {len(fell)}, "
        f"false alarms {sum(week in aware for week in well)} of {len(well)}",
        f"estimate: holds the value that came in {held} of {len(weeks)} weeks, off by {off:.3f} on average",
    ]


def plot(baseline: Baseline, spec: ModelSpec, weeks: Sequence[Week], target: Path) -> None:
    """Draw seen and estimated AUC by week, the baseline, and the weeks that alarmed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    assert baseline.level is not None
    figure, axes = pyplot.subplots(figsize=(9, 3.6), layout="constrained")
    days = [week.start for week in weeks]
    seen = np.array([[week.seen.value, week.seen.low, week.seen.high] for week in weeks])
    guess = np.array([[week.estimate.value, week.estimate.low, week.estimate.high] for week in weeks])
    axes.axhline(baseline.level.value, color="#3b6ea5", lw=1, label="baseline")
    axes.axhline(
        baseline.level.value - margins(spec, baseline)[0],
        color="#3b6ea5",
        lw=1,
        ls=":",
        label="less the margin",
    )
    axes.fill_between(days, guess[:, 1], guess[:, 2], color="#bbbbbb", alpha=0.5, lw=0)
    axes.plot(days, guess[:, 0], color="#777777", lw=1, label="estimated before labels")
    colours = {"none": "#4c9f70", "warning": "#e0a030", "critical": "#c0392b"}
    for severity, colour in colours.items():
        mine = np.array([week.seen.severity == severity for week in weeks])
        if mine.any():
            reach = np.abs(seen[mine, 1:] - seen[mine, :1]).T
            axes.errorbar(
                np.array(days)[mine],
                seen[mine, 0],
                yerr=reach,
                fmt="o",
                ms=4,
                lw=1,
                color=colour,
                label=severity,
            )
    axes.set_ylabel("ROC AUC")
    figure.legend(ncols=6, fontsize=8, frameon=False, loc="outside upper center")
    figure.savefig(target, dpi=90)
    pyplot.close(figure)


def _weeks(rows: pa.Table) -> list[pa.Table]:
    found = []
    start, last = _START, pc.max(rows["scheduled_at"]).as_py()
    while start + _WEEK <= last:
        times = rows["scheduled_at"]
        bounds = (pa.scalar(start, times.type), pa.scalar(start + _WEEK, times.type))
        found.append(rows.filter(pc.and_(pc.greater_equal(times, bounds[0]), pc.less(times, bounds[1]))))
        start += _WEEK
    return found


def _answered(spec: ModelSpec, pipeline: object, rows: pa.Table) -> pa.Table:
    scores = pipeline.predict_proba(feature_frame(spec, rows))[:, 1]  # type: ignore[attr-defined]
    table = rows.select(spec.features.names).append_column("score", pa.array(scores.tolist()))
    return table.append_column("label", rows["late"].cast(pa.int8()))


def main(arguments: list[str]) -> int:
    """Print the table; with a file name, draw the plot too."""
    spec, baseline, weeks = replay()
    print(table(spec, baseline, weeks))
    if arguments:
        plot(baseline, spec, weeks, Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
