"""Send a new champion back by itself when it breaks what the spec's section `rollback` asks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import AssetAlias, BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from evermodel_provider.assets import champion
from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.hooks.tracking import TrackingHook
from evermodel_provider.operators.base import ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.core.settings import Settings
    from evermodel.registry.registry_entry import Promotion
    from evermodel.spec import ModelSpec

ALIAS = "evermodel_guard"


class ServingGuardOperator(BaseOperator):
    """Hold what the serving processes report since each promotion against `rollback.error_rate` and `rollback.p99_ms`.

    A champion that breaks them is rolled back, once, and people are told. Skips while all is well. Returns the rollbacks.

    :param models: Names of the model specs to watch. (templated)
    :param mlflow_conn_id: Airflow connection of the MLflow server. (templated)
    """

    template_fields: Sequence[str] = ("models", "mlflow_conn_id")
    ui_color = "#e8f4f1"

    def __init__(
        self,
        *,
        models: Sequence[str],
        mlflow_conn_id: str = TrackingHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("outlets", [AssetAlias(ALIAS)])
        super().__init__(**kwargs)
        self.models = models
        self.mlflow_conn_id = mlflow_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Look at every model; one that cannot be looked at does not keep the others from it."""
        from dataclasses import asdict

        from evermodel.alerts.publisher import clock
        from evermodel.deployment.automatic_rollback import watch_serving
        from evermodel.spec import load_spec

        hook = TrackingHook(self.mlflow_conn_id)
        settings, found, failed = hook.settings, [], []
        with airflow_errors():
            client = hook.get_conn()
            for model in self.models:
                try:
                    spec = load_spec(model, settings)
                    done = watch_serving(spec, client, settings.lake, clock())
                    if done is not None:
                        announce(context, spec, settings, done)
                        found.append({"model": model, **asdict(done)})
                except Exception as error:
                    self.log.exception("Model %s could not be watched", model)
                    failed.append(error)
            if failed:
                raise failed[0]
        if not found:
            raise AirflowSkipException("every champion keeps its limits")
        return found


class QualityGuardOperator(ModelOperator):
    """Roll back a new champion whose performance on matured labels is critical, where `rollback.quality` says so.

    Skips while all is well. Returns the line of the registry's history.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", [AssetAlias(ALIAS)])
        super().__init__(**kwargs)

    def run_step(self, context: Context) -> dict[str, Any]:
        """Read the day's verdict, and act on it."""
        from dataclasses import asdict

        from evermodel.deployment.automatic_rollback import watch_quality

        watch = self.drift_watch()
        done = watch_quality(self.spec, watch.client, watch.verdict(), watch.as_of, self.hook.settings.lake)
        if done is None:
            raise AirflowSkipException("nothing says that the champion has to go")
        announce(context, self.spec, self.hook.settings, done)
        return asdict(done)


def announce(context: Context, spec: ModelSpec, settings: Settings, done: Promotion) -> None:
    """Tell people of a rollback, and whatever waits for a new champion; the same one is told once."""
    from evermodel.alerts.rollback_message import rollback_message
    from evermodel.registry.tracking import version_url
    from evermodel_provider.notifications.delivery import tell

    run = context["dag_run"]
    links = {
        "Model version": version_url(settings.tracking_uri, spec.name, done.version),
        "Airflow run": f"{settings.airflow_url}/dags/{run.dag_id}/runs/{run.run_id}",
    }
    context["outlet_events"][AssetAlias(ALIAS)].add(champion(spec.name), extra={"version": done.version})
    tell(spec, settings, "rollback", rollback_message(spec.name, done, links), links["Model version"])
