"""Stop of a model's active rollout, by a form."""

from __future__ import annotations

from airflow.sdk import DAG

from evermodel_provider.dag_parts import default_args, describe, specs_to_parse, task_resources, team_access
from evermodel_provider.operators.rollout import StopRolloutOperator, stop_form

for spec in specs_to_parse("stop_rollout"):
    with DAG(
        dag_id=f"stop_rollout_{spec.name}",
        description=f"Stop the active rollout of {spec.name}",
        doc_md=describe(spec),
        access_control=team_access(spec),
        schedule=None,
        catchup=False,
        max_active_runs=1,
        # Active from the start: an emergency tool must not be paused.
        is_paused_upon_creation=False,
        params=stop_form(),
        default_args=default_args(spec),
        tags=["evermodel", "rollout", spec.name],
    ) as dag:
        StopRolloutOperator(task_id="stop", model=spec.name, **task_resources(spec, "registry"))
    globals()[dag.dag_id] = dag
