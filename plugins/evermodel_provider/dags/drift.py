"""The daily drift monitoring of every model: evaluate the window, report, alert, request a retrain if needed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import DAG

from evermodel_provider.dag_parts import pulled, task_resources
from evermodel_provider.operators.alert import DriftAlertOperator
from evermodel_provider.operators.ask import AskForRetrainOperator
from evermodel_provider.operators.drift import DriftVerdictOperator, EvidentlyReportOperator
from evermodel_provider.operators.events import PublishEventsOperator
from evermodel_provider.operators.guard import QualityGuardOperator
from evermodel_provider.sensors.data import PredictionsSensor

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel_provider.dags.options import DagOptions


def drift_cron(spec: ModelSpec) -> str | None:
    """Return the cron of a model's looks: the spec's or, of a watched model without one, by `watch.every`.

    A look of hours waits five minutes for its last rows, one of minutes a minute.
    """
    if spec.watch is None or "drift" in spec.schedule.model_fields_set:
        return spec.schedule.drift
    every = spec.watch.every
    if every > timedelta(days=1):
        return "0 4 * * 1"
    if every == timedelta(days=1):
        return spec.schedule.drift
    minutes = every // timedelta(minutes=1)
    return f"1-59/{minutes} * * * *" if minutes < 60 else f"5 */{minutes // 60} * * *"


def build(options: DagOptions, spec: ModelSpec) -> DAG:
    """Return the DAG of one model."""
    model = options.model(spec)
    with options.dag(
        "drift",
        spec,
        f"Monitor the predictions of {spec.name} for drift",
        schedule=options.schedule(
            "drift", drift_cron(spec), timezone=spec.watch.timezone if spec.watch else "UTC"
        ),
    ) as dag:
        window = PredictionsSensor(task_id="window", model=model, window="drift")
        verdict = DriftVerdictOperator(task_id="verdict", model=model, **task_resources(spec, "drift"))
        evidently_report = EvidentlyReportOperator(
            task_id="evidently_report", model=model, **task_resources(spec, "drift")
        )
        alert = DriftAlertOperator(task_id="alert", model=model)
        ask_for_retrain = AskForRetrainOperator(task_id="ask_for_retrain", model=model)

        window >> verdict >> [evidently_report, alert, ask_for_retrain]
        if spec.alerts.events_connection:
            # Airflow skips the request on most days.
            publish = PublishEventsOperator(
                task_id="publish_events",
                model=model,
                alerted=pulled("alert"),
                requested=pulled("ask_for_retrain"),
                trigger_rule="none_failed",
            )
            [alert, ask_for_retrain] >> publish
        if spec.rollback.quality and spec.watch is None:
            verdict >> QualityGuardOperator(task_id="guard", model=model, **task_resources(spec, "registry"))
    return dag
