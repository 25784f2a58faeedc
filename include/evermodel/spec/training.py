"""The training sections of a model spec: how time is split, and what is trained."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, JsonValue

from evermodel.spec.parts import Section, Span


class SplitSpec(Section):
    """How much time each part of a training snapshot covers: train < validation < test."""

    train: Span = timedelta(weeks=7)
    validation: Span = timedelta(weeks=1)
    test: Span = timedelta(weeks=1)

    @property
    def total(self) -> timedelta:
        """Length of the whole snapshot."""
        return self.train + self.validation + self.test


class CandidateSpec(Section):
    """One estimator with its parameters."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    estimator: str = Field(description="Import path, e.g. sklearn.linear_model.LogisticRegression.")
    params: dict[str, JsonValue] = Field(default_factory=dict)
