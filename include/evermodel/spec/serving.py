"""The section `serving`: how the champion answers requests, and how well it has to."""

from __future__ import annotations

from pydantic import Field

from evermodel.spec.parts import Section, Share


class ObjectivesSpec(Section):
    """What the serving app promises; what is not given is not watched."""

    p50_ms: float | None = Field(None, gt=0, description="Median time of a request.")
    p95_ms: float | None = Field(None, gt=0)
    p99_ms: float | None = Field(None, gt=0)
    error_rate: Share | None = Field(None, description="Largest share of requests answered with a 5xx.")
    fallback_share: Share | None = Field(None, description="Largest share of answers that no model gave.")
    min_requests: int = Field(100, ge=1, description="Below this many requests there is no verdict.")


class ServingSpec(Section):
    """How the champion answers requests."""

    max_rows: int = Field(1000, ge=1, description="Most rows of one request.")
    objectives: ObjectivesSpec = ObjectivesSpec()
