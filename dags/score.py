"""The daily scoring of every model: the champion answers for the day before, into the prediction log."""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable

from evermodel_provider.assets import predictions
from evermodel_provider.dag_parts import DEFAULT_ARGS, describe, failure_callback, specs_to_parse
from evermodel_provider.operators.score import ScoreOperator
from evermodel_provider.sensors.data import NewDataSensor

for spec in specs_to_parse("score"):
    cron = spec.schedule.score
    with DAG(
        dag_id=f"score_{spec.name}",
        description=f"Score the day before with the champion of {spec.name}",
        doc_md=describe(spec),
        schedule=CronTriggerTimetable(cron, timezone="UTC") if cron else None,
        catchup=False,
        max_active_runs=2,
        default_args={**DEFAULT_ARGS, "owner": spec.owner, "on_failure_callback": failure_callback(spec)},
        tags=["evermodel", "score", spec.name],
    ) as dag:
        new_data = NewDataSensor(task_id="new_data", model=spec.name)
        score = ScoreOperator(task_id="score", model=spec.name, outlets=[predictions(spec.name)])

        new_data >> score
    globals()[dag.dag_id] = dag
