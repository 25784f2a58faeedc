"""The rollout of a new version: its share of traffic grows step by step, with automatic rollback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG, TriggerRule

from evermodel_provider.assets import champion, rollout_wanted
from evermodel_provider.dag_parts import pulled, task_resources
from evermodel_provider.operators.rollout import (
    FinishRolloutOperator,
    RolloutReportOperator,
    StartRolloutOperator,
    rollout_form,
)
from evermodel_provider.sensors.rollout import RolloutSensor

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel_provider.dags.options import DagOptions


def build(options: DagOptions, spec: ModelSpec) -> DAG:
    """Return the DAG of one model."""
    model = options.model(spec)
    with options.dag(
        "rollout",
        spec,
        f"Roll a new version of {spec.name} out, step by step",
        schedule=[rollout_wanted(spec.name)],
        # Active from the start: requests of the retrain DAG must not wait.
        is_paused_upon_creation=False,
        params=rollout_form(spec),
        render_template_as_native_obj=True,
    ) as dag:
        start = StartRolloutOperator(task_id="start", model=model, **task_resources(spec, "registry"))
        watch = RolloutSensor(
            task_id="watch",
            model=model,
            thread=pulled("start", "thread"),
            poke_interval=spec.rollout.look.total_seconds(),
            **task_resources(spec, "registry"),  # between two evaluations it holds no pool slot
        )
        finish = FinishRolloutOperator(
            task_id="finish", model=model, evaluation=pulled("watch"), outlets=[champion(spec.name)]
        )
        report = RolloutReportOperator(
            task_id="report",
            model=model,
            evaluation=pulled("watch"),
            thread=pulled("start", "thread"),
            trigger_rule=TriggerRule.NONE_FAILED,
        )
        start >> watch >> finish >> report
    return dag
