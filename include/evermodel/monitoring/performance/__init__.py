"""Performance on matured labels, and its estimate before labels."""

from __future__ import annotations

from evermodel.monitoring.performance.answers import matured_performance, performance_metric

__all__ = [
    "answers",
    "baseline",
    "decay",
    "estimate",
    "estimate_history",
    "label_join",
    "label_log",
    "matured_performance",
    "monitor",
    "objectives",
    "past_windows",
    "performance_metric",
    "promotion_effect",
    "report",
    "scrape",
]
