"""The sections of a model spec, each a frozen pydantic object."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)

BY_DAY, BY_ROW = "day", "row"  # what counts as one draw of an evaluation; or the name of a feature
_MINUTES = {"min": 1, "h": 60, "d": 1440, "w": 10_080}
_SPAN = re.compile(r"(\d+)\s*(min|h|d|w)")
_LONGEST = 36_525 * _MINUTES["d"]
_WANTED = "a duration is a whole number and a unit, such as 30min, 12h, 7d or 8w"


def parse_span(value: object) -> Any:
    """Turn ``"30min"``, ``"12h"``, ``"7d"`` or ``"8w"`` into a timedelta.

    >>> parse_span("8w")
    datetime.timedelta(days=56)
    """
    if isinstance(value, timedelta):
        return value
    match = _SPAN.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(_WANTED)
    # Longer ones would lead to dates that no calendar has.
    if len(match[1]) > 8 or int(match[1]) * _MINUTES[match[2]] > _LONGEST:
        raise ValueError("a duration is at most 100 years")
    return timedelta(minutes=int(match[1]) * _MINUTES[match[2]])


def format_span(value: timedelta) -> str:
    """Turn a timedelta into the shortest span.

    >>> format_span(timedelta(days=56)), format_span(timedelta(hours=36)), format_span(timedelta(minutes=90))
    ('8w', '36h', '90min')
    """
    minutes = round(value.total_seconds() / 60)
    unit = next(u for u, length in reversed(_MINUTES.items()) if minutes % length == 0)
    return f"{minutes // _MINUTES[unit]}{unit}" if minutes else "0h"


Span = Annotated[
    timedelta,
    BeforeValidator(parse_span),
    PlainSerializer(format_span, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^\d+\s*(min|h|d|w)$", "examples": ["30min", "7d", "8w"]}),
]


_CRON_PARTS = {
    "minute": "one of 0 to 59",
    "hour": "one of 0 to 23",
    "day": "one of 1 to 31",
    "month": "one of 1 to 12, or JAN to DEC",
    "weekday": "one of 0 (Sunday) to 7, or SUN to SAT",
}


def check_cron(value: str) -> str:
    """Return a cron expression unchanged, or raise: an invalid one would break every DAG of its file."""
    from croniter import croniter

    if not croniter.is_valid(value):
        raise ValueError(f"{_cron_problem(value)}; `0 6 * * 1` is Mondays at 6:00")
    return value


def _cron_problem(value: str) -> str:
    """Say which part of a cron expression is wrong, and what it may be."""
    from croniter import croniter

    parts = value.split()
    if len(parts) != len(_CRON_PARTS):
        return (
            f"a cron expression has five parts (minute, hour, day, month, weekday), this one has {len(parts)}"
        )
    for place, (name, allowed) in enumerate(_CRON_PARTS.items()):
        alone = ["*"] * len(_CRON_PARTS)
        alone[place] = parts[place]
        if not croniter.is_valid(" ".join(alone)):
            return f"the {name} `{parts[place]}` is not {allowed}"
    return "no day is ever meant by this cron expression"


Cron = Annotated[str, AfterValidator(check_cron)]
Share = Annotated[float, Field(ge=0, le=1)]


def margin_share(margin: float | str) -> float | None:
    """Return the share that a margin is of the champion's gain over no skill; None if it is in units of the metric.

    >>> margin_share("5%"), margin_share(0.01)
    (0.05, None)
    """
    return float(margin.removesuffix("%")) / 100 if isinstance(margin, str) else None


def margin_text(margin: float | str) -> str:
    """Return what a margin is, as the end of a sentence.

    >>> margin_text("5%"), margin_text(0.01)
    (" (5% of the champion's gain over no skill)", '')
    """
    return f" ({margin} of the champion's gain over no skill)" if isinstance(margin, str) else ""


Margin = (
    Annotated[float, Field(ge=0, strict=True)]
    | Annotated[str, Field(pattern=r"^\d{1,2}(\.\d+)?%$", examples=["5%"])]
)
Column = Annotated[str, Field(min_length=1)]
ImportPath = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")]


class SpecSection(BaseModel):
    """Base of all sections: frozen, and unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ColumnNote(SpecSection):
    """What people should know of a column."""

    description: str = Field("", description="What it says, and in which unit.")
    owner: str | None = Field(None, min_length=1, description="Who answers for it; null: the model's owner.")


