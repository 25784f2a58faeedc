"""The sections `serving` and `score`: how the champion answers requests, with its objectives, and batch scoring."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from evermodel.spec.parts import Share, SpecSection, Task


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
        if task in ("binary", "multiclass") and not 0 <= self.score <= 1:
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
    coverage: float | None = Field(
        None,
        gt=0.5,
        lt=1,
        description="Share of truths inside the conformal sets or intervals of `/predict?interval=true`.",
    )
    explain: bool = Field(
        False,
        description="Keep 50 test rows with a version, for the attributions of `/predict?explain=true`.",
    )


class ScoreSpec(SpecSection):
    """Batch scoring. The prediction log gets every answer in any case."""

    engine: Literal["local", "spark"] = Field(
        "local", description="Score in the task's own process, or as a Spark job."
    )
    spark: str | None = Field(
        None, min_length=1, description="Spark's master or `sc://` address; null: Spark's own settings."
    )
    at_once: int = Field(4, ge=1, description="Days of one run scored at the same time.")
    connection: str | None = Field(
        None, min_length=1, description="Airflow connection id of a database to write the answers to."
    )
    table: str | None = Field(
        None,
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)?$",
        description="Table there, created if missing; a dot separates the schema.",
    )

    @model_validator(mode="after")
    def _both(self) -> ScoreSpec:
        if (self.connection is None) != (self.table is None):
            raise ValueError("`connection` and `table` must be set together")
        if self.spark is not None and self.engine != "spark":
            raise ValueError("`spark` needs `engine: spark`")
        return self
