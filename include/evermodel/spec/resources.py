"""The section `resources`: where heavy tasks run, how many at once, and how much memory they may take."""

from __future__ import annotations

from pydantic import Field

from evermodel.spec.parts import SpecSection

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


class ResourcesSpec(SpecSection):
    """Resources by kind of task; sensors and messages need none."""

    training: TaskResources = TaskResources()
    scoring: TaskResources = TaskResources()
    drift: TaskResources = TaskResources()
    registry: TaskResources = Field(TaskResources(), description="Tasks that move aliases or traffic.")
