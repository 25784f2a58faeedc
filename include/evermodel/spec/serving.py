"""The section `serving`: how the champion answers requests, and its objectives."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from evermodel.spec.metrics import Task
from evermodel.spec.parts import Share, SpecSection


class ObjectivesSpec(SpecSection):
    """Objectives of the serving app; unset ones are not monitored."""

    p50_ms: float | None = Field(None, gt=0, description="Median time of a request.")
    p95_ms: float | None = Field(None, gt=0)
    p99_ms: float | None = Field(None, gt=0)
    error_rate: Share | None = Field(None, description="Largest share of requests answered with a 5xx.")
    fallback_share: Share | None = Field(None, description="Largest share of answers from the fallback.")
    min_requests: int = Field(100, ge=1, description="Minimum requests for a verdict.")


class FallbackSpec(SpecSection):
    """What answers when the model raises or is too slow."""

    kind: Literal["none", "previous", "constant", "rule"] = Field(
        "none", description="Nothing (a 5xx), the previous version, a constant, or a function."
    )
    score: float | None = Field(None, description="The constant.")
    label: str | None = Field(None, description="The constant's class, for multiclass.")
    rule: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="Import path `module:function`; it takes one row as a dict and returns a score.",
    )
    timeout_ms: float | None = Field(
        None, gt=0, description="Response time above which a model is too slow; null: no limit."
    )

    @model_validator(mode="after")
    def _complete(self) -> FallbackSpec:
        if self.kind == "constant" and self.score is None:
            raise ValueError("the kind `constant` needs a `score`")
        if self.kind == "rule" and self.rule is None:
            raise ValueError("the kind `rule` needs `rule: module:function`")
        if self.kind != "constant" and (self.score is not None or self.label is not None):
            raise ValueError("only the kind `constant` takes `score` and `label`")
        if self.kind != "rule" and self.rule is not None:
            raise ValueError("only the kind `rule` takes a `rule`")
        return self

    def problems(self, task: Task) -> list[str]:
        """Say what the task does not allow."""
        if self.score is None:
            return []
        found = []
        if task != "regression" and not 0 <= self.score <= 1:
            found.append(f"serving.fallback.score: {self.score:g} is not a probability")
        if (self.label is None) == (task == "multiclass"):
            wanted = "must name the constant's class" if task == "multiclass" else "is only for multiclass"
            found.append(f"serving.fallback.label: {wanted}")
        return found


class ServingSpec(SpecSection):
    """How the champion answers requests."""

    max_rows: int = Field(1000, ge=1, description="Most rows of one request.")
    fallback: FallbackSpec = FallbackSpec()
    objectives: ObjectivesSpec = ObjectivesSpec()
