"""The section `resources`: where heavy tasks run, how many at once, and how much memory they may take."""

from __future__ import annotations

from pydantic import Field

from evermodel.spec.parts import SpecSection

_QUANTITY = r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"


class TaskResources(SpecSection):
    """Resources of one kind of task; what is not given is Airflow's default."""

    queue: str | None = Field(
        None, min_length=1, description="Celery's queue, of which a worker has to take care."
    )
    pool: str | None = Field(None, min_length=1, description="Airflow's pool, which has to exist.")
    slots: int = Field(1, ge=1, description="Slots of the pool that a task takes.")
    cpu: str | None = Field(None, pattern=_QUANTITY, description="Request of the task's pod (Kubernetes).")
    memory: str | None = Field(
        None, pattern=_QUANTITY, description="Request and limit of the task's pod (Kubernetes)."
    )


class ResourcesSpec(SpecSection):
    """Resources of the tasks that need some; sensors and messages need none."""

    training: TaskResources = TaskResources()
    scoring: TaskResources = TaskResources()
    drift: TaskResources = TaskResources()
    registry: TaskResources = Field(TaskResources(), description="Tasks that move aliases or traffic.")
