"""The gate: how often its verdicts err beside the stated rate, and how long its bootstrap takes."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from benchmarks.outcome import Outcome
from evermodel.evaluation.decision import compare
from evermodel.stats.bootstrap import paired_gain
from evermodel.stats.clusters import Clusters
from evermodel.stats.metrics import MetricParameters, metrics_by_name

CONFIDENCE = 0.95
STATED = (1 - CONFIDENCE) / 2
WINDOWS = (250, 1000)
# Clusters and their rows, and how much the lead of one model over the other varies between them.
WHOLE = "drawn whole"
CLUSTERED = ((7, 450, 0.5), (30, 14, 0.7), (200, 5, 0.7))
RESAMPLES, ROWS = 2000, 100_000
_TRUTH_ROWS = 1_000_000
_COST = {"true_negative": 0.0, "false_positive": 1.0, "false_negative": 3.0, "true_positive": 0.0}
METRICS = metrics_by_name("binary", MetricParameters(precision=0.6, cost=_COST))


@dataclass(frozen=True)
class Cell:
    """One simulated question: how often was something said that the stated rate speaks of?"""

    question: str
    metric: str
    rows: int
    times: int
    rate: float
    expected: float

    @property
    def error(self) -> float:
        """Standard error of the simulation itself."""
        return math.sqrt(self.expected * (1 - self.expected) / self.times)

    def line(self) -> list[str]:
        """Return the row of the table."""
        said = [f"{100 * value:.2f} %" for value in (self.rate, self.expected, self.error)]
        return [self.question, self.metric, str(self.rows), *said]


def run(small: bool) -> Outcome:
    """Simulate the verdicts and time the bootstrap."""
    times = 60 if small else 2000
    false_alarms = [cell for metric in METRICS for rows in WINDOWS for cell in _errors(metric, rows, times)]
    together = [cell for metric in ("roc_auc", "brier") for cell in _clustered(metric, times)]
    powers = [_power(rows, times // 2) for rows in WINDOWS]
    seconds, cpu_seconds, peer_seconds = _time(
        RESAMPLES // 100 if small else RESAMPLES, ROWS, 2 if small else 20
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Outcome(
        peer="a loop over scikit-learn's roc_auc_score",
        ratios={"bootstrap_vs_sklearn": peer_seconds / seconds},
        figures={
            "worst_type_one_error": max(cell.rate for cell in false_alarms),
            "worst_type_one_error_of_clusters": max(c.rate for c in together if WHOLE in c.question),
            "worst_type_one_error_of_rows_in_clusters": max(
                c.rate for c in together if WHOLE not in c.question
            ),
            "stated_error": STATED,
            "simulation_standard_error": max(cell.error for cell in false_alarms),
            "worst_power_deficit": max(cell.expected - cell.rate for cell in powers),
            "bootstrap_seconds": seconds,
            "bootstrap_cpu_seconds": cpu_seconds,
            "bootstrap_resamples": RESAMPLES,
            "bootstrap_rows": ROWS,
            "peak_memory_mb": memory,
        },
        header=["said wrongly, or found", "metric", "rows", "simulated", "stated", "± (1 s.e.)"],
        rows=[cell.line() for cell in (*false_alarms, *together, *powers)],
        notes=(
            "",
            f"{RESAMPLES} resamples of {ROWS} rows, ROC AUC of both models and their difference, one core: "
            f"{seconds:.1f} s ({cpu_seconds:.1f} s of processor time); the peer {peer_seconds:.0f} s"
            + (" (scaled up from fewer)" if small else ""),
        ),
    )


def _draw(generator: np.random.Generator, rows: int, ahead: float) -> tuple[Any, Any, Any]:
    """Labels and two models whose errors are partly shared; ``ahead`` is how much more the first one knows."""
    labels = generator.random(rows) < 0.3
    shared = 0.6 * generator.normal(size=rows)
    logits = [know * labels + shared + 0.8 * generator.normal(size=rows) - 1 for know in (1 + ahead, 1.0)]
    challenger, champion = (1 / (1 + np.exp(-z)) for z in logits)
    return labels, challenger, champion


def _errors(metric: str, rows: int, times: int) -> Iterator[Cell]:
    """Count what must be rare: better or worse among equals, and a loss of the whole margin that may still ship."""
    names = _verdicts(metric, rows, times, ahead=0.0, margin=0.01)
    for verdict in ("better", "worse"):
        yield Cell(f"equal models: {verdict}", metric, rows, times, names.count(verdict) / times, STATED)
    truth, found = _worse_model(), METRICS[metric]
    margin = -found.gain(*(found(truth[0], found.answers(scores, 0.5)) for scores in truth[1:]))
    names = _verdicts(metric, rows, times, ahead=-0.3, margin=margin)
    shipped = sum(name in ("better", "not_worse") for name in names)
    yield Cell("worse by the margin: may ship", metric, rows, times, shipped / times, STATED)


@cache
def _worse_model() -> tuple[Any, Any, Any]:
    """Labels and two models, of which the first knows less, on so many rows that chance plays no part."""
    return _draw(np.random.default_rng(1), _TRUTH_ROWS, -0.3)


def _clustered(metric: str, times: int) -> Iterator[Cell]:
    """Count *better* among models that are equal over all clusters, drawn as clusters and, for comparison, as rows."""
    for count, rows, spread in CLUSTERED:
        codes = np.repeat(np.arange(count), rows)
        for way, clusters in ((WHOLE, Clusters.of(codes)), ("taken for independent rows", None)):
            generator, better = np.random.default_rng(23), 0
            for _ in range(times // 4):
                labels, one, other = _draw_clustered(generator, codes, spread)
                gain = paired_gain(
                    METRICS[metric], labels, one, other,
                    confidence=CONFIDENCE, resamples=200, seed=0, clusters=clusters,
                )  # fmt: skip
                better += compare(gain.low, gain.high, 0.01) == "better"
            question = f"equal models, {count} clusters of {rows}, {way}: better"
            yield Cell(question, metric, len(codes), times // 4, better / (times // 4), STATED)


def _draw_clustered(generator: np.random.Generator, codes: Any, spread: float) -> tuple[Any, Any, Any]:
    labels = generator.random(len(codes)) < 0.5
    noise = generator.normal(size=(2, len(codes)))
    ahead = spread * generator.normal(size=(2, codes[-1] + 1))[:, codes]
    one, other = 1 / (1 + np.exp(-((2 * labels - 1) * (1 + ahead) + noise)))
    return labels, one, other


def _power(rows: int, times: int) -> Cell:
    """Count how often a better model is found, beside what normal theory predicts for the Brier score."""
    ahead = 0.6 * math.sqrt(300 / rows)
    labels, challenger, champion = _draw(np.random.default_rng(2), _TRUTH_ROWS, ahead)
    gain = (champion - labels) ** 2 - (challenger - labels) ** 2
    expected = float(norm.cdf(gain.mean() / gain.std() * math.sqrt(rows) - norm.ppf(1 - STATED)))
    found = _verdicts("brier", rows, times, ahead=ahead, margin=0.01).count("better")
    return Cell("better model: found", "brier", rows, times, found / times, expected)


def _verdicts(metric: str, rows: int, times: int, *, ahead: float, margin: float) -> list[str]:
    generator = np.random.default_rng(17)
    said: list[str] = []
    for _ in range(times):
        labels, challenger, champion = _draw(generator, rows, ahead)
        gain = paired_gain(
            METRICS[metric], labels, challenger, champion, confidence=CONFIDENCE, resamples=200, seed=0
        )
        said.append(compare(gain.low, gain.high, margin))
    return said


def _time(resamples: int, rows: int, peer_resamples: int) -> tuple[float, float, float]:
    """Return the seconds that all resamples take: ours, our processor's, the peer's; in proportion if fewer were run."""
    labels, challenger, champion = _draw(np.random.default_rng(3), rows, 0.0)
    start, spent = time.perf_counter(), time.process_time()
    paired_gain(
        METRICS["roc_auc"], labels, challenger, champion, confidence=CONFIDENCE, resamples=resamples, seed=0
    )
    scaled = RESAMPLES / resamples
    ours, processor = (time.perf_counter() - start) * scaled, (time.process_time() - spent) * scaled
    generator = np.random.default_rng(0)
    start = time.perf_counter()
    for _ in range(peer_resamples):
        drawn = generator.integers(0, rows, size=rows)
        for scores in (challenger, champion):
            roc_auc_score(labels[drawn], scores[drawn])
    return ours, processor, (time.perf_counter() - start) * RESAMPLES / peer_resamples
