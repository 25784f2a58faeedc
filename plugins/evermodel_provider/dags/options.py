"""What a team changes in the shipped DAGs, and what all of them have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, BaseOperator, BaseSensorOperator

from evermodel.core.dag_ids import MODEL_KINDS, dag_id
from evermodel.core.errors import PermanentError
from evermodel.core.names import require_known
from evermodel.spec.parts import check_cron
from evermodel_provider.compat import CronTriggerTimetable
from evermodel_provider.dag_parts import DEFAULT_ARGS, default_args, describe, describe_kind, team_access
from evermodel_provider.operators.base import ModelOperator
from evermodel_provider.sensors.data import WindowSensor

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec

SCHEDULED = ("retrain", "score", "drift", "digest", "guard", "messages")
CALLBACKS = tuple(name for name in signature(BaseOperator.__init__).parameters if name.endswith("_callback"))
_OPERATORS = (BaseOperator, BaseSensorOperator, ModelOperator, WindowSensor)


@dataclass(frozen=True)
class DagOptions:
    """The hooks of `build_dags`, and the specs.

    :param specs: The models.
    :param folder: Folder of the specs if it is not the installation's, or None.
    """

    specs: Sequence[ModelSpec]
    folder: Path | None = None
    default_args: Mapping[str, Any] | None = None
    tags: Sequence[str] = ()
    schedules: Mapping[str, Any] | None = None
    pool: str | None = None
    access_control: Mapping[str, Any] | None = None
    callbacks: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        known = {name for kind in _OPERATORS for name in signature(kind.__init__).parameters}
        require_known("schedules", self.schedules or (), SCHEDULED)
        for kind, cron in (self.schedules or {}).items():
            _check_cron(kind, cron)
        require_known("callbacks", self.callbacks or (), CALLBACKS)
        require_known("default_args", self.default_args or (), sorted(known - {"self", "kwargs"}))

    def model(self, spec: ModelSpec) -> str:
        """Return how the tasks find a spec: its name, or its path if it is not in the installation's folder."""
        return str(self.folder / f"{spec.name}.yaml") if self.folder else spec.name

    def models(self) -> dict[str, str]:
        """Return the argument of operators that read every spec."""
        return {"models": str(self.folder)} if self.folder else {}

    def dag(
        self,
        kind: str,
        spec: ModelSpec | None,
        description: str,
        *,
        team: str = "",
        tag: str = "",
        **arguments: Any,
    ) -> DAG:
        """Return an empty DAG of a model, or of several.

        :param spec: The model; of several the one whose owner and channel hold for all, if there is one.
        :param team: The team of a digest.
        :param tag: Default: the kind.
        :param arguments: Arguments of the DAG.
        """
        of, tags, access = team, ["evermodel", tag or kind], dict(self.access_control or {})
        if spec and kind in MODEL_KINDS:
            of, tags, access = spec.name, [*tags, spec.name], {**(team_access(spec) or {}), **access}
            arguments["doc_md"] = describe(spec, kind)
        else:
            arguments["doc_md"] = "\n\n".join((describe_kind(kind), arguments.get("doc_md", "")))
        return DAG(
            dag_id=dag_id(kind, of),
            description=description,
            catchup=False,
            access_control=access or None,
            default_args=self._task_arguments(spec),
            tags=[*tags, *self.tags],
            **{"max_active_runs": 1, **arguments},
        )

    def schedule(self, kind: str, cron: str | None, timezone: str = "UTC") -> Any:
        """Return the schedule of a kind, or of the spec: a timetable, another schedule, or None."""
        if kind in MODEL_KINDS and os.environ.get("EVERMODEL_SCHEDULES", "").strip().lower() == "off":
            return None
        chosen = (self.schedules or {}).get(kind, cron)
        if not isinstance(chosen, str):
            return chosen
        # A new DAG waits for its hour; Airflow else starts a run at once if the last hour is not long ago.
        return CronTriggerTimetable(chosen, timezone=timezone, run_immediately=timedelta(0))

    def _task_arguments(self, spec: ModelSpec | None) -> dict[str, Any]:
        """Return the defaults of all tasks: ours, then the callbacks beside ours, then what the team sets."""
        arguments = default_args(spec, self.model(spec)) if spec else dict(DEFAULT_ARGS)
        for name, more in (self.callbacks or {}).items():
            arguments[name] = [*arguments.get(name, ()), *([more] if callable(more) else more)]
        pool = {"pool": self.pool} if self.pool else {}
        return {**arguments, **pool, **(self.default_args or {})}


def _check_cron(kind: str, cron: Any) -> None:
    """Raise for a wrong expression: Airflow finds it no earlier than in the scheduler."""
    try:
        if isinstance(cron, str):
            check_cron(cron)
    except ValueError as error:
        raise PermanentError(f"schedules: {kind}: {cron!r}: {error}", "correct the expression") from None
