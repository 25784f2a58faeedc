"""The parts of a spec's gate section that check more than the primary metric."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evermodel.spec.metrics import MetricName
from evermodel.spec.parts import Column, Share, SpecSection

Scalar = bool | int | float | str


class SecondaryMetric(SpecSection):
    """A further metric that must not get worse."""

    metric: MetricName
    margin: float = Field(0.01, ge=0, description="How much worse still counts as not worse.")
    floor: float | None = Field(None, description="Absolute value that it must reach.")


class SliceCheck(SpecSection):
    """Parts of the test window, each of which must not get worse."""

    column: Column = Field(description="A feature.")
    values: tuple[Scalar, ...] | None = Field(
        None, min_length=1, description="Values to look at; without it, every one with enough rows."
    )
    min_rows: int = Field(100, ge=2, description="Below this many rows a slice is not judged, and says so.")
    margin: float | None = Field(
        None, ge=0, description="Smallest loss that stops; gate.margin if not given."
    )
    floor: float | None = Field(None, description="Absolute value that the primary metric must reach.")


class FairnessCheck(SpecSection):
    """How far groups may be apart in what the model decides about them."""

    column: Column = Field(description="A feature that says who belongs to which group.")
    measure: Literal["demographic_parity_difference", "equalized_odds_difference"]
    threshold: Share = Field(0.5, description="Scores from here on count as a yes.")
    max: Share = Field(description="Largest difference between any two groups.")
    min_rows: int = Field(50, ge=2, description="Groups with fewer rows are left out, and named.")


class InvarianceCheck(SpecSection):
    """A feature whose value must not matter."""

    column: Column
    values: tuple[Scalar, ...] = Field(min_length=1, description="Values that it is set to, in every row.")
    max_change: float = Field(0.0, ge=0, description="Largest change of any answer.")


class MonotonicCheck(SpecSection):
    """A number that may move the answer in one direction only."""

    column: Column
    direction: Literal["increasing", "decreasing"] = "increasing"
    share: Share = Field(1.0, description="Share of rows in which raising it must not move the answer back.")
    step: float | None = Field(
        None, gt=0, description="How much it is raised; its standard deviation if not given."
    )


class BehaviourChecks(SpecSection):
    """What the model must do with inputs that the test window may not hold."""

    missing: bool = Field(False, description="Each feature missing in turn: the answers must be valid.")
    unseen: bool = Field(False, description="A category never seen: the answers must be valid.")
    output: tuple[float | None, float | None] | None = Field(
        None, description="Lowest and highest answer on the test window; null leaves a side open."
    )
    invariance: tuple[InvarianceCheck, ...] = ()
    monotonic: tuple[MonotonicCheck, ...] = ()
    rows: int = Field(500, ge=1, description="Rows of the test window that are tried.")
