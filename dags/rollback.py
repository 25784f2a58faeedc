"""Rollback of a model to an earlier version, by a form."""

from __future__ import annotations

from airflow.sdk import DAG

from evermodel_provider.assets import champion
from evermodel_provider.dag_parts import default_args, describe, specs_to_parse, task_resources, team_access
from evermodel_provider.operators.rollback import RollbackOperator, rollback_form

for spec in specs_to_parse("rollback"):
    with DAG(
        dag_id=f"rollback_{spec.name}",
        description=f"Make an earlier version of {spec.name} the champion again",
        doc_md=describe(spec),
        access_control=team_access(spec),
        schedule=None,
        catchup=False,
        max_active_runs=1,
        # Active from the start: an emergency tool must not be paused.
        is_paused_upon_creation=False,
        params=rollback_form(),
        default_args=default_args(spec),
        tags=["evermodel", "rollback", spec.name],
    ) as dag:
        RollbackOperator(
            task_id="rollback",
            model=spec.name,
            outlets=[champion(spec.name)],
            **task_resources(spec, "registry"),
        )
    globals()[dag.dag_id] = dag
