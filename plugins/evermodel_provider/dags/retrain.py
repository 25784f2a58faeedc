"""The weekly retrain of every model, as a DAG and as a group of tasks: from new data to a new champion if the gates pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, Asset, Label, TriggerRule

from evermodel.core.settings import Settings
from evermodel.spec import load_spec, spec_folder
from evermodel_provider.assets import champion, retrain_wanted, rollout_wanted
from evermodel_provider.compat import AssetOrTimeSchedule, BaseTimetable, TaskGroup
from evermodel_provider.dag_parts import default_args as spec_arguments
from evermodel_provider.dag_parts import pulled, task_resources
from evermodel_provider.operators.approve import ApproveOperator
from evermodel_provider.operators.base import AS_OF
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
    with options.dag(
        "retrain",
        spec,
        f"Retrain {spec.name}, and promote the challenger if it passes the gates",
        schedule=_schedule(options.schedule("retrain", spec.schedule.retrain), retrain_wanted(spec.name)),
        params=retrain_form(spec),
        render_template_as_native_obj=True,
    ) as dag:
        _add_steps(spec, options.model(spec), stage=_stage)
    return dag


def retrain_task_group(
    model: str,
    *,
    group_id: str = "retrain",
    as_of: str = AS_OF,
    default_args: Mapping[str, Any] | None = None,
) -> TaskGroup:
    """Return the tasks of the retrain DAG as a group of the DAG that is being defined.

    ``group["validate"]`` is a task of it, so that tasks of your own can stand before, between and after. The last one,
    ``report``, ends well whether a version shipped or the champion stayed.

    :param model: Name of a model spec, or path of its YAML file; it is read when the DAG is parsed.
    :param group_id: What the ids of the tasks begin with.
    :param as_of: Moment of the retrain, ISO 8601. (templated)
    :param default_args: Arguments of the group's tasks, beside and above those of the spec: retries, owner, failure message.
    """
    spec = load_spec(model, Settings.from_environment().with_models(spec_folder(model)))
    arguments = {**spec_arguments(spec, model), **(default_args or {})}
    group = TaskGroup(group_id, default_args=arguments, tooltip=f"Retrain {spec.name}")
    with group:
        _add_steps(spec, model, f"{group.group_id}.", as_of)
    return group


def _stage(group_id: str, label: str, tooltip: str) -> TaskGroup:
    """Return a group that the graph shows as one box; ids of tasks are as without it."""
    return TaskGroup(group_id, group_display_name=label, prefix_group_id=False, tooltip=tooltip)


def _ungrouped(group_id: str, label: str, tooltip: str) -> AbstractContextManager[None]:
    """Add tasks to the current group itself, whose labels stay those of its tasks."""
    return nullcontext()


def _add_steps(
    spec: ModelSpec,
    model: str,
    prefix: str = "",
    as_of: str = AS_OF,
    stage: Callable[[str, str, str], AbstractContextManager[Any]] = _ungrouped,
) -> None:
    """Add the tasks to the current DAG or group.

    :param prefix: What their ids begin with there.
    :param stage: Returns what groups the tasks of a stage.
    """

    def of(task: str, key: str = "return_value") -> str:
        return pulled(prefix + task, key)

    request = RetrainRequestOperator(task_id="request", model=model, as_of=as_of)
    step = {
        "model": model,
        "as_of": of("request", "as_of"),
        "run_key": of("request", "run_key"),
        "reason": of("request", "reason"),
    }

    with stage("data", "Data", "New rows, extracted and checked"):
        new_data = NewDataSensor(task_id="new_data", model=model, as_of=step["as_of"], window="training")
        extract = ExtractOperator(task_id="extract", **step)
        validate = ValidateOperator(task_id="validate", snapshot=of("extract"), **step)
    with stage("training", "Train", "Each candidate, searched and fitted"):
        train = TrainOperator.partial(
            task_id="train",
            snapshot=of("validate"),
            chosen=of("request", "candidates"),
            map_index_template="{{ task.candidate }}",
            # Each candidate has its own limit; the extra hour covers loading and logging.
            execution_timeout=max(c.time_limit for c in spec.candidates) + timedelta(hours=1),
            **task_resources(spec, "training"),
            **step,
        ).expand(candidate=[candidate.name for candidate in spec.candidates])
    with stage("decision", "Decide", "The challenger against the champion on the same rows"):
        evaluate = EvaluateOperator(
            task_id="evaluate",
            snapshot=of("validate"),
            trained=train.output,
            trigger_rule=TriggerRule.ALL_DONE_MIN_ONE_SUCCESS,
            **task_resources(spec, "training"),
            **step,
        )
        decide = DecideOperator(
            task_id="decide",
            decision=of("evaluate"),
            ship=[f"{prefix}register", f"{prefix}report"],
            keep=[f"{prefix}report"],
        )
    with stage("shipping", "Ship", "Registered, approved, and deployed"):
        register = RegisterOperator(
            task_id="register", snapshot=of("validate"), **task_resources(spec, "registry"), **step
        )
        approve = ApproveOperator(
            task_id="approve",
            model=model,
            version=of("register"),
            approval=of("request", "approval"),
            approvers=spec.approvers,
            response_timeout=spec.approval_timeout,
        )
        deploy = DeployOperator(
            task_id="deploy",
            version=of("register"),
            outlets=[(champion if spec.rollout.strategy == "direct" else rollout_wanted)(spec.name)],
            **task_resources(spec, "registry"),
            **step,
        )
    report = RetrainReportOperator(
        task_id="report",
        version=of("register"),
        approval=of("approve", "approval"),
        promotion=of("deploy"),
        trigger_rule=TriggerRule.NONE_FAILED,
        **step,
    )

    request >> new_data >> extract >> validate >> train >> evaluate >> decide
    decide >> Label("may ship") >> register >> approve >> deploy >> report
    decide >> Label("keep the champion") >> report


def _schedule(chosen: Any, wanted: Asset) -> Any:
    """Return a schedule that the requests for a retrain start too."""
    if isinstance(chosen, BaseTimetable):
        return AssetOrTimeSchedule(timetable=chosen, assets=wanted)
    return (wanted | chosen) if chosen else [wanted]
