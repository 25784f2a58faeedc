"""Every five minutes: roll back a new champion whose error rate or latency exceeds its spec's limits."""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable

from evermodel_provider.dag_parts import DEFAULT_ARGS, default_args, specs_to_parse, task_resources
from evermodel_provider.operators.guard import ServingGuardOperator

monitored = [spec for spec in specs_to_parse("") if spec.rollback.watches_serving]
# One task serves all models, and a task has one pool.
resources = next(filter(None, (task_resources(spec, "registry") for spec in monitored)), {})

with DAG(
    dag_id="evermodel_guard",
    description="Roll back a new champion that exceeds its serving limits",
    doc_md=f"Models with `rollback.error_rate` or `rollback.p99_ms`: {', '.join(s.name for s in monitored) or 'none'}.",
    # Without such a model the DAG has no schedule.
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC") if monitored else None,
    catchup=False,
    max_active_runs=1,
    # Active from the start: an emergency tool must not be paused.
    is_paused_upon_creation=False,
    default_args=default_args(monitored[0]) if monitored else DEFAULT_ARGS,
    tags=["evermodel", "rollback"],
) as dag:
    ServingGuardOperator(task_id="guard", models=[spec.name for spec in monitored], **resources)
