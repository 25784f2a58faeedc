"""Rollback of a model to an earlier version, by a form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG

from evermodel_provider.assets import champion
from evermodel_provider.dag_parts import task_resources
from evermodel_provider.operators.rollback import RollbackOperator, rollback_form

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel_provider.dags.options import DagOptions


def build(options: DagOptions, spec: ModelSpec) -> DAG:
    """Return the DAG of one model."""
    model = options.model(spec)
    with options.dag(
        "rollback",
        spec,
        f"Make an earlier version of {spec.name} the champion again",
        schedule=None,
        # Active from the start: an emergency tool must not be paused.
        is_paused_upon_creation=False,
        params=rollback_form(),
    ) as dag:
        RollbackOperator(
            task_id="rollback",
            model=model,
            outlets=[champion(spec.name)],
            **task_resources(spec, "registry"),
        )
    return dag
