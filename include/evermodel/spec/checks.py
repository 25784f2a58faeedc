"""The parts of a spec's gate section that check more than the primary metric."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evermodel.spec.parts import Column, Margin, MetricName, Share, SpecSection

Scalar = bool | int | float | str


class SecondaryMetric(SpecSection):
    """A further metric that must not get worse."""

    metric: MetricName
    margin: Margin = Field("5%", description="Largest loss that counts as not worse, as in `gate.margin`.")
    floor: float | None = Field(None, description="Absolute value it must reach.")


class SliceCheck(SpecSection):
    """Parts of the test window, each of which must not get worse."""

    column: Column = Field(description="A feature.")
    values: tuple[Scalar, ...] | None = Field(
        None, min_length=1, description="Values to evaluate; by default every value with enough rows."
    )
    min_rows: int = Field(100, ge=2, description="Minimum rows of a slice; a smaller one gives a warning.")
    margin: float | None = Field(
        None, ge=0, description="Smallest loss that fails the gate; default: gate.margin."
    )
    floor: float | None = Field(None, description="Absolute value the primary metric must reach.")


class FairnessCheck(SpecSection):
    """Largest difference between groups in the model's decisions."""

    column: Column = Field(description="Feature with the group of each row.")
    measure: Literal["demographic_parity_difference", "equalized_odds_difference"]
    threshold: Share = Field(0.5, description="Scores from this value on are positive.")
    max: Share = Field(description="Largest difference between any two groups.")
    min_rows: int = Field(
        50, ge=2, description="Minimum rows of a group; smaller groups are left out and named."
    )


class InvarianceCheck(SpecSection):
    """A feature whose value must not change the answer."""

    column: Column
    values: tuple[Scalar, ...] = Field(min_length=1, description="Values to set it to, in every row.")
    max_change: float = Field(0.0, ge=0, description="Largest change of any answer.")


class MonotonicCheck(SpecSection):
    """A number that may move the answer in one direction only."""

    column: Column
    direction: Literal["increasing", "decreasing"] = "increasing"
    share: Share = Field(
        1.0, description="Share of rows in which raising it must not move the answer the wrong way."
    )
    step: float | None = Field(
        None, gt=0, description="Step by which it is raised; default: its standard deviation."
    )


class BehaviourChecks(SpecSection):
    """Required behaviour on inputs that may be absent from the test window."""

    missing: bool = Field(
        False, description="Whether answers must be valid with each feature missing in turn."
    )
    unseen: bool = Field(False, description="Whether answers must be valid with an unseen category.")
    output: tuple[float | None, float | None] | None = Field(
        None, description="Lowest and highest answer on the test window; null: no limit on that side."
    )
    invariance: tuple[InvarianceCheck, ...] = ()
    monotonic: tuple[MonotonicCheck, ...] = ()
    rows: int = Field(500, ge=1, description="Test rows that are used.")
