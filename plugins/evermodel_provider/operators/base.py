"""Base of the operators: the model's spec, the MLflow client, and the run's moment."""

from __future__ import annotations

import inspect
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import AssetAlias, BaseOperator, Param

from evermodel.core.errors import SpecError
from evermodel.core.step_contract import StepRequest
from evermodel.spec import load_spec, spec_folder
from evermodel_provider.connections import use_airflow_connections
from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.hooks.tracking import TrackingHook
from evermodel_provider.lineage import Data, operator_lineage
from evermodel_provider.step_runner import step_runner

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Asset, Context

    from evermodel.core.settings import Settings
    from evermodel.pipelines.drift import MonitoringRun
    from evermodel.spec import ModelSpec
    from evermodel_provider.step_runner import Kind, StepRunner

    Lineage = tuple[list[Data], list[Data]]

# The default outlets: which asset it is, and whether there is an event, is known when the step has ended.
ALIAS = "evermodel"
# A scheduled run works as of the end of its data interval, any other as of its request.
AS_OF = "{{ dag_run.data_interval_end or dag_run.run_after }}"


def optional(title: str, description: str, **schema: Any) -> Param:
    """Return a field of a form that may stay empty."""
    return Param(None, type=["null", "string"], title=title, description=description, **schema)


def native(value: Any) -> Any:
    """Return what a template stands for: DAGs without native rendering turn objects into their text.

    >>> native("{'path': 'a', 'rows': 3}"), native("None"), native("retrain/orders/1")
    ({'path': 'a', 'rows': 3}, None, 'retrain/orders/1')
    """
    if not isinstance(value, str):
        return value
    try:
        return literal_eval(value)
    except (ValueError, SyntaxError):
        return value


def run_url(context: Context, settings: Settings) -> str:
    """Return the address of the DAG run's page."""
    run = context["dag_run"]
    return f"{settings.airflow_url}/dags/{run.dag_id}/runs/{run.run_id}"


def version_links(context: Context, settings: Settings, model: str, version: str) -> dict[str, str]:
    """Return the links of a message about a version."""
    from evermodel.registry.tracking import version_url

    url = version_url(settings.tracking_uri, model, version)
    return {"Model version": url, "Airflow run": run_url(context, settings)}


class ModelSteps:
    """What runs the steps of one model, for an operator with `model` and `mlflow_conn_id`."""

    kind: ClassVar[Kind] = "registry"  # whose `resources` of the spec hold
    model: str
    mlflow_conn_id: str
    log: Any

    @cached_property
    def hook(self) -> TrackingHook:
        """The hook of the MLflow server."""
        return TrackingHook(self.mlflow_conn_id, spec_folder(self.model))

    @cached_property
    def spec(self) -> ModelSpec:
        """The model's spec."""
        return load_spec(self.model, self.hook.settings)

    @cached_property
    def runner(self) -> StepRunner:
        """What runs the steps: this process, or another interpreter."""
        return step_runner(self.spec, self.kind, self.hook, self.log)

    def on_kill(self) -> None:
        """End the step with the task."""
        self.runner.stop()


def task_doc(operator: type) -> str | None:
    """Return what an operator's class says of itself, without its parameters, for Airflow's page of the task."""
    return inspect.cleandoc(operator.__doc__ or "").partition("\n:param")[0].strip() or None


