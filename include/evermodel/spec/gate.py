"""The gate section of a model spec: what a challenger has to prove."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evermodel.spec.parts import Section, Share


class GateSpec(Section):
    """What a challenger has to prove before it may ship."""

    metric: Literal["roc_auc", "average_precision", "log_loss", "brier"] = "roc_auc"
    floor: float | None = Field(None, description="Absolute value that the metric must reach.")
    margin: float = Field(0.01, ge=0, description="How much worse still counts as not worse.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Confidence of the interval.")
    resamples: int = Field(2000, ge=200, description="Bootstrap resamples.")
    ship_on: tuple[Literal["better", "not_worse"], ...] = Field(
        ("better", "not_worse"), min_length=1, description="Verdicts that may ship."
    )
    max_calibration_error: Share | None = None
    max_latency_ms: float | None = Field(None, gt=0, description="Largest median time of one row.")
    max_size_mb: float | None = Field(None, gt=0)
