"""Shared parts of DAGs: retries, the failure callback, access of the team, and the resources of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import SpecError
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


# What a person who opens a DAG has to know: what it does, when, from what, and what to do when it fails.
_KINDS = {
    "retrain": (
        "Trains every candidate on the newest data, compares the best with the champion on the same rows, and promotes it if "
        "all gates pass and, where the spec asks for it, a person approves.",
        "By `schedule.retrain`, when drift asks for it, and by hand with *Trigger*: the form takes a day, candidates, and a reason.",
        "The source of the spec; the champion in MLflow.",
        "A run without a new champion did not fail: the message and the decision page say which gate decided. A failed task says "
        "what to do in the last lines of its log; after that, clear it: each step continues where it was.",
    ),
    "drift": (
        "Measures data quality, drift and, once labels are known, performance of the last day; opens, updates and resolves "
        "incidents, and asks for a retrain if the spec allows it.",
        "By `schedule.drift`, once a day; by hand for any earlier day.",
        "The prediction log, the labels in the source, and the rows on which the champion was fitted.",
        "A day without a verdict had too few rows or labels, which the log says. Clear the failed task; a repeated day sends no "
        "second message.",
    ),
    "score": (
        "Scores a day's rows with the champion, and writes them to the prediction log.",
        "By `schedule.score`, once a day; by hand for any earlier day.",
        "The source of the spec; the champion in MLflow.",
        "Without a champion there is nothing to score: run the retrain first. A repeated day replaces its own rows.",
    ),
    "rollback": (
        "Makes an earlier version the champion again; serving processes follow within seconds.",
        "By hand, with *Trigger*. It is active from the start, because it is for emergencies.",
        "The history in MLflow. An empty version is the last one that answered requests; the Models page lists the "
        "earlier ones with date and metric.",
        "The log names the reason, such as a version whose files are gone: start it again with another version.",
    ),
    "rollout": (
        "Gives a registered version a share of the requests, and more of them while it does well.",
        "When a retrain registers a version and the spec has a rollout; by hand, with *Trigger*.",
        "A version that passed the gates; the prediction log and the reports of the serving processes.",
        "The champion keeps the rest of the requests. To end it at once, trigger the DAG that stops a rollout.",
    ),
    "stop_rollout": (
        "Stops the rollout in progress; the champion answers every request again.",
        "By hand, with *Trigger*. It is active from the start, because it is for emergencies.",
        "The rollout in MLflow.",
        "Without a rollout there is nothing to stop. Else clear the task.",
    ),
    "backtest": (
        "Replays how retraining policies would have done on past data.",
        "By hand, with *Trigger*.",
        "The source of the spec.",
        "Nothing in production depends on it. Shorten the time that it covers if it takes too long.",
    ),
    "digest": (
        "Sends a team the week of its models: retrains, incidents, performance.",
        "Once a week, by `alerts.digest`.",
        "The runs and verdicts in MLflow.",
        "Clear the task: each week is sent once. Messages that Slack refuses are sent later by the DAG of messages.",
    ),
    "guard": (
        "Rolls a new champion back whose error rate or latency exceeds the limits of its spec, and says so.",
        "Every five minutes. It is active from the start, because it is for emergencies.",
        "The reports of the serving processes, in evermodel's database.",
        "The other models were checked nevertheless. The log names the model and what to do; the next run tries again.",
    ),
    "messages": (
        "Sends the messages that Slack refused or that quiet hours delayed, in their order.",
        "Every ten minutes. It is active from the start, because queued messages must not wait.",
        "The queue in evermodel's database.",
        "A connection, channel or notifier needs what the log says; no message is lost meanwhile.",
    ),
}


def describe_kind(kind: str) -> str:
    """Return the Markdown that says what a kind of DAG does, when, from what, and what to do when it fails."""
    what, when, reads, failed = _KINDS[kind]
    return f"{what}\n\n- **When**: {when}\n- **Reads**: {reads}\n- **If it fails**: {failed}"


def describe(spec: ModelSpec, kind: str) -> str:
    """Return the Markdown that Airflow shows beside a DAG of a model."""
    candidates = ", ".join(f"`{candidate.name}`" for candidate in spec.candidates)
    about = f"Candidates: {candidates}" if candidates else f"Watched: {spec.source.told}"
    return (
        f"### {spec.name}\n{spec.description}\n\n{describe_kind(kind)}\n\n"
        f"Owner: {spec.owner}. {about}. Metric: `{spec.gate.metric}`.\n\n"
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
    if (wanted.cpu or wanted.memory or wanted.image or wanted.pod) and _on_kubernetes():
        arguments["executor_config"] = {
            "pod_override": _pod(wanted, f"model {spec.name}: resources.{kind}.pod")
        }
    return arguments


def require_pods(spec: ModelSpec) -> None:
    """Raise `SpecError` for a field of ``resources`` that pods do not have, where tasks are pods."""
    for kind in ("training", "scoring", "drift", "registry"):
        task_resources(spec, kind)


def _on_kubernetes() -> bool:
    from airflow.providers.common.compat.sdk import conf

    return "Kubernetes" in conf.get("core", "executor")


def _pod(wanted: TaskResources, field: str) -> Any:
    """Return what differs from the executor's own pod; raises `SpecError` for a field that pods do not have."""
    # The executor installs the client, which takes seconds to import.
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
    from kubernetes.client import ApiClient, models

    given = {name: value for name, value in (("cpu", wanted.cpu), ("memory", wanted.memory)) if value}
    limits = {"memory": wanted.memory} if wanted.memory else None
    base = models.V1Container(
        name="base",
        image=wanted.image,
        resources=models.V1ResourceRequirements(requests=given, limits=limits),
    )
    sized = models.V1Pod(spec=models.V1PodSpec(containers=[base]))
    more = {"containers": [{"name": "base"}], **(wanted.pod or {})}
    pod = PodGenerator.deserialize_model_dict({"spec": more})
    unknown = next(_lost(more, ApiClient().sanitize_for_serialization(pod)["spec"], field), None)
    if unknown:
        raise SpecError(
            f"{unknown} is no field of a pod",
            "write it as in Kubernetes, such as nodeSelector or tolerations",
        )
    return PodGenerator.reconcile_pods(sized, pod)


def _lost(given: Any, kept: Any, place: str) -> Iterator[str]:
    """Yield the places of fields that Kubernetes' own types did not take."""
    if isinstance(given, dict):
        for name, value in given.items():
            if not isinstance(kept, dict) or name not in kept:
                yield f"{place}.{name}"
            else:
                yield from _lost(value, kept[name], f"{place}.{name}")
    elif isinstance(given, list):
        for number, value in enumerate(given):
            yield from _lost(value, kept[number], f"{place}[{number}]")
