"""What the serving app's answers look like."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Prediction(_Answer):
    """The answer for one row."""

    id: str = Field(
        description="What joins this prediction with its label: the id that the row came with, or one made for it."
    )
    score: float = Field(description="A probability; for a regression the value.")
    label: str | None = Field(None, description="Of many classes the likeliest; absent for other tasks.")


class Predictions(_Answer):
    """The answer for one request; ``version`` gave it for every row."""

    model: str
    version: str = Field(
        description="What answered: a version of the model, or `constant` or `rule` for a fallback without one."
    )
    request_id: str
    predictions: list[Prediction] = Field(description="One for each row, in their order.")
    fallback: Literal["previous", "constant", "rule"] | None = Field(
        None, description="The fallback that answered in the model's place; absent when the model itself did."
    )


class ProblemDetails(_Answer):
    """Why there is no answer."""

    detail: str = Field(description="What is wrong, where, and what to do about it.")
    request_id: str


class Alive(_Answer):
    """The process runs."""

    status: Literal["alive"] = "alive"


class Ready(_Answer):
    """Every served model has a version to answer with."""

    status: Literal["ready"] = "ready"


class NotReady(_Answer):
    """A served model has no version yet."""

    status: Literal["not ready"] = "not ready"
    reasons: dict[str, str] = Field(description="By model.")


class ModelState(_Answer):
    """What one served model is doing, in the process that was asked."""

    model: str
    version: str | None
    engine: Literal["onnx", "sklearn"] | None
    since: datetime | None
    shares: dict[str, float] = Field(description="Of the requests, by version.")
    shadow: str | None = Field(description="The version that answers unheard.")
    revision: int = Field(description="Of the traffic plan in force; 0 without one.")
    missing: dict[str, str] = Field(
        description="Versions that the plan names and that could not be loaded; the champion has their share."
    )
    inputs: list[dict[str, str]]
    fallback: Literal["none", "previous", "constant", "rule"] = Field(description="As the spec declares it.")
    breaker: Literal["closed", "open"] = Field(
        description="Open while the version is left alone because it failed again and again."
    )
    last_error: str | None
    last_checked: datetime | None
