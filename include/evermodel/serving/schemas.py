"""The JSON schemas of the serving app's responses."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Prediction(_Answer):
    """The answer for one row."""

    id: str = Field(
        description="Joins this prediction with its label: the id of the row, or one made for it."
    )
    score: float = Field(
        description="A probability; for a regression, the value; for a ranking, higher is earlier."
    )
    label: str | None = Field(None, description="The most probable of many classes; absent for other tasks.")
    rank: int | None = Field(
        None, description="Of a ranking: the place among the rows of the request, from 1."
    )
    decision: Literal[0, 1] | None = Field(
        None, description="Of a binary model with a rule for decisions: 1 from the version's threshold on."
    )
    interval: tuple[float, float] | None = Field(
        None,
        description="With `?interval=true`, of a regression: holds the truth in the share `coverage` of rows.",
    )
    classes: list[str] | None = Field(
        None,
        description="With `?interval=true`, of a classifier: holds the truth in the share `coverage` of rows.",
    )
    coverage: float | None = Field(None, description="With `?interval=true`.")
    baseline: float | None = Field(
        None,
        description="With `?explain=true`: the mean answer to background rows; the attributions add up to the rest.",
    )
    attributions: dict[str, float] | None = Field(
        None,
        description="With `?explain=true`: Shapley values of the features, largest first; of many classes, for the likeliest.",
    )


class Predictions(_Answer):
    """The answer for one request; all rows are answered by ``version``."""

    model: str
    version: str = Field(
        description="The version of the model, or `constant` or `rule` for a fallback without a version."
    )
    request_id: str
    predictions: list[Prediction] = Field(description="One for each row, in the order of the request.")
    fallback: Literal["previous", "constant", "rule"] | None = Field(
        None, description="The fallback that answered; absent if the model answered."
    )


class ProblemDetails(_Answer):
    """Why the request has no answer."""

    detail: str = Field(description="The problem, its place in the request, and what to do.")
    request_id: str


class Alive(_Answer):
    """The process runs."""

    status: Literal["alive"] = "alive"


class Ready(_Answer):
    """Every served model has a loaded version."""

    status: Literal["ready"] = "ready"


class NotReady(_Answer):
    """A served model has no loaded version."""

    status: Literal["not ready"] = "not ready"
    reasons: dict[str, Literal["loading", "load_failed"]] = Field(
        description="By model, why no version is loaded; the error is in `/models`."
    )


class ModelState(_Answer):
    """The state of one served model, in the process that answers."""

    model: str
    version: str | None
    engine: Literal["onnx", "native", "sklearn"] | None
    since: datetime | None
    shares: dict[str, float] = Field(description="Share of the requests, by version.")
    shadow: str | None = Field(description="The version whose answers are compared and not returned.")
    revision: int = Field(description="Revision of the traffic plan in force; 0 without one.")
    missing: dict[str, str] = Field(
        description="Versions of the plan that could not be loaded; the champion has their share."
    )
    inputs: list[dict[str, str]]
    fallback: Literal["none", "previous", "constant", "rule"] = Field(description="As the spec declares it.")
    breaker: Literal["closed", "open"] = Field(
        description="Open while the version gets no requests because it failed repeatedly."
    )
    last_error: str | None
    last_checked: datetime | None
