"""The rollout of a new version: its share of traffic grows step by step, with automatic rollback."""

from __future__ import annotations

from airflow.sdk import DAG, TriggerRule

from evermodel_provider.assets import champion, rollout_wanted
from evermodel_provider.dag_parts import (
    default_args,
    describe,
    pulled,
    specs_to_parse,
    task_resources,
    team_access,
)
from evermodel_provider.operators.rollout import (
    FinishRolloutOperator,
    RolloutReportOperator,
    StartRolloutOperator,
    rollout_form,
)
from evermodel_provider.sensors.rollout import RolloutSensor

for spec in specs_to_parse("rollout"):
    with DAG(
        dag_id=f"rollout_{spec.name}",
        description=f"Roll a new version of {spec.name} out, step by step",
        doc_md=describe(spec),
        access_control=team_access(spec),
        schedule=[rollout_wanted(spec.name)],
        catchup=False,
        max_active_runs=1,
        # Active from the start: requests of the retrain DAG must not wait.
        is_paused_upon_creation=False,
        params=rollout_form(spec),
        render_template_as_native_obj=True,
        default_args=default_args(spec),
        tags=["evermodel", "rollout", spec.name],
    ) as dag:
        start = StartRolloutOperator(task_id="start", model=spec.name, **task_resources(spec, "registry"))
        watch = RolloutSensor(
            task_id="watch",
            model=spec.name,
            thread=pulled("start", "thread"),
            poke_interval=spec.rollout.look.total_seconds(),
            **task_resources(spec, "registry"),  # between two evaluations it holds no pool slot
        )
        finish = FinishRolloutOperator(
            task_id="finish", model=spec.name, evaluation=pulled("watch"), outlets=[champion(spec.name)]
        )
        report = RolloutReportOperator(
            task_id="report",
            model=spec.name,
            evaluation=pulled("watch"),
            thread=pulled("start", "thread"),
            trigger_rule=TriggerRule.NONE_FAILED,
        )
        start >> watch >> finish >> report
    globals()[dag.dag_id] = dag
