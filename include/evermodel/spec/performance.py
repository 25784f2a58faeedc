"""The section `performance`: requirements on predictions with known labels."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from evermodel.spec.parts import Column, Share, Span, SpecSection


class PerformanceSpec(SpecSection):
    """How the performance on matured labels is monitored."""

    window: Span = Field(timedelta(days=7), description="Trailing window of predictions with known labels.")
    margin: float | None = Field(
        None,
        ge=0,
        description="Distance below the promised value that is a warning; default: the gate's margin.",
    )
    critical: float | None = Field(
        None, ge=0, description="Distance below the promised value that is critical; default: three margins."
    )
    false_alarm_rate: float = Field(0.01, gt=0, lt=0.5, description="False-alarm rate per model and day.")
    min_rows: int = Field(100, ge=2, description="Minimum labels for a verdict.")
    slices: tuple[Column, ...] = Field((), description="Features whose values are monitored one by one.")
    estimate: bool = Field(
        True, description="Estimate the metric before labels are known (CBPE); not for regression."
    )
    threshold: Share = Field(0.5, description="Score from which a row is positive in proxy metrics.")
    business: dict[str, str] = Field(
        default_factory=dict,
        description="Name and SQL expression (DuckDB) over `joined`: the prediction log with the column `label`.",
    )
