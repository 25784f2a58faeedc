"""The section `gate`: the requirements for a challenger."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from evermodel.spec.checks import (
    BehaviourChecks,
    FairnessCheck,
    InvarianceCheck,
    MonotonicCheck,
    SecondaryMetric,
    SliceCheck,
)
from evermodel.spec.features import FeaturesSpec
from evermodel.spec.parts import METRIC_NAMES, Margin, MetricName, Share, SpecSection, Task


class GateSpec(SpecSection):
    """Requirements that a challenger must meet before it may ship."""

    metric: MetricName = Field("roc_auc", description="Primary metric; default: the first one of the task.")
    floor: float | None = Field(None, description="Absolute value the metric must reach.")
    margin: Margin = Field(
        "5%",
        description="Largest loss that counts as not worse, in units of the metric, or as a share of the champion's"
        " gain over the best constant prediction.",
    )
    year_budget: Margin = Field(
        "10%",
        description="Largest loss against the best version of twelve months, as in `margin`: what many small losses may"
        " add up to.",
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Confidence of the bootstrap interval.")
    resamples: int = Field(2000, ge=200, description="Bootstrap resamples.")
    ship_on: tuple[Literal["better", "not_worse"], ...] = Field(
        ("better", "not_worse"), min_length=1, description="Comparison results that may ship."
    )
    secondary: tuple[SecondaryMetric, ...] = ()
    slices: tuple[SliceCheck, ...] = ()
    fairness: tuple[FairnessCheck, ...] = ()
    behaviour: BehaviourChecks | None = None
    max_calibration_error: Share | None = None
    max_latency_ms: float | None = Field(None, gt=0, description="Largest median latency of one row, in ms.")
    max_latency_p99_ms: float | None = Field(
        None, gt=0, description="Largest 99th percentile of the latency of one row, in ms."
    )
    min_rows_per_second: float | None = Field(
        None, gt=0, description="Throughput in requests of serving.max_rows rows."
    )
    max_size_mb: float | None = Field(None, gt=0)

    @property
    def metrics(self) -> list[str]:
        """The primary metric and the secondary ones."""
        return [self.metric, *(check.metric for check in self.secondary)]

    def problems(self, task: Task, features: FeaturesSpec, context: Sequence[str] = ()) -> list[str]:
        """Return conflicts with the rest of the spec; each text starts with the name of its field."""
        found = self._column_problems(features, context)
        names = self.metrics
        for index, check in enumerate(self.secondary):
            where = f"gate.secondary.{index}.metric: {check.metric}"
            if check.metric not in METRIC_NAMES[task]:
                allowed = ", ".join(METRIC_NAMES[task])
                found.append(f"{where} is not a metric of a {task} task (allowed: {allowed})")
            if check.metric in names[: index + 1]:
                found.append(f"{where} is listed twice")
        if self.fairness and task != "binary":
            found.append(f"gate.fairness: fairness gates need a binary task, not {task}")
        if task == "multiclass" and self.behaviour is not None and self.behaviour.monotonic:
            found.append("gate.behaviour.monotonic: a multiclass answer has no direction")
        return found

    def _column_problems(self, features: FeaturesSpec, context: Sequence[str]) -> list[str]:
        behaviour = self.behaviour or BehaviourChecks()
        declared: dict[str, Sequence[SliceCheck | FairnessCheck | InvarianceCheck | MonotonicCheck]] = {
            "gate.slices": self.slices,
            "gate.fairness": self.fairness,
            "gate.behaviour.invariance": behaviour.invariance,
            "gate.behaviour.monotonic": behaviour.monotonic,
        }
        found = [
            f"{field}.{index}.column: {check.column} is not a feature of this model"
            for field, checks in declared.items()
            for index, check in enumerate(checks)
            if check.column not in features.names
            and (check.column not in context or field.startswith("gate.behaviour"))
        ]
        found += [
            f"gate.behaviour.monotonic.{index}.column: {check.column} is not a number"
            for index, check in enumerate(behaviour.monotonic)
            if check.column in features.categorical
        ]
        return found + self._value_problems(features)

    def _value_problems(self, features: FeaturesSpec) -> list[str]:
        behaviour = self.behaviour or BehaviourChecks()
        declared = [("gate.slices", i, c.column, c.values or ()) for i, c in enumerate(self.slices)]
        declared += [
            ("gate.behaviour.invariance", i, c.column, c.values) for i, c in enumerate(behaviour.invariance)
        ]
        return [
            f"{field}.{index}.values: {value!r} is not a number, but {column} holds numbers"
            for field, index, column, values in declared
            for value in values
            if column in features.numeric and isinstance(value, str)
        ]
