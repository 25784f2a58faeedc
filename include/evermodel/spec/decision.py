"""The sections on metrics with parameters, and on how probabilities become decisions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from evermodel.spec.parts import Share, SpecSection, Task


class CostSpec(SpecSection):
    """What one row costs, by label and decision, in any unit; a gain is negative."""

    false_positive: float
    false_negative: float
    true_positive: float = 0.0
    true_negative: float = 0.0


class MetricsSpec(SpecSection):
    """Parameters of the metrics that have one."""

    beta: float = Field(
        1.0, gt=0, description="`f_beta`: how many times as much recall counts as precision; 1 is F1."
    )
    precision: float = Field(0.9, gt=0, le=1, description="`recall_at_precision`: the least precision.")
    k: int = Field(
        3,
        ge=1,
        description="`top_k_accuracy`: how many of the likeliest classes count as right; ranking: how many places of a list count.",
    )
    quantile: float = Field(0.5, gt=0, lt=1, description="`pinball`: the quantile that is predicted.")
    power: float = Field(1.5, gt=1, lt=2, description="`tweedie_deviance`: the power of the variance.")
    cost: CostSpec | None = Field(None, description="`cost`: what a decision costs, by label and decision.")

    def problems(self, names: list[str], rule: str | None) -> list[str]:
        """Return conflicts with the metrics that are named, and with the rule of decisions."""
        if self.cost is None and ("cost" in names or rule == "cost"):
            user = "the metric cost" if "cost" in names else "decision.rule: cost"
            return [f"metrics.cost: {user} needs what a false positive and a false negative cost"]
        return []


class DecisionSpec(SpecSection):
    """How the threshold is chosen from which on a probability is decided positive."""

    rule: Literal["cost", "f_beta", "precision", "alert_rate", "value"] = Field(
        description="cost, f_beta: best by this metric; precision: most recall with at least `metrics.precision`; "
        "alert_rate: at most this share positive; value: the given threshold. On the validation part."
    )
    value: Share | None = Field(None, description="The share of `alert_rate`, or the threshold of `value`.")

    @model_validator(mode="after")
    def _check_value(self) -> DecisionSpec:
        if (self.rule in ("alert_rate", "value")) != (self.value is not None):
            needs = "needs" if self.value is None else "takes no"
            raise ValueError(f"rule {self.rule} {needs} `value`")
        return self

    def problems(self, task: Task) -> list[str]:
        """Return conflicts with the task."""
        return [] if task == "binary" else [f"decision: a {task} task has no threshold"]
