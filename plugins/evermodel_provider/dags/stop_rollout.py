"""Stop of a model's active rollout, by a form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG

from evermodel_provider.dag_parts import task_resources
from evermodel_provider.operators.rollout import StopRolloutOperator, stop_form

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel_provider.dags.options import DagOptions


def build(options: DagOptions, spec: ModelSpec) -> DAG:
    """Return the DAG of one model."""
    model = options.model(spec)
    with options.dag(
        "stop_rollout",
        spec,
        f"Stop the active rollout of {spec.name}",
        tag="rollout",
        schedule=None,
        # Active from the start: an emergency tool must not be paused.
        is_paused_upon_creation=False,
        params=stop_form(),
    ) as dag:
        StopRolloutOperator(task_id="stop", model=model, **task_resources(spec, "registry"))
    return dag