class LabelSpec(SpecSection):
    """What the model predicts, and when it becomes known."""

    column: Column
    delay: Span = Field(timedelta(0), description="Time from the event until the label is known.")


class ScheduleSpec(SpecSection):
    """Cron expressions in UTC; null disables the schedule and leaves manual runs."""

    retrain: Cron | None = "0 6 * * 1"
    score: Cron | None = "0 3 * * *"
    drift: Cron | None = "0 4 * * *"


Task = Literal["binary", "multiclass", "regression", "ranking"]
MetricName = Literal[
    "roc_auc", "average_precision", "log_loss", "brier",
    "accuracy", "balanced_accuracy", "precision", "recall", "f_beta", "recall_at_precision", "cost",
    "macro_f1", "weighted_f1", "top_k_accuracy", "roc_auc_ovr",
    "rmse", "mae", "r2", "mape", "pinball", "poisson_deviance", "tweedie_deviance",
    "ndcg", "precision_at_k", "recall_at_k", "mrr",
]  # fmt: skip
METRIC_NAMES: dict[Task, tuple[MetricName, ...]] = {
    "binary": (
        "roc_auc", "average_precision", "log_loss", "brier",
        "accuracy", "balanced_accuracy", "precision", "recall", "f_beta", "recall_at_precision", "cost",
    ),
    "multiclass": (
        "log_loss", "accuracy", "macro_f1", "balanced_accuracy", "weighted_f1", "top_k_accuracy", "roc_auc_ovr",
    ),
    "regression": ("rmse", "mae", "r2", "mape", "pinball", "poisson_deviance", "tweedie_deviance"),
    "ranking": ("ndcg", "precision_at_k", "recall_at_k", "mrr"),
}  # fmt: skip


_ABSOLUTE = r"^/\S.*$"
_QUANTITY = r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"


class TaskResources(SpecSection):
    """Resources of one kind of task; unset ones are Airflow's defaults."""

    queue: str | None = Field(None, min_length=1, description="Celery queue; a worker must consume it.")
    pool: str | None = Field(None, min_length=1, description="Airflow pool; it must exist.")
    slots: int = Field(1, ge=1, description="Pool slots per task.")
    cpu: str | None = Field(
        None, pattern=_QUANTITY, description="CPU request of the task's pod (Kubernetes)."
    )
    memory: str | None = Field(
        None, pattern=_QUANTITY, description="Memory request and limit of the task's pod (Kubernetes)."
    )
    image: str | None = Field(None, min_length=1, description="Image of the task's pod (Kubernetes).")
    pod: dict[str, Any] | None = Field(
        None,
        description="More of the spec of the task's pod, as Kubernetes has it: nodeSelector, tolerations, "
        "serviceAccountName, volumes. The task's container is `base`.",
    )
    python: str | None = Field(
        None, pattern=_ABSOLUTE, description="Python on the worker that runs the step, instead of Airflow's."
    )


class ResourcesSpec(SpecSection):
    """Resources by kind of task; messages need none."""

    python: str | None = Field(
        None, pattern=_ABSOLUTE, description="Python on the worker for the steps of kinds that name none."
    )
    training: TaskResources = TaskResources()
    scoring: TaskResources = TaskResources()
    drift: TaskResources = TaskResources()
    registry: TaskResources = Field(TaskResources(), description="Tasks that move aliases or traffic.")
