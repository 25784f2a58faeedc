"""The serving app against its objectives: latency, errors, fallback share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from evermodel.monitoring.performance.scrape import ScrapeInterval
from evermodel.monitoring.problems import Problem, Severity, worst_of
from evermodel.spec import ModelSpec
from evermodel.stats.histogram import quantile

_FAR = 2.0  # an objective missed by this factor is critical


@dataclass(frozen=True)
class ServingFigures:
    """Figures of the serving app between two scrapes; None without requests.

    Parameters
    ----------
    p50_ms, p95_ms, p99_ms
        Estimated inside the buckets of the histogram; at most the largest bound (5 s).
    error_rate
        Share of requests answered with a 5xx.
    fallback_share
        Share of requests without a model's prediction: by a fallback, or without a version.
    dropped
        Predictions that did not reach the log and are not monitored.
    """

    requests: int
    seconds: float
    per_second: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    error_rate: float | None
    fallback_share: float | None
    dropped: int = 0


def figures_of(interval: ScrapeInterval) -> ServingFigures:
    """Compute the figures of an interval."""
    counted, seconds = interval.counted, interval.seconds
    total = sum(counted.requests.values())
    failed = sum(value for status, value in counted.requests.items() if status.startswith("5"))
    unanswered = counted.fallbacks + counted.no_version
    p50, p95, p99 = (quantile_ms(counted.buckets, share) for share in (0.5, 0.95, 0.99))
    return ServingFigures(
        requests=round(total),
        seconds=seconds,
        per_second=total / seconds if seconds > 0 else None,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        error_rate=failed / total if total else None,
        fallback_share=min(1.0, unanswered / total) if total else None,
        dropped=round(counted.dropped),
    )


def quantile_ms(buckets: Mapping[str, float], share: float) -> float | None:
    """Return a quantile in milliseconds from cumulative buckets, on a straight line inside its bucket.

    That is what Prometheus' ``histogram_quantile`` does, also beyond the largest bound, which it returns then.

    >>> quantile_ms({"0.01": 50.0, "0.02": 100.0, "+Inf": 100.0}, 0.75)
    15.0
    """
    seconds = quantile(buckets, share)
    if math.isnan(seconds):
        return None
    # Beyond the largest bound nothing is known: it is at least that.
    largest = max((bound for bound in map(float, buckets) if not math.isinf(bound)), default=0.0)
    return 1000 * min(seconds, largest)


def serving_problem(
    spec: ModelSpec, interval: ScrapeInterval | None
) -> tuple[Problem, ServingFigures | None]:
    """Compare the figures with `serving.objectives`.

    A missed objective is a warning, missed twice over it is critical. An address that does not answer is a warning;
    when none answers it is critical. Predictions that were not logged are a warning.

    Parameters
    ----------
    interval
        What `interval_of` found; None if no address is configured or the day is too old.
    """
    if interval is None or not interval.addresses:
        return Problem("serving", "none", "the serving app was not monitored", known=False), None
    figures = figures_of(interval)
    found = [*_silent(interval), *_missed(spec, figures)]
    if figures.dropped:
        lost = f"{figures.dropped:,} predictions did not reach the prediction log; see the serving app's log"
        found.append(("warning", lost))
    lines = tuple(line for _, line in sorted(found, key=lambda pair: pair[0] != "critical"))
    severity = worst_of(severity for severity, _ in found)
    summary = _sentence(figures)
    if figures.requests < spec.serving.objectives.min_requests and not found:
        return Problem("serving", "none", f"{summary}, too few for a verdict", known=False), figures
    return Problem(
        "serving", severity, lines[0] if lines else summary, details=(*lines[1:], summary)
    ), figures


def _silent(interval: ScrapeInterval) -> list[tuple[Severity, str]]:
    severity: Severity = "critical" if len(interval.silent) == len(interval.addresses) else "warning"
    return [(severity, f"{url} does not answer: {reason}") for url, reason in interval.silent]


def _missed(spec: ModelSpec, figures: ServingFigures) -> list[tuple[Severity, str]]:
    objectives = spec.serving.objectives
    if figures.requests < objectives.min_requests:
        return []
    found: list[tuple[Severity, str]] = []
    for name, form in (
        ("p50_ms", "{:.1f} ms"),
        ("p95_ms", "{:.1f} ms"),
        ("p99_ms", "{:.1f} ms"),
        ("error_rate", "{:.2%}"),
        ("fallback_share", "{:.2%}"),
    ):
        value, limit = getattr(figures, name), getattr(objectives, name)
        if value is None or limit is None or value <= limit:
            continue
        words = name.removesuffix("_ms").replace("_", " ")
        severity: Severity = "critical" if value > _FAR * limit else "warning"
        found.append((severity, f"{words} {form.format(value)}, at most {form.format(limit)} allowed"))
    return found


def _sentence(figures: ServingFigures) -> str:
    parts = [f"{figures.requests:,} requests"]
    if figures.per_second is not None:
        parts.append(f"{figures.per_second:.2g} per second")
    if figures.p99_ms is not None and figures.p50_ms is not None:
        parts.append(f"p50 {figures.p50_ms:.1f} ms, p99 {figures.p99_ms:.1f} ms")
    if figures.error_rate is not None:
        parts.append(f"{figures.error_rate:.2%} errors")
    return ", ".join(parts)
