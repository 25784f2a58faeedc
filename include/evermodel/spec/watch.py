"""The section `watch`: a model that is trained and served elsewhere, and monitored here by its log of predictions."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from evermodel.spec.alerts import check_zone
from evermodel.spec.parts import Column, Span, SpecSection
from evermodel.spec.source import SourceSpec


def _moment(value: object) -> Any:
    """Take a day for its midnight; YAML reads an unquoted one as a date."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time())
    return value


_DAY, _WEEK = timedelta(days=1), timedelta(days=7)


def check_every(value: timedelta) -> timedelta:
    """Return how often a window is evaluated, or raise: it must divide the hour or the day, or be a day or a week."""
    minutes = value // timedelta(minutes=1)
    of_hour = 5 <= minutes < 60 and 60 % minutes == 0
    if value in (_DAY, _WEEK) or of_hour or (minutes >= 60 and minutes % 60 == 0 and 1440 % minutes == 0):
        return value
    raise ValueError(
        "a window is evaluated every 1w, 1d, or part of a day or hour from 5min on, such as 15min or 6h"
    )


Moment = Annotated[datetime, BeforeValidator(_moment)]


class ReferencePeriod(SpecSection):
    """The period whose rows are the reference, and whose performance is the baseline."""

    start: Moment = Field(description="First day, or a time; without a zone it is UTC.")
    end: Moment = Field(description="End, exclusive.")
    source: SourceSpec | None = Field(
        None,
        description="Table with the rows, such as the training data; default: the predictions themselves.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> ReferencePeriod:
        if self.start.replace(tzinfo=None) >= self.end.replace(tzinfo=None):
            raise ValueError("start must be before end")
        return self


class LabelTable(SpecSection):
    """A table of labels apart from the predictions."""

    source: SourceSpec
    id_column: Column | None = Field(
        None, description="Id of the prediction; default: the model's `id_column`."
    )
    time_column: Column | None = Field(
        None, description="When the label became known; default: the model's `time_column`."
    )


class WatchSpec(SpecSection):
    """How the predictions of a foreign model are read; `source` of the spec is where they are."""

    prediction: Column = Field(description="Column of the score, or of the predicted class (multiclass).")
    predicted: Column | None = Field(None, description="Column of the decision of a binary model, if logged.")
    version: Column | None = Field(
        None,
        description="Column of the model's version; a new version gets a reference and a baseline of its own.",
    )
    reference: ReferencePeriod
    labels: LabelTable | None = Field(
        None, description="Table of the labels; default: `label.column` is a column of the predictions."
    )
    every: Annotated[Span, AfterValidator(check_every)] = Field(
        timedelta(days=1),
        description="How often a window is evaluated; windows end at multiples of it in the local day, or at midnight.",
    )
    timezone: Annotated[str, AfterValidator(check_zone)] = Field(
        "UTC", description="Time zone of the model's days and of its schedule."
    )
    late: Span = Field(
        timedelta(days=3), description="How late rows may arrive; younger days are read again at each look."
    )

    @property
    def columns(self) -> list[str]:
        """The columns of the predictions beside id, time and features."""
        return [name for name in (self.prediction, self.predicted, self.version) if name is not None]
