"""The daily drift monitoring of every model: evaluate the window, report, alert, request a retrain if needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.sdk import DAG

from evermodel_provider.dag_parts import task_resources
from evermodel_provider.operators.alert import DriftAlertOperator
from evermodel_provider.operators.ask import AskForRetrainOperator
from evermodel_provider.operators.drift import DriftVerdictOperator, EvidentlyReportOperator
from evermodel_provider.operators.guard import QualityGuardOperator
from evermodel_provider.sensors.data import PredictionsSensor

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel_provider.dags.options import DagOptions


def build(options: DagOptions, spec: ModelSpec) -> DAG:
    """Return the DAG of one model."""
    model = options.model(spec)
    with options.dag(
        "drift",
        spec,
        f"Monitor the predictions of {spec.name} for drift",
        schedule=options.schedule("drift", spec.schedule.drift),
    ) as dag:
        window = PredictionsSensor(task_id="window", model=model, window="drift")
        verdict = DriftVerdictOperator(task_id="verdict", model=model, **task_resources(spec, "drift"))
        evidently_report = EvidentlyReportOperator(
            task_id="evidently_report", model=model, **task_resources(spec, "drift")
        )
        alert = DriftAlertOperator(task_id="alert", model=model)
        ask_for_retrain = AskForRetrainOperator(task_id="ask_for_retrain", model=model)

        window >> verdict >> [evidently_report, alert, ask_for_retrain]
        if spec.rollback.quality and spec.watch is None:
            verdict >> QualityGuardOperator(task_id="guard", model=model, **task_resources(spec, "registry"))
    return dag
