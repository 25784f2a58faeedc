"""The daily drift monitoring of every model: evaluate the window, report, alert, request a retrain if needed."""

from __future__ import annotations

from airflow.sdk import DAG, CronTriggerTimetable

from evermodel_provider.dag_parts import default_args, describe, specs_to_parse, task_resources, team_access
from evermodel_provider.operators.alert import DriftAlertOperator
from evermodel_provider.operators.ask import AskForRetrainOperator
from evermodel_provider.operators.drift import DriftVerdictOperator, EvidentlyReportOperator
from evermodel_provider.operators.guard import QualityGuardOperator
from evermodel_provider.sensors.data import PredictionsSensor

for spec in specs_to_parse("drift"):
    cron = spec.schedule.drift
    with DAG(
        dag_id=f"drift_{spec.name}",
        description=f"Monitor the predictions of {spec.name} for drift",
        doc_md=describe(spec),
        access_control=team_access(spec),
        schedule=CronTriggerTimetable(cron, timezone="UTC") if cron else None,
        catchup=False,
        max_active_runs=1,
        default_args=default_args(spec),
        tags=["evermodel", "drift", spec.name],
    ) as dag:
        window = PredictionsSensor(task_id="window", model=spec.name, window="drift")
        verdict = DriftVerdictOperator(task_id="verdict", model=spec.name, **task_resources(spec, "drift"))
        evidently_report = EvidentlyReportOperator(
            task_id="evidently_report", model=spec.name, **task_resources(spec, "drift")
        )
        alert = DriftAlertOperator(task_id="alert", model=spec.name)
        ask_for_retrain = AskForRetrainOperator(task_id="ask_for_retrain", model=spec.name)

        window >> verdict >> [evidently_report, alert, ask_for_retrain]
        if spec.rollback.quality:
            verdict >> QualityGuardOperator(
                task_id="guard", model=spec.name, **task_resources(spec, "registry")
            )
    globals()[dag.dag_id] = dag
