"""What the delays of the last hours add to the flights example: the same candidate with and without them, week by week."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.outcome import Outcome
from evermodel.data.examples.flights import prepare_flights, with_flights
from evermodel.data.sources import read_window
from evermodel.evaluation.evaluate import clusters_of
from evermodel.modeling.estimators import build_pipeline
from evermodel.modeling.fitting import TrainingRows, rows_from
from evermodel.modeling.tasks import metric_of
from evermodel.spec import ModelSpec, load_spec
from evermodel.spec.window import Window, split_window
from evermodel.stats.bootstrap import MeasuredMetric, side_by_side

_MODELS = Path(__file__).parents[1] / "include" / "models"
_FIRST, _WEEK = datetime(2013, 3, 11, tzinfo=UTC), timedelta(weeks=1)  # as in the README's backtest


def run(small: bool) -> Outcome:
    """Fit both each week on the eight weeks before it, and compare them on all these weeks as the gate compares."""
    weeks = 3 if small else 42
    with tempfile.TemporaryDirectory(prefix="evermodel-bench-") as folder:
        path = prepare_flights(Path(folder)).parent
        specs = [
            with_flights(load_spec(str(_MODELS / f"{name}.yaml")), path)
            for name in ("flights_history", "flights")
        ]
        window = Window(split_window(specs[0], _FIRST).fit.start, _FIRST + weeks * _WEEK)
        rows = [rows_from(spec, read_window(spec, window, with_label=True)) for spec in specs]
    starts = [_FIRST + n * _WEEK for n in range(weeks)]
    with threadpool_limits(1):  # split sums differ in their last bits
        answers = [_answers(spec, of_spec, starts) for spec, of_spec in zip(specs, rows, strict=True)]
    served = rows[0].within(Window(_FIRST, window.end))
    whole = _compared(specs[0], served, *answers)
    gain = whole.gain
    assert gain is not None
    assert whole.theirs is not None
    better, worse = _weeks(specs[0], rows[0], starts, answers)
    return Outcome(
        peer="the same candidate without aggregates",
        ratios={},
        figures={
            "weeks": weeks,
            "rows": len(served.labels),
            "auc": whole.own.value,
            "auc_without": whole.theirs.value,
            "gain": gain.value,
            "gain_low": gain.low,
            "gain_high": gain.high,
            "weeks_better": better,
            "weeks_worse": worse,
        },
        header=["features", "AUC", "95% interval, by day"],
        rows=[
            [
                "with the last hours' delays",
                f"{whole.own.value:.3f}",
                f"{whole.own.low:.3f} to {whole.own.high:.3f}",
            ],
            ["without", f"{whole.theirs.value:.3f}", f"{whole.theirs.low:.3f} to {whole.theirs.high:.3f}"],
            ["gain", f"{gain.value:+.3f}", f"{gain.low:+.3f} to {gain.high:+.3f}"],
        ],
        notes=[
            f"{weeks} weeks from {_FIRST:%Y-%m-%d}, {len(served.labels):,} flights, {whole.clusters}; each model is "
            f"fitted every week on the eight weeks before. Of single weeks, {better} are better and {worse} worse "
            "beyond their own interval.",
        ],
    )


def _answers(spec: ModelSpec, rows: TrainingRows, starts: list[datetime]) -> list[np.ndarray[Any, Any]]:
    """Return each week's probabilities, of a model that saw only the weeks before."""
    found = []
    for start in starts:
        fit = rows.within(Window(start - spec.split.train - spec.split.validation, start - spec.label.delay))
        pipeline = build_pipeline(spec, spec.candidates[0]).fit(fit.frame, fit.labels)
        found.append(pipeline.predict_proba(rows.within(Window(start, start + _WEEK)).frame)[:, 1])
    return found


def _compared(
    spec: ModelSpec, rows: TrainingRows, own: list[np.ndarray[Any, Any]], theirs: list[np.ndarray[Any, Any]]
) -> MeasuredMetric:
    (measured,) = side_by_side(
        [metric_of(spec, spec.gate.metric)],
        rows.labels,
        np.concatenate(own),
        np.concatenate(theirs),
        confidence=spec.gate.confidence,
        resamples=spec.gate.resamples,
        seed=spec.seed,
        clusters=clusters_of(spec, rows.frame, rows.times),
    )
    return measured


def _weeks(
    spec: ModelSpec, rows: TrainingRows, starts: list[datetime], answers: list[list[np.ndarray[Any, Any]]]
) -> tuple[int, int]:
    """Count the weeks in which the gain's interval lies above zero, and those in which it lies below."""
    better = worse = 0
    for start, own, theirs in zip(starts, *answers, strict=True):
        gain = _compared(spec, rows.within(Window(start, start + _WEEK)), [own], [theirs]).gain
        assert gain is not None
        better, worse = better + (gain.low > 0), worse + (gain.high < 0)
    return better, worse
