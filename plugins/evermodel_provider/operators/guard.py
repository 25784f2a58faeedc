"""Automatic rollback of a new champion that exceeds the limits in the spec's section `rollback`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.sdk import AssetAlias, BaseOperator

from evermodel_provider.assets import champion
from evermodel_provider.exceptions import airflow_errors
from evermodel_provider.hooks.tracking import TrackingHook
from evermodel_provider.operators.base import ModelOperator, version_links

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel.core.settings import Settings
    from evermodel.registry.registry_entry import Promotion
    from evermodel.spec import ModelSpec
    from evermodel_provider.results import GuardResult, PromotionResult

ALIAS = "evermodel_guard"


class ServingGuardOperator(BaseOperator):
    """Compare what the serving processes report since each promotion with `rollback.error_rate` and `rollback.p99_ms`.

    A champion that exceeds them is rolled back, once, with a message. Skips if all limits hold. Returns a `GuardResult` for each.

    :param models: Names of the monitored model specs, or paths of their YAML files. (templated)
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

    @airflow_errors()
    def execute(self, context: Context) -> list[GuardResult]:
        """Check every model; a failing check does not affect the others."""
        from dataclasses import asdict

        from evermodel.alerts.publisher import clock
        from evermodel.deployment.automatic_rollback import watch_serving
        from evermodel.registry.serving_reports import ServingReports
        from evermodel.spec import load_spec, spec_folder

        hook = TrackingHook(self.mlflow_conn_id)
        settings, found, failed = hook.settings, [], []
        client = hook.get_conn()
        for model in self.models:
            try:
                spec = load_spec(model, settings)
                done = watch_serving(spec, client, ServingReports.of(settings), clock())
                if done is not None:
                    announce(context, spec, settings.with_models(spec_folder(model)), done)
                    found.append(cast("GuardResult", {"model": spec.name, **asdict(done)}))
            except Exception as error:
                self.log.exception("Model %s could not be monitored", model)
                failed.append(error)
        if failed:
            raise failed[0]
        if not found:
            raise AirflowSkipException("every champion is within its limits")
        return found


class QualityGuardOperator(ModelOperator):
    """Roll back a new champion that is proved worse than the version it replaced, if `rollback.quality` is set.

    Skips if no rollback is due. Returns a `PromotionResult`.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", [AssetAlias(ALIAS)])
        super().__init__(**kwargs)

    def run_step(self, context: Context) -> PromotionResult:
        """Read the day's verdict, and roll back if it requires it."""
        from dataclasses import asdict

        from evermodel.deployment.automatic_rollback import watch_quality
        from evermodel.registry.serving_reports import ServingReports

        watch, reports = self.drift_watch(), ServingReports.of(self.hook.settings)
        done = watch_quality(self.spec, self.hook.get_conn(), watch.verdict(), watch.as_of, reports)
        if done is None:
            raise AirflowSkipException("no rollback is due")
        announce(context, self.spec, self.hook.settings, done)
        return cast("PromotionResult", asdict(done))


def announce(context: Context, spec: ModelSpec, settings: Settings, done: Promotion) -> None:
    """Send the message about a rollback, once, and emit the champion's asset event."""
    from evermodel.alerts.rollout_message import rollback_message
    from evermodel_provider.notifications.delivery import tell

    links = version_links(context, settings, spec.name, done.version)
    context["outlet_events"][AssetAlias(ALIAS)].add(champion(spec.name), extra={"version": done.version})
    tell(spec, settings, "rollback", rollback_message(spec.name, done, links), links["Model version"])
