"""The weekly retrain of every model: from new data to a new champion if the gates pass."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, Label, TriggerRule

from evermodel_provider.assets import champion, retrain_wanted, rollout_wanted
from evermodel_provider.compat import AssetOrTimeSchedule, BaseTimetable
from evermodel_provider.dag_parts import pulled, task_resources
from evermodel_provider.operators.approve import ApproveOperator
from evermodel_provider.operators.deploy import DeployOperator
from evermodel_provider.operators.evaluate import DecideOperator, EvaluateOperator
from evermodel_provider.operators.extract import ExtractOperator
from evermodel_provider.operators.finish import RetrainReportOperator
from evermodel_provider.operators.register import RegisterOperator
from evermodel_provider.operators.request import RetrainRequestOperator, retrain_form
from evermodel_provider.operators.train import TrainOperator
from evermodel_provider.operators.validate import ValidateOperator
from evermodel_provider.sensors.data import NewDataSensor

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec
    from evermodel_provider.dags.options import DagOptions


def build(options: DagOptions, spec: ModelSpec) -> DAG:
    """Return the DAG of one model."""
    model = options.model(spec)
    with options.dag(
        "retrain",
        spec,
        f"Retrain {spec.name}, and promote the challenger if it passes the gates",
        schedule=_schedule(options.schedule("retrain", spec.schedule.retrain), retrain_wanted(spec.name)),
        params=retrain_form(spec),
        render_template_as_native_obj=True,
    ) as dag:
        request = RetrainRequestOperator(task_id="request", model=model)
        step = {
            "model": model,
            "as_of": pulled("request", "as_of"),
            "run_key": pulled("request", "run_key"),
            "reason": pulled("request", "reason"),
        }

        new_data = NewDataSensor(task_id="new_data", model=model, as_of=step["as_of"], window="training")
        extract = ExtractOperator(task_id="extract", **step)
        validate = ValidateOperator(task_id="validate", snapshot=pulled("extract"), **step)
        train = TrainOperator.partial(
            task_id="train",
            snapshot=pulled("validate"),
            chosen=pulled("request", "candidates"),
            map_index_template="{{ task.candidate }}",
            # Each candidate has its own limit; the extra hour covers loading and logging.
            execution_timeout=max(c.time_limit for c in spec.candidates) + timedelta(hours=1),
            **task_resources(spec, "training"),
            **step,
        ).expand(candidate=[candidate.name for candidate in spec.candidates])
        evaluate = EvaluateOperator(
            task_id="evaluate",
            snapshot=pulled("validate"),
            trained=train.output,
            trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
            **task_resources(spec, "training"),
            **step,
        )
        decide = DecideOperator(
            task_id="decide", decision=pulled("evaluate"), ship=["register", "report"], keep=["report"]
        )
        register = RegisterOperator(
            task_id="register", snapshot=pulled("validate"), **task_resources(spec, "registry"), **step
        )
        approve = ApproveOperator(
            task_id="approve",
            model=model,
            version=pulled("register"),
            approval=pulled("request", "approval"),
            approvers=spec.approvers,
            response_timeout=spec.approval_timeout,
        )
        deploy = DeployOperator(
            task_id="deploy",
            version=pulled("register"),
            outlets=[(champion if spec.rollout.strategy == "direct" else rollout_wanted)(spec.name)],
            **task_resources(spec, "registry"),
            **step,
        )
        report = RetrainReportOperator(
            task_id="report",
            version=pulled("register"),
            approval=pulled("approve", "approval"),
            promotion=pulled("deploy"),
            trigger_rule=TriggerRule.NONE_FAILED,
            **step,
        )

        request >> new_data >> extract >> validate >> train >> evaluate >> decide
        decide >> Label("may ship") >> register >> approve >> deploy >> report
        decide >> Label("keep the champion") >> report
    return dag


def _schedule(chosen: Any, wanted: Asset) -> Any:
    """Return a schedule that the requests for a retrain start too."""
    if isinstance(chosen, BaseTimetable):
        return AssetOrTimeSchedule(timetable=chosen, assets=wanted)
    return (wanted | chosen) if chosen else [wanted]
