"""The training sections of a model spec: how time is split, what is trained, and how."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Discriminator, Field, JsonValue, Tag, model_validator

from evermodel.spec.parts import Span, SpecSection, Task


class SplitSpec(SpecSection):
    """How much time each part of a training snapshot covers: train < validation < test."""

    train: Span = timedelta(weeks=7)
    validation: Span = timedelta(weeks=1)
    test: Span = timedelta(weeks=1)

    @property
    def total(self) -> timedelta:
        """Length of the whole snapshot."""
        return self.train + self.validation + self.test


class RangeSpec(SpecSection):
    """Numbers to search between, both ends included; integers if both ends are integers."""

    low: int | float
    high: int | float
    log: bool = Field(False, description="Search on a logarithmic scale.")

    @model_validator(mode="after")
    def _check_ends(self) -> RangeSpec:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"with `log`, low ({self.low}) must be above 0")
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are searched."""
        return isinstance(self.low, int) and isinstance(self.high, int)


def _kind_of_entry(entry: object) -> str:
    return "choices" if isinstance(entry, list | tuple) else "range"


SpaceEntry = Annotated[
    Annotated[RangeSpec, Tag("range")] | Annotated[tuple[JsonValue, ...], Tag("choices")],
    Discriminator(_kind_of_entry),
]


class SearchSpec(SpecSection):
    """A search for better parameters; it ends with the first of its budgets."""

    trials: int | None = Field(None, ge=1, description="Largest number of trials.")
    minutes: float | None = Field(None, gt=0, description="Time after which no trial starts.")
    space: dict[str, SpaceEntry] = Field(
        min_length=1, description="For each parameter a range ({low, high, log}) or a list of choices."
    )

    @model_validator(mode="after")
    def _check_budget(self) -> SearchSpec:
        if self.trials is None and self.minutes is None:
            raise ValueError("the search needs a budget: trials, minutes or both")
        empty = [name for name, entry in self.space.items() if entry == ()]
        if empty:
            raise ValueError(f"space: {', '.join(empty)} has no choices")
        return self


class CandidateSpec(SpecSection):
    """One estimator with its parameters."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    estimator: str = Field(
        description="Import path of a class, e.g. sklearn.linear_model.LogisticRegression; or `package.module:function`, which builds a pipeline."
    )
    params: dict[str, JsonValue] = Field(default_factory=dict)
    search: SearchSpec | None = Field(None, description="Search for better parameters than `params`.")
    time_limit: Span = Field(timedelta(hours=2), description="Time limit of its training.")

    @property
    def package(self) -> str:
        """Import name of the package that `estimator` is of."""
        return self.estimator.replace(":", ".").partition(".")[0]


class FoldsSpec(SpecSection):
    """Parts of train and validation on which parameters are measured, in the order of time."""

    kind: Literal["expanding", "rolling"] = Field(
        "expanding", description="Fit on all rows before a fold (expanding), or on a fixed length (rolling)."
    )
    count: int = Field(3, ge=1, le=50, description="Folds, each as long as split.validation.")


class TrainingSpec(SpecSection):
    """How candidates are fitted and measured."""

    folds: FoldsSpec = FoldsSpec(count=1)
    class_weight: Literal["balanced"] | None = Field(
        None, description="Weight rows so that every class has the same weight."
    )
    recency_half_life: Span | None = Field(
        None, description="A row this much older than the newest has half the weight."
    )
    early_stopping: bool = Field(
        False,
        description="Boosted trees and networks: use the number of iterations or epochs that is best on the validation part.",
    )
    calibrate: Literal["sigmoid", "isotonic"] | None = Field(
        None, description="Calibrate probabilities on the validation part."
    )

    def problems(self, task: Task, split: SplitSpec) -> list[str]:
        """Raise if the section conflicts with the task or the split."""
        found = []
        if task in ("regression", "ranking"):
            weight = ("recency_half_life",) if task == "ranking" else ()
            found += [
                f"training.{name}: {task} has no {'weights of rows' if name in weight else 'classes'}"
                for name in ("class_weight", "calibrate", *weight)
                if getattr(self, name) is not None
            ]
        if self.recency_half_life is not None and self.recency_half_life <= timedelta(0):
            found.append("training.recency_half_life: must be longer than zero")
        if (self.folds.count - 1) * split.validation >= split.train:
            found.append(
                f"training.folds: {self.folds.count} folds of split.validation leave no rows of split.train to fit on"
            )
        return found
