"""The section `performance`: how good the predictions have to stay once their labels are known."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from evermodel.spec.parts import Column, Share, Span, SpecSection


class PerformanceSpec(SpecSection):
    """How the performance on matured labels is watched."""

    window: Span = Field(
        timedelta(days=7), description="Trailing window of predictions whose labels are known."
    )
    margin: float | None = Field(
        None,
        ge=0,
        description="How far below the promised value is a warning; the gate's margin if not given.",
    )
    critical: float | None = Field(
        None, ge=0, description="How far below the promised value is critical; three margins if not given."
    )
    false_alarm_rate: float = Field(0.01, gt=0, lt=0.5, description="Per model and day.")
    min_rows: int = Field(100, ge=2, description="Below this many labels there is no verdict.")
    slices: tuple[Column, ...] = Field((), description="Features whose values are watched one by one.")
    estimate: bool = Field(
        True, description="Estimate the metric before labels are known (CBPE); not for a regression."
    )
    threshold: Share = Field(0.5, description="Score from which a row counts as positive in proxy metrics.")
    business: dict[str, str] = Field(
        default_factory=dict,
        description="Name and SQL expression (DuckDB) over `joined`: the prediction log with the column `label`.",
    )
