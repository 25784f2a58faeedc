"""Shared parts of DAGs: retries, the failure callback, access of the team, and the resources of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evermodel_provider.notifications.failure import FailureNotifier

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel.spec.parts import TaskResources
    from evermodel_provider.step_runner import Kind

# Retries cover killed processes and unavailable servers; permanent errors fail at once.
# The wait between them is Airflow's own setting, core.default_task_retry_delay.
DEFAULT_ARGS: dict[str, Any] = {"retries": 2}


def pulled(task_id: str, key: str = "return_value") -> str:
    """Return the template that pulls a task's XCom without adding an edge to the graph."""
    return f"{{{{ ti.xcom_pull(task_ids='{task_id}', key='{key}') }}}}"


def default_args(spec: ModelSpec, model: str = "") -> dict[str, Any]:
    """Return the arguments of all tasks of a model's DAG: retries, the owner, and the failure callback.

    :param model: How the tasks find the spec. Default: by its name.
    """
    alerts = spec.alerts
    notifier = FailureNotifier(
        model=model or spec.name, connection_id=alerts.slack_connection, channel=alerts.channel
    )
    return {**DEFAULT_ARGS, "owner": spec.owner, "on_failure_callback": [notifier]}


def team_access(spec: ModelSpec) -> dict[str, dict[str, set[str]]] | None:
    """Return the rights of the spec's team on its DAGs; None if it names no team."""
    rights = {"DAGs": {"can_read", "can_edit"}, "DAG Runs": {"can_read", "can_create"}}
    return {spec.team: rights} if spec.team else None


def describe(spec: ModelSpec) -> str:
    """Return the Markdown that Airflow shows beside a DAG."""
    candidates = ", ".join(f"`{candidate.name}`" for candidate in spec.candidates)
    kind = f"Candidates: {candidates}" if candidates else f"Watched: {spec.source.told}"
    return (
        f"### {spec.name}\n{spec.description}\n\n"
        f"Owner: {spec.owner}. {kind}. Metric: `{spec.gate.metric}`.\n\n"
        f"Declared in `{spec.name}.yaml` (digest `{spec.digest}`)."
    )


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
    if (wanted.cpu or wanted.memory or wanted.image) and _on_kubernetes():
        arguments["executor_config"] = {"pod_override": _pod(wanted)}
    return arguments


def _on_kubernetes() -> bool:
    from airflow.providers.common.compat.sdk import conf

    return "Kubernetes" in conf.get("core", "executor")


def _pod(wanted: TaskResources) -> Any:
    # The executor installs the client, which takes seconds to import.
    from kubernetes.client import models

    given = {name: value for name, value in (("cpu", wanted.cpu), ("memory", wanted.memory)) if value}
    limits = {"memory": wanted.memory} if wanted.memory else None
    base = models.V1Container(
        name="base",
        image=wanted.image,
        resources=models.V1ResourceRequirements(requests=given, limits=limits),
    )
    return models.V1Pod(spec=models.V1PodSpec(containers=[base]))
