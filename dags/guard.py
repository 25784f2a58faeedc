"""Every five minutes: a new champion that fails requests or is too slow goes back by itself, where its spec says so."""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable

from evermodel_provider.dag_parts import DEFAULT_ARGS, failure_callback, specs_to_parse
from evermodel_provider.operators.guard import ServingGuardOperator
from evermodel_provider.resources import task_resources

watched = [spec for spec in specs_to_parse("") if spec.rollback.watches_serving]
# One task for all models can be in one pool only.
resources = next(filter(None, (task_resources(spec, "registry") for spec in watched)), {})

with DAG(
    dag_id="evermodel_guard",
    description="Roll back a new champion that breaks its limits",
    doc_md=f"Models with `rollback.error_rate` or `rollback.p99_ms`: {', '.join(s.name for s in watched) or 'none'}.",
    # Without such a model there is nothing to look at, and no run.
    schedule=CronTriggerTimetable("*/5 * * * *", timezone="UTC") if watched else None,
    catchup=False,
    max_active_runs=1,
    # Nobody who needs this has time to look for a switch.
    is_paused_upon_creation=False,
    default_args={
        **DEFAULT_ARGS,
        **(
            {"owner": watched[0].owner, "on_failure_callback": failure_callback(watched[0])}
            if watched
            else {}
        ),
    },
    tags=["evermodel", "rollback"],
) as dag:
    ServingGuardOperator(task_id="guard", models=[spec.name for spec in watched], **resources)
