"""The sections `respond` and `retrain`: which problems alert, which request a retrain, and how often."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from evermodel.spec.parts import Span, SpecSection

Response = Literal["off", "alert", "auto"]


class RespondSpec(SpecSection):
    """Response to each kind of problem: nothing, a message, or a message and a retrain request."""

    feature: Response = "auto"
    prediction: Response = "auto"
    label: Response = "alert"
    concept: Response = "auto"
    missing: Response = "alert"
    category: Response = "alert"
    correlation: Response = "alert"
    performance: Response = "auto"
    quality: Literal["off", "alert"] = Field(
        "alert", description="Bad data never requests a retrain; it blocks one."
    )
    serving: Literal["off", "alert"] = "alert"


class WindowsSpec(SpecSection):
    """How many of the last windows must be that bad."""

    count: int = Field(1, ge=1, le=60)
    of: int = Field(1, ge=1, le=60)

    @model_validator(mode="after")
    def _within(self) -> WindowsSpec:
        if self.count > self.of:
            raise ValueError("`count` must not be above `of`")
        return self


class RetrainPolicy(SpecSection):
    """When problems may request a retrain."""

    when: Literal["never", "warning", "critical"] = "critical"
    windows: WindowsSpec = Field(
        WindowsSpec(), description="Number of the last windows that must be that bad."
    )
    cooldown: Span = Field(timedelta(days=7), description="Shortest time between two retrains.")
    budget: int = Field(4, ge=0, description="Most requests within 30 days.")
