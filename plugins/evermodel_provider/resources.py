"""A spec's resources as task arguments: queue, pool, and pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel.spec.parts import TaskResources

Kind = Literal["training", "scoring", "drift", "registry"]


def task_resources(spec: ModelSpec, kind: Kind) -> dict[str, Any]:
    """Return the arguments that give a task the resources of its kind; none if the spec sets none.

    :param kind: Kind of the task.
    """
    wanted: TaskResources = getattr(spec.resources, kind)
    arguments: dict[str, Any] = {}
    if wanted.queue:
        arguments["queue"] = wanted.queue
    if wanted.pool:
        arguments |= {"pool": wanted.pool, "pool_slots": wanted.slots}
    if (wanted.cpu or wanted.memory) and _on_kubernetes():
        arguments["executor_config"] = {"pod_override": _pod(wanted)}
    return arguments


def _on_kubernetes() -> bool:
    from airflow.sdk.configuration import conf

    return "Kubernetes" in conf.get("core", "executor")


def _pod(wanted: TaskResources) -> Any:
    # The executor installs the client, which takes seconds to import.
    from kubernetes.client import models

    given = {name: value for name, value in (("cpu", wanted.cpu), ("memory", wanted.memory)) if value}
    limits = {"memory": wanted.memory} if wanted.memory else None
    base = models.V1Container(
        name="base", resources=models.V1ResourceRequirements(requests=given, limits=limits)
    )
    return models.V1Pod(spec=models.V1PodSpec(containers=[base]))
