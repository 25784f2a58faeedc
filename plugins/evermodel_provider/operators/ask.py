"""Request of a retrain by the drift policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from airflow.providers.common.compat.sdk import AirflowSkipException

from evermodel_provider.assets import retrain_wanted
from evermodel_provider.operators.base import ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from evermodel_provider.results import WantedRetrainResult


class AskForRetrainOperator(ModelOperator):
    """Emit the asset event that starts the model's retrain DAG, or skip with the reason.

    The event carries its own idempotency key: two runs started by one event produce one version. The recommendation is
    stored on the MLflow run of the day (tag ``evermodel.retrain``), and a request also on the registered model; those of
    a watched model are stored with its verdict. Returns a `WantedRetrainResult`.
    """

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", [retrain_wanted(model)])
        super().__init__(model=model, **kwargs)

    def run_step(self, context: Context) -> WantedRetrainResult:
        """Request the retrain, or skip."""
        wanted = self.outlet(
            retrain_wanted, "; the default applies only if `model` is the plain name of a model"
        )
        watch = self.drift_watch()
        recommendation = watch.recommendation(watch.verdict())
        watch.answer(recommendation.note)
        if not recommendation.wanted:
            raise AirflowSkipException(recommendation.note)
        request = watch.request(recommendation.note)
        context["outlet_events"][wanted].extra = request
        self.log.info("Retrain requested: %s", recommendation.note)
        return cast("WantedRetrainResult", request)
