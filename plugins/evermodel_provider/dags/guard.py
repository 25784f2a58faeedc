"""Every five minutes: roll back a new champion whose error rate or latency exceeds its spec's limits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow.sdk import DAG

from evermodel_provider.dag_parts import task_resources
from evermodel_provider.operators.guard import ServingGuardOperator

if TYPE_CHECKING:
    from evermodel_provider.dags.options import DagOptions


def build(options: DagOptions) -> Iterator[DAG]:
    """Yield the DAG of all models with limits."""
    monitored = [spec for spec in options.specs if spec.rollback.watches_serving]
    # One task serves all models, and a task has one pool.
    resources = next(filter(None, (task_resources(spec, "registry") for spec in monitored)), {})
    names = ", ".join(spec.name for spec in monitored) or "none"
    with options.dag(
        "guard",
        monitored[0] if monitored else None,
        "Roll back a new champion that exceeds its serving limits",
        tag="rollback",
        doc_md=f"Models with `rollback.error_rate` or `rollback.p99_ms`: {names}.",
        # Without such a model the DAG has no schedule.
        schedule=options.schedule("guard", "*/5 * * * *") if monitored else None,
        # Active from the start: an emergency tool must not be paused.
        is_paused_upon_creation=False,
    ) as dag:
        ServingGuardOperator(task_id="guard", models=[options.model(spec) for spec in monitored], **resources)
    yield dag