class ModelOperator(ModelSteps, BaseOperator):
    """Base of the operators that work on one model.

    :param model: Name of a model spec, or path of its YAML file. (templated)
    :param as_of: Moment as of which the step works, ISO 8601; later data is ignored. (templated)
    :param mlflow_conn_id: Airflow connection of the MLflow server. (templated)
    """

    template_fields: Sequence[str] = ("model", "as_of", "mlflow_conn_id")
    ui_color = "#e8f4f1"
    objects: ClassVar[tuple[str, ...]] = ()  # fields that hold results of other tasks, not texts
    _returned: Any = None
    links: Mapping[str, str] = {}  # where what the step made can be seen, by the name of the link

    def __init__(
        self,
        *,
        model: str,
        as_of: str = AS_OF,
        mlflow_conn_id: str = TrackingHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        # What the class says of itself stands beside the task.
        kwargs.setdefault("doc_md", task_doc(type(self)))
        super().__init__(**kwargs)
        self.model = model
        self.as_of = as_of
        self.mlflow_conn_id = mlflow_conn_id

    def perform(self, name: str, **inputs: Any) -> Any:
        """Run a step of a pipeline and return its result.

        :param inputs: What the step needs beside model and moment.
        """
        return self.run(name, self.request(inputs))

    def run(self, name: str, request: StepRequest, **consent: Any) -> Any:
        """Run a step and return its result; its links become those of the task.

        :param consent: See `StepRunner.run`.
        """
        result = self.runner.run(name, request, **consent)
        self.links = result.pop("links", {})
        return result

    def request(self, inputs: Mapping[str, Any]) -> StepRequest:
        """Return the request of a step."""
        return StepRequest(self.model, str(self.as_of), inputs=inputs)

    def execute(self, context: Context) -> Any:
        """Run the step; permanent errors fail the task without a retry."""
        with airflow_errors():
            use_airflow_connections()
            for name in self.objects:
                setattr(self, name, native(getattr(self, name)))
            self._returned = self.run_step(context)
            return self._returned

    def run_step(self, context: Context) -> Any:
        """Run the step; implemented by subclasses."""
        raise NotImplementedError

    def lineage(self, returned: Any) -> Lineage:
        """Return the inputs and outputs of the step for OpenLineage; implemented by subclasses.

        :param returned: What `run_step` returned.
        """
        return [], []

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage | None:
        """Return the OpenLineage inputs and outputs; OpenLineage calls this method by name."""
        if self._returned is None:
            return None  # failed or skipped
        return operator_lineage(*self.lineage(self._returned))

    def outlet(self, asset_of: Callable[[str], Asset], note: str = "") -> Asset:
        """Return the asset of a request; outlets are fixed when the DAG is parsed, before templates are rendered.

        :param note: What else to know about the outlets, for the error message.
        """
        wanted = asset_of(self.spec.name)
        if wanted not in self.outlets:
            raise SpecError(
                f"the outlets of task {self.task_id} lack the asset {wanted.name}, so the request would start no DAG",
                f"give the task outlets=[{asset_of.__name__}('{self.spec.name}')]{note}",
            )
        return wanted

    def announce(self, context: Context, asset_of: Callable[[str], Asset], **facts: Any) -> bool:
        """Emit the asset event of what was done, if the task has its default outlets, and tell whether it has.

        Outlets that were given emit their events by themselves.

        :param facts: What the event carries.
        """
        alias = AssetAlias(ALIAS)
        if alias not in self.outlets:
            return False
        context["outlet_events"][alias].add(asset_of(self.spec.name), extra=facts)
        return True

    def drift_watch(self) -> MonitoringRun:
        """Return the monitoring run of this run's window."""
        from evermodel.pipelines.watch import monitoring_run

        return monitoring_run(self.spec, str(self.as_of), self.hook.get_conn, self.hook.settings)


class RetrainStepOperator(ModelOperator):
    """Base of the operators that are a step of a retrain.

    :param run_key: Idempotency key of the retrain; the same for all its steps. (templated)
    :param reason: Why the retrain was started. (templated)
    """

    template_fields: Sequence[str] = (*ModelOperator.template_fields, "run_key", "reason")

    def __init__(
        self,
        *,
        run_key: str = "{{ dag_run.run_id }}",
        reason: str = "{{ dag_run.run_type }} run",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.run_key = run_key
        self.reason = reason

    def request(self, inputs: Mapping[str, Any]) -> StepRequest:
        """Return the request of a step of the retrain."""
        # Native templates turn a reason such as 42 into a number.
        return StepRequest(self.model, str(self.as_of), str(self.run_key), str(self.reason), inputs)


class SnapshotStepOperator(RetrainStepOperator):
    """Base of the steps after the extraction.

    :param snapshot: What `ExtractOperator` or `ValidateOperator` returned. (templated)
    """

    template_fields: Sequence[str] = (*RetrainStepOperator.template_fields, "snapshot")
    objects: ClassVar[tuple[str, ...]] = ("snapshot",)

    def __init__(self, *, snapshot: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot
