"""Shared parts of the DAG files: the specs to parse, retries, and the failure callback."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.sdk import get_parsing_context

from evermodel.spec import load_specs
from evermodel_provider.notifications.failure import FailureNotifier

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec

log = logging.getLogger(__name__)

# Retries cover killed processes and unavailable servers; permanent errors fail at once.
# The wait between them is Airflow's own setting, core.default_task_retry_delay.
DEFAULT_ARGS: dict[str, Any] = {"retries": 2}


def specs_to_parse(prefix: str) -> list[ModelSpec]:
    """Return the specs that a DAG file builds: all, or the one of the task that is about to run.

    Broken specs are left out here and reported by ``dags/broken_specs.py``.

    :param prefix: Prefix of the file's DAG ids, before ``_<model>``.
    """
    wanted = get_parsing_context().dag_id
    only = wanted.removeprefix(f"{prefix}_") if wanted and wanted.startswith(f"{prefix}_") else None
    specs, problems = load_specs(only)
    for problem in problems:
        log.warning("Left out: %s", problem.error)
    return specs


def pulled(task_id: str, key: str = "return_value") -> str:
    """Return the template that pulls a task's XCom without adding an edge to the graph."""
    return f"{{{{ ti.xcom_pull(task_ids='{task_id}', key='{key}') }}}}"


def failure_callback(spec: ModelSpec) -> list[FailureNotifier]:
    """Return the notifier for tasks that fail after all retries."""
    alerts = spec.alerts
    return [FailureNotifier(model=spec.name, connection_id=alerts.slack_connection, channel=alerts.channel)]


def team_access(spec: ModelSpec) -> dict[str, dict[str, set[str]]] | None:
    """Return the rights of the spec's team on its DAGs; None if it names no team."""
    rights = {"DAGs": {"can_read", "can_edit"}, "DAG Runs": {"can_read", "can_create"}}
    return {spec.team: rights} if spec.team else None


def describe(spec: ModelSpec) -> str:
    """Return the Markdown that Airflow shows beside a DAG."""
    candidates = ", ".join(f"`{candidate.name}`" for candidate in spec.candidates)
    return (
        f"### {spec.name}\n{spec.description}\n\n"
        f"Owner: {spec.owner}. Candidates: {candidates}. Metric: `{spec.gate.metric}`.\n\n"
        f"Declared in `{spec.name}.yaml` (digest `{spec.digest}`)."
    )
