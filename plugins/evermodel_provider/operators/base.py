"""Base of the operators: the model's spec, the MLflow client, and the run's moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, Param

from evermodel.core.errors import SpecError
from evermodel.spec import load_spec, spec_folder
from evermodel.spec.window import whole_day
from evermodel_provider.connections import use_airflow_connections
from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.hooks.tracking import TrackingHook
from evermodel_provider.lineage import Data, operator_lineage

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Asset, Context

    from evermodel.core.settings import Settings
    from evermodel.pipelines.drift import DriftRun
    from evermodel.pipelines.retrain import Retrain
    from evermodel.spec import ModelSpec

    Lineage = tuple[list[Data], list[Data]]

# A scheduled run works as of the end of its data interval, any other as of its request.
AS_OF = "{{ dag_run.data_interval_end or dag_run.run_after }}"


def optional(title: str, description: str, **schema: Any) -> Param:
    """Return a field of a form that may stay empty."""
    return Param(None, type=["null", "string"], title=title, description=description, **schema)


def run_url(context: Context, settings: Settings) -> str:
    """Return the address of the DAG run's page."""
    run = context["dag_run"]
    return f"{settings.airflow_url}/dags/{run.dag_id}/runs/{run.run_id}"


def version_links(context: Context, settings: Settings, model: str, version: str) -> dict[str, str]:
    """Return the links of a message about a version."""
    from evermodel.registry.tracking import version_url

    url = version_url(settings.tracking_uri, model, version)
    return {"Model version": url, "Airflow run": run_url(context, settings)}


class ModelOperator(BaseOperator):
    """Base of the operators that work on one model.

    :param model: Name of a model spec, or path of its YAML file. (templated)
    :param as_of: Moment as of which the step works, ISO 8601; later data is ignored. (templated)
    :param mlflow_conn_id: Airflow connection of the MLflow server. (templated)
    """

    template_fields: Sequence[str] = ("model", "as_of", "mlflow_conn_id")
    ui_color = "#e8f4f1"
    _returned: Any = None

    def __init__(
        self,
        *,
        model: str,
        as_of: str = AS_OF,
        mlflow_conn_id: str = TrackingHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.as_of = as_of
        self.mlflow_conn_id = mlflow_conn_id

    @cached_property
    def hook(self) -> TrackingHook:
        """The hook of the MLflow server."""
        return TrackingHook(self.mlflow_conn_id, spec_folder(self.model))

    @cached_property
    def spec(self) -> ModelSpec:
        """The model's spec."""
        return load_spec(self.model, self.hook.settings)

    def execute(self, context: Context) -> Any:
        """Run the step; permanent errors fail the task without a retry."""
        with airflow_errors():
            use_airflow_connections()
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

    def drift_watch(self) -> DriftRun:
        """Return the drift run of this run's day."""
        from evermodel.pipelines.drift import DriftRun

        return DriftRun(self.spec, whole_day(self.as_of), self.hook.get_conn(), self.hook.settings)


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

    def retrain(self) -> Retrain:
        """Return the retrain that this step belongs to."""
        from evermodel.pipelines.retrain import Retrain

        return Retrain(
            spec=self.spec,
            run_key=self.run_key,
            as_of=whole_day(self.as_of),
            reason=str(self.reason),  # native templates turn a reason such as 42 into a number
            client=self.hook.get_conn(),
            settings=self.hook.settings,
        )


class SnapshotStepOperator(RetrainStepOperator):
    """Base of the steps after the extraction.

    :param snapshot: What `ExtractOperator` or `ValidateOperator` returned. (templated)
    """

    template_fields: Sequence[str] = (*RetrainStepOperator.template_fields, "snapshot")

    def __init__(self, *, snapshot: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.snapshot = snapshot
