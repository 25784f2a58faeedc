"""Request of a retrain by the drift policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSkipException

from evermodel_provider.assets import retrain_wanted
from evermodel_provider.operators.base import ModelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class AskForRetrainOperator(ModelOperator):
    """Emit the asset event that starts the model's retrain DAG, or skip with the reason.

    The event carries its own idempotency key: two runs started by one event produce one version. The recommendation is
    stored on the MLflow run of the day (tag ``evermodel.retrain``), and a request also on the registered model.
    """

    def __init__(self, *, model: str, **kwargs: Any) -> None:
        kwargs.setdefault("outlets", [retrain_wanted(model)])
        super().__init__(model=model, **kwargs)

    def run_step(self, context: Context) -> dict[str, Any]:
        """Request the retrain, or skip."""
        from evermodel.monitoring.retrain_history import note_answer
        from evermodel.monitoring.retrain_policy import current_recommendation, record_request

        wanted = self.outlet(
            retrain_wanted, "; the default applies only if `model` is the plain name of a model"
        )
        watch = self.drift_watch()
        recommendation = current_recommendation(self.spec, watch.verdict(), watch.as_of, watch.client)
        note_answer(watch.client, self.spec, watch.as_of, recommendation.note)
        if not recommendation.wanted:
            raise AirflowSkipException(recommendation.note)
        request = record_request(self.spec, watch.as_of, recommendation.note, watch.client)
        context["outlet_events"][wanted].extra = request
        self.log.info("Retrain requested: %s", recommendation.note)
        return request
